"""Spaces: ranges live on the config classes; a study fixes, narrows or adds ranges, and invents no name."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from models import DENOISERS
from objectives.losses import LOSSES
from search.study.space import AUGMENT, RangeSpec, build_space, contains, describe, parameters, sample
from search.study.spec import StudySpec, run_of, space_of
from training.config import RunConfig, from_document, read_run, to_document, write_run
from training.errors import ConfigError

AUTOENCODER, SI_SDR = DENOISERS["autoencoder"], LOSSES["si_sdr"]


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("model", sorted(DENOISERS))
def test_a_name_stands_for_one_parameter_and_its_default_can_be_drawn(model: str, loss: str) -> None:
    """parameters() asserts that no two sections share a name; a default outside its own range could not be enqueued."""
    for parameter in parameters(DENOISERS[model], LOSSES[loss]).values():
        if parameter.distribution is not None:
            assert contains(parameter.distribution, parameter.default), parameter


def test_without_a_word_all_that_has_a_range_is_searched_but_augmentation_beats_live_and_what_was_added_later() -> None:
    """A study that names nothing keeps its space when parameters are added."""
    space = build_space(AUTOENCODER, SI_SDR)
    known = parameters(AUTOENCODER, SI_SDR)
    ranged = {name for name, p in known.items() if p.distribution is not None}
    named_only = {name for name in ranged if known[name].section in (AUGMENT, "beats", "live")}
    assert set(space.sampled) == ranged - named_only - {"quiet_share", "noiseless_share", "heartless_share"}
    assert "batch_size" not in ranged
    named = build_space(AUTOENCODER, SI_SDR, search=("quiet_share", "beats_weight", "tempo"))
    assert set(named.sampled) == {"quiet_share", "beats_weight", "tempo"}


def test_search_names_what_is_searched_and_a_range_adds_to_it() -> None:
    space = build_space(
        AUTOENCODER, SI_SDR, search=("width",), ranges={"batch_size": RangeSpec(low=8, high=64, log=True)}
    )
    assert dict(space.sampled) == {
        "width": IntDistribution(8, 32, step=8),
        "batch_size": IntDistribution(8, 64, log=True),
    }


def test_a_range_is_narrowed_and_keeps_scale_and_steps() -> None:
    space = build_space(
        AUTOENCODER,
        SI_SDR,
        search=(),
        ranges={
            "learning_rate": RangeSpec(low=3e-4, high=3e-3),
            "width": RangeSpec(low=8, high=24),
            "kernel": RangeSpec(choices=(3, 9)),
        },
    )
    assert space.sampled["learning_rate"] == FloatDistribution(3e-4, 3e-3, log=True)
    assert space.sampled["width"] == IntDistribution(8, 24, step=8)
    assert space.sampled["kernel"] == CategoricalDistribution((3, 9))


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"search": ("widht",)}, r"no parameter 'widht' \(did you mean 'width'\?\)"),
        ({"fixed": {"levls": 2}}, r"no parameter 'levls' \(did you mean 'levels'\?\)"),
        ({"fixed": {"width": 8}, "search": ("width",)}, "'width' is both fixed and searched"),
        ({"search": ("batch_size",)}, "'batch_size' has no declared range; give one under ranges.batch_size"),
        ({"fixed": {"levels": "two"}}, "levels"),
        ({"fixed": {"levels": 0}}, "levels"),
        ({"ranges": {"kernel": RangeSpec(low=3, high=9)}}, "ranges.kernel: low and high do not fit one of 3, 5, 9, 15"),
        ({"ranges": {"kernel": RangeSpec(choices=(3, 4))}}, "4 lies outside the declared range, one of 3, 5, 9, 15"),
        ({"ranges": {"skip": RangeSpec(choices=(1, 0))}}, "1 lies outside"),
        ({"ranges": {"width": RangeSpec(low=8, high=40)}}, "40 lies outside the declared range, 8 .. 32 step 8"),
        ({"ranges": {"width": RangeSpec(low=12, high=32)}}, "12 lies outside"),
        ({"ranges": {"width": RangeSpec(low=8, high=32, step=7)}}, "steps of 7 from 8 do not meet high 32"),
        ({"ranges": {"levels": RangeSpec(low=2.5, high=4)}}, "2.5 lies outside"),
        ({"ranges": {"batch_size": RangeSpec(low=0, high=8)}}, "batch_size is 0; at least 1 is needed"),
        ({"ranges": {"batch_size": RangeSpec(low=1.5, high=8)}}, "batch_size"),
        ({"ranges": {"batch_size": RangeSpec(choices=(8, "many"))}}, "batch_size"),
        ({"ranges": {"batch_size": RangeSpec(low=8, high=64, step=-1)}}, "step is -1"),
        ({"ranges": {"gain_spread_db": RangeSpec(low=0, high=10, log=True)}}, "ranges.gain_spread_db"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        build_space(AUTOENCODER, SI_SDR, where="x.toml", **given_)
    assert str(told.value).startswith("x.toml: ")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"low": 1.0},
        {"low": 1.0, "high": 2.0, "choices": (1,)},
        {"choices": ()},
        {"low": 2.0, "high": 1.0},
        {"choices": (1, 1)},
        {"choices": (1, 2), "log": True},
    ],
)
def test_a_range_is_bounds_or_choices(given_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"low|choices"):
        RangeSpec(**given_)


bounds = st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)).map(sorted)


@given(bounds, bounds, st.booleans(), st.booleans())
def test_two_ranges_are_told_apart_by_their_words(a: list[float], b: list[float], log_a: bool, log_b: bool) -> None:
    """A study that exists is compared by these words."""
    one, other = FloatDistribution(a[0], a[1], log=log_a), FloatDistribution(b[0], b[1], log=log_b)
    assert (describe(one) == describe(other)) == (one == other)


@pytest.mark.parametrize("model", sorted(DENOISERS))
def test_params_run_document_and_back_are_equal_for_every_model(
    model: str, make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """params -> RunConfig -> YAML -> RunConfig -> JSON -> RunConfig, and the stored trial gives the same run again."""
    spec: StudySpec = make_spec(models=[model], search=[], fixed={}, ranges={})
    space = space_of(spec, model)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=4))
    seen: set[RunConfig] = set()
    for _ in range(12):
        trial = study.ask()
        params = sample(trial, space)
        try:
            run = run_of(spec, space, params)
        except ConfigError:  # a combination that is not allowed; a study does not run them
            continue
        seen.add(run)
        write_run(run, tmp_path / "run.yaml", {"study": "tiny"})
        write_run(run, tmp_path / "run.json")
        assert read_run(tmp_path / "run.yaml") == run == read_run(tmp_path / "run.json")
        assert from_document(to_document(run), "document") == run
        assert run_of(spec, space, study.trials[trial.number].params) == run
    assert len(seen) >= 5
