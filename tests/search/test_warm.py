"""A study that begins with what earlier work found: the nearest points of its own space."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search.storage.open import open_storage
from search.study.space import contains
from search.study.spec import run_of, space_of
from search.study.study import Study, load_study
from search.study.warm import _nearest, point_like, warm_points
from search.trials import RUN
from training.config import to_document, write_run
from training.errors import ConfigError

RANGES: list[BaseDistribution] = [
    IntDistribution(4, 28, step=6),
    IntDistribution(1, 64, log=True),
    FloatDistribution(1e-4, 1e-2, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    CategoricalDistribution((8, 16, 32)),
]


@pytest.mark.parametrize(
    ("distribution", "value", "nearest"),
    [
        (FloatDistribution(0.5, 4.0), 9.0, 4.0),
        (FloatDistribution(0.5, 4.0), 2.25, 2.25),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.4, 0.5),
        (IntDistribution(4, 28, step=6), 15, 16),
        (IntDistribution(4, 28, step=6), 100, 28),
        (CategoricalDistribution((8, 16, 32)), 20, 16),
        (CategoricalDistribution(("batch", "none")), "none", "none"),
        (CategoricalDistribution(("batch", "none")), "group", None),
        (CategoricalDistribution((True, False)), True, True),
        (CategoricalDistribution((True, False)), 0.7, None),
        (FloatDistribution(0.5, 4.0), None, None),
        (IntDistribution(0, 4), True, None),
    ],
)
def test_a_value_goes_to_the_nearest_of_its_range(distribution: BaseDistribution, value: Any, nearest: Any) -> None:
    found = _nearest(distribution, value)
    assert (found, type(found)) == (nearest, type(nearest))


@given(st.sampled_from(RANGES), st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6))
def test_whatever_number_it_was_the_range_has_what_it_becomes(distribution: BaseDistribution, value: float) -> None:
    assert contains(distribution, _nearest(distribution, value))


def test_a_run_of_another_family_is_no_point(make_spec: Any) -> None:
    spec, other = make_spec(), make_spec(models=["wave_unet"], fixed={"levels": 2})
    space = space_of(spec, "autoencoder")
    run = run_of(spec, space, {"width": 16, "learning_rate": 0.002})
    assert point_like(run, space) == {"width": 16, "learning_rate": 0.002}
    assert point_like(run, space_of(other, "wave_unet")) == {}


@pytest.fixture
def earlier(bench: Any, make_spec: Any) -> Study:
    """Four complete trials of a study over wider ranges, the better the wider."""
    made: Study = bench.create(make_spec(name="earlier", ranges={"width": {"choices": [8, 16, 24, 32]}}))
    for i, width in enumerate((8, 24, 16, 32)):
        made.optuna.enqueue_trial({"width": width, "learning_rate": 0.001 * (1 + i)})
        trial = made.optuna.ask(fixed_distributions=dict(made.space.sampled))
        trial.set_user_attr(RUN, json.dumps(to_document(run_of(made.spec, made.space, trial.params))))
        made.optuna.tell(trial, float(width))
    return made


def waiting(name: str, url: str) -> list[dict[str, Any]]:
    trials = load_study(name, open_storage(url)).optuna.get_trials(states=(TrialState.WAITING,))
    return [trial.system_attrs["fixed_params"] for trial in trials]


def test_the_best_trials_of_an_earlier_study_and_a_config_become_the_first_points(
    bench: Any, earlier: Study, make_spec: Any, study_file: Callable[..., Path], drivebeat: Any, tmp_path: Path
) -> None:
    """Widths 32 and 24 are nearest to 16 here; what is known stands once, however often it is given, and is counted
    once."""
    space = earlier.space
    write_run(run_of(earlier.spec, space, {"width": 8, "learning_rate": 0.009}), tmp_path / "best.yaml")
    file = study_file(enqueue=[{"width": 8, "learning_rate": 0.009}])
    words = ["create", str(file), "--storage", bench.url, "--warm-start", "earlier", "--warm-trials", "2"]
    words += ["--warm-start", str(tmp_path / "best.yaml")]
    said = drivebeat(*words)
    assert "study tiny: 2 parameters, 4 trials; 2 known points enqueued" in said.out
    first = [
        {"width": 8, "learning_rate": 0.009},
        {"width": 16, "learning_rate": 0.004},
        {"width": 16, "learning_rate": 0.002},
    ]
    assert waiting("tiny", bench.url) == first
    assert "known" not in drivebeat(*words).out
    assert waiting("tiny", bench.url) == first


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("earlierr", "no study 'earlierr' (did you mean 'earlier'?)"),
        ("gone.yaml", "gone.yaml: no such file"),
        ("study.toml", "study.toml"),
        ("earlier", "its model is autoencoder, and tiny searches wave_unet"),
    ],
)
def test_a_source_that_will_not_do_leaves_no_study_behind(
    source: str,
    says: str,
    bench: Any,
    earlier: Study,
    study_file: Callable[..., Path],
    drivebeat: Any,
    tmp_path: Path,
) -> None:
    file = study_file(models=["wave_unet"], fixed={"levels": 2})
    (tmp_path / "study.toml").write_text(file.read_text())
    refused = drivebeat("create", str(file), "--storage", bench.url, "--warm-start", source)
    assert refused.code == 2
    assert says in refused.err.replace("\n", " ")
    assert [found.study_name for found in bench.storage.get_all_studies()] == ["earlier"]


def test_a_run_whose_values_do_not_go_together_here_is_said_to_be_so(make_spec: Any) -> None:
    """5 levels of width 8 have 8 heads; 5 of width 6, which this study fixes, have none of 8 that divide 30."""
    ranges = {"levels": {"choices": [5]}, "nhead": {"choices": [8]}}
    family = {"models": ["wave_unet_transformer"], "search": ["learning_rate"], "ranges": ranges}
    wide = make_spec(**family, fixed={"width": 8})
    run = run_of(wide, space_of(wide, "wave_unet_transformer"), {"levels": 5, "nhead": 8, "learning_rate": 0.002})
    ranges = {"levels": {"choices": [4, 5]}, "nhead": {"choices": [4, 8]}}
    narrow = make_spec(**(family | {"ranges": ranges}), fixed={"width": 6})
    with pytest.raises(ConfigError, match="its values are not a valid combination"):
        warm_points(narrow, [run], "best.yaml")
