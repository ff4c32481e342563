"""The example studies: one for each family, all comparable, no point of theirs impossible, and every one trains."""

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from data.corpus import Corpus
from models import DENOISERS
from search.artifacts.open import open_artifacts
from search.sampling.points import some_points
from search.study.spec import BudgetSpec, StudySpec, read_spec, run_of, space_of, spec_document
from search.study.study import create, load_studies
from search.worker.worker import work
from training.config import RunConfig, from_document, read_run, to_document, write_run
from training.decode import decode
from training.documents import read_document
from training.learner import initialise
from training.pretrained import run_folder
from training.trainer import train

FOLDER = Path(__file__).parents[2] / "search" / "studies"
STUDIES = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
FAMILIES = sorted(DENOISERS.keys() - {"identity"})
N_POINTS = 200


@functools.cache
def spec_of(stem: str) -> StudySpec:
    return read_spec(STUDIES[stem])


def test_every_family_that_learns_has_a_study_of_its_own_and_stands_in_all_families() -> None:
    for family in FAMILIES:
        assert (spec_of(family).name, spec_of(family).models) == (family, (family,))
    assert sorted(spec_of("all_families").models) == FAMILIES


def test_every_study_has_another_name() -> None:
    """Two of one name could not stand in one database."""
    names = [spec_of(stem).name for stem in STUDIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("stem", [*FAMILIES, "all_families"])
def test_the_studies_of_families_compare(stem: str) -> None:
    """Same recordings and validation mixture, metric, epochs and steps as every other one, on the demo's recordings."""
    spec = spec_of(stem)
    other = spec_of(FAMILIES[0])
    assert spec.data == other.data == spec_of("demo").data
    assert (spec.metric, spec.loss, spec.epochs, spec.seed) == (other.metric, other.loss, other.epochs, other.seed)
    assert [spec.fixed[name] for name in ("batch_size", "steps_per_epoch")] == [16, 20]
    if stem != "all_families":
        assert spec.budget == other.budget
    else:
        assert spec.budget.hours is not None


@pytest.mark.parametrize("stem", [*FAMILIES, "all_families"])
def test_every_range_has_its_reason_on_its_line(stem: str) -> None:
    lines = STUDIES[stem].read_text(encoding="utf-8").split("[ranges]\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) == len(spec_of(stem).ranges)
    for line in lines:
        assert len(line.split("#")[1].split()) >= 3, line


@pytest.mark.parametrize(
    ("stem", "family"), [(stem, family) for stem, path in STUDIES.items() for family in read_document(path)["models"]]
)
def test_no_point_of_a_study_is_impossible(stem: str, family: str) -> None:
    """Every draw, and every pair of two parameters' ends, makes a run; the last one comes back from its document."""
    spec = spec_of(stem)
    space = space_of(spec, family)
    for point in (*some_points(space.sampled, N_POINTS), *pairs_of_ends(space.sampled)):
        run = run_of(spec, space, point)
    assert from_document(to_document(run), stem) == run


def pairs_of_ends(distributions: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Points that have the ends of every two parameters together, the rest at their first end."""
    ends = {name: ends_of(distribution) for name, distribution in distributions.items()}
    first = {name: values[0] for name, values in ends.items()}
    names = sorted(ends)
    return [
        first | {a: at_a, b: at_b}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        for at_a in ends[a]
        for at_b in ends[b]
    ]


def ends_of(distribution: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high


@given(data=st.data())
@settings(max_examples=200)
def test_heads_divide_what_they_split_wherever_the_config_classes_look(data: st.DataObject) -> None:
    """Not only the example studies: no draw from the declared ranges of the attention families is impossible."""
    family = data.draw(st.sampled_from([f for f in FAMILIES if hasattr(DENOISERS[f], "nhead")]))
    spec = replace(spec_of(family), search=(), ranges={}, fixed={})
    space = space_of(spec, family)
    point = {name: data.draw(values_of(distribution), name) for name, distribution in space.sampled.items()}
    model: Any = run_of(spec, space, point).model
    if family == "two_stage_transformer":
        assert model.time_steps % model.time_heads == 0
    if hasattr(model, "d_model"):
        assert model.d_model % model.nhead == 0


def values_of(distribution: BaseDistribution) -> st.SearchStrategy[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return st.sampled_from(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return st.sampled_from(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    return st.floats(distribution.low, distribution.high)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_run_document_among_the_studies_reads(path: Path) -> None:
    """Exports such as best_known.yaml may lie beside the studies, for `drivebeat train`."""
    assert isinstance(read_run(path), RunConfig)


@pytest.mark.parametrize(
    ("target", "first_stem", "second_stem"),
    [("best-known", "best_known_5s", "best_known"), ("pretrained", "pretrained_1", "pretrained_2")],
)
def test_a_chain_of_two_trainings_starts_from_what_its_command_trains_before_it(
    target: str, first_stem: str, second_stem: str
) -> None:
    """The first half differs in what longer windows ask for, so that its weights fit, and lies where the second half
    looks for it."""
    first, second = (read_run(FOLDER / f"{stem}.yaml") for stem in (first_stem, second_stem))
    longer = replace(first.data, window_samples=second.data.window_samples, validation=second.data.validation)
    assert longer == second.data
    assert (first.model, first.loss, first.schedule) == (second.model, second.loss, second.schedule)
    command = (FOLDER.parents[1] / "Makefile").read_text().partition(f"\n{target}:")[2].partition("\n\n")[0]
    trained = re.findall(r"drivebeat train (\S+) -o (\S+)", command)
    assert trained[:2] == [
        (f"search/studies/{first_stem}.yaml", second.init.weights),
        (f"search/studies/{second_stem}.yaml", f"runs/{second_stem}"),
    ]


def test_the_third_training_of_the_pretrained_model_differs_in_what_it_varies() -> None:
    second, third = (read_run(FOLDER / f"pretrained_{number}.yaml") for number in (2, 3))
    assert third.init.weights == "runs/pretrained_2"
    assert replace(third.data, augment=second.data.augment) == second.data
    assert (third.model, third.front, third.beats) == (second.model, second.front, second.beats)
    assert third.data.augment.reference_heart > 0
    assert "drivebeat train search/studies/pretrained_3.yaml" in (FOLDER.parents[1] / "Makefile").read_text()


def test_the_pretrained_model_is_that_of_its_command() -> None:
    """Its run.yaml differs from the run file in what the training resolves: the weights that it starts from."""
    made = read_run(run_folder(Path("pretrained")) / "run.yaml")
    told = read_run(FOLDER / "pretrained_3.yaml")
    assert made.init.weights == f"{told.init.weights}/weights.safetensors"
    assert replace(made, init=told.init) == told


def test_fine_tuning_starts_from_all_weights_of_the_pretrained_model() -> None:
    run, pretrained = read_run(FOLDER / "fine_tune.yaml"), read_run(run_folder(Path("pretrained")) / "run.yaml")
    assert (run.model, run.front, run.beats) == (pretrained.model, pretrained.front, pretrained.beats)
    assert (run.data.rate_hz, run.data.band_hz) == (pretrained.data.rate_hz, pretrained.data.band_hz)
    loaded, of = initialise(run.build_model(run.data.n_channels), run.init)
    assert loaded == of


def tiny(stem: str, data_section: dict[str, Any], n_trials: int = 1) -> StudySpec:
    """The study at its own space, on small recordings: one step of two windows an epoch, one epoch."""
    document = spec_document(spec_of(stem))
    document["fixed"] = {**document["fixed"], "steps_per_epoch": 1, "batch_size": 2, "device": "cpu"}
    document |= {"data": data_section, "epochs": 1}
    return replace(decode(StudySpec, document, stem), budget=BudgetSpec(n_trials))


@pytest.mark.parametrize("stem", FAMILIES)
def test_a_point_of_every_familys_study_trains(
    stem: str, data_section: dict[str, Any], corpus: Corpus, tmp_path: Path
) -> None:
    spec = tiny(stem, data_section)
    space = space_of(spec, stem)
    (point,) = some_points(space.sampled, 1)
    run = run_of(spec, space, point)
    write_run(run, tmp_path / "run.yaml")
    (report,) = train(read_run(tmp_path / "run.yaml"), corpus, tmp_path)
    assert report.best_score == report.score
    assert (tmp_path / "weights.safetensors").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_of_every_family_completes_in_one_study_file(
    bench: Any, data_section: dict[str, Any], tmp_path: Path
) -> None:
    spec = tiny("all_families", data_section)
    create(spec, bench.storage, bench.engine)
    names = [study.name for study in load_studies("all_families", bench.storage)]
    assert work(names, bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None) == len(
        FAMILIES
    )
    for study in load_studies("all_families", bench.storage):
        assert [trial.state for trial in study.optuna.get_trials()] == [TrialState.COMPLETE], study.name
