"""Several studies as one report: counts, the best trial's numbers, best first, and never compared across mixtures."""

import io
import json
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console

from models import DENOISERS
from objectives.cost import n_parameters
from search.study.comparison import StudyComparison, StudyResult, compare_studies
from search.study.spec import run_of
from search.study.study import Study, create
from search.terminal.comparison import comparison_document_of_studies, show_comparison
from search.trials import REASON, RUN
from tests.support.study import record_trials
from training.config import to_document


def tell(study: Study, values: list[float], seconds: float = 10.0) -> None:
    """A complete trial for each value, as a worker leaves them: the whole run, scores and seconds among them."""
    for i, value in enumerate(values):
        trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
        run = run_of(study.spec, study.space, trial.params)
        trial.set_user_attr(RUN, json.dumps(to_document(run)))
        trial.set_user_attr("seconds", seconds * (i + 1))
        trial.set_user_attr("si_sdr_db@-5", value - 2)
        trial.set_user_attr("si_sdr_db@+0", value + 2)
        study.optuna.tell(trial, value)


def prune(study: Study, reported: bool) -> None:
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    if reported:
        trial.report(0.0, 0)
    else:
        trial.set_user_attr(REASON, "9,999 parameters, 10 allowed")
    study.optuna.tell(trial, state=TrialState.PRUNED)


def shown(found: StudyComparison) -> str:
    console = Console(file=io.StringIO(), width=80)
    show_comparison(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


FAMILIES = {"models": ["autoencoder", "wave_unet"], "fixed": {"batch_size": 8}, "search": ["width"], "ranges": {}}


@pytest.fixture
def families(bench: Any, make_spec: Any) -> list[Study]:
    """The two studies of one study file."""
    return create(make_spec(**FAMILIES), bench.storage, bench.engine)


def test_a_result_counts_trials_and_tells_of_the_best_one(bench: Any, families: list[Study]) -> None:
    study = families[0]
    tell(study, [1.0, 3.0, 2.0])
    prune(study, reported=True)
    prune(study, reported=False)
    study.optuna.tell(study.optuna.ask(), state=TrialState.FAIL)

    record_trials(study, bench.engine)
    study.optuna.tell(study.optuna.ask(fixed_distributions=dict(study.space.sampled)), 0.0)  # another program's

    (result,) = compare_studies([study], bench.engine).results

    assert (result.complete, result.pruned, result.infeasible, result.failed) == (3, 1, 1, 1)
    assert (result.finished, result.budget, result.spent) == (5, 4, True)
    assert (result.study, result.family, result.mixture) == ("tiny-autoencoder", "autoencoder", "A")
    assert (result.best, result.best_trial) == (3.0, 1)
    assert dict(result.si_sdr_db) == {"-5": 1.0, "+0": 5.0}
    assert (result.trial_s, result.total_s) == (20.0, 60.0)
    width = study.optuna.get_trials()[1].params["width"]
    assert result.n_parameters == n_parameters(DENOISERS["autoencoder"](width=width).build(1))  # type: ignore[call-arg]
    assert result.latency_ms is not None and result.latency_ms > 0


def test_the_best_study_comes_first_and_one_without_a_trial_last(
    bench: Any, families: list[Study], make_spec: Any
) -> None:
    third = bench.create(make_spec(**{**FAMILIES, "models": ["s4d"]}))
    tell(families[0], [1.0])
    tell(families[1], [2.5, 0.5])
    found = compare_studies([third, *families], bench.engine)
    assert [r.family for r in found.results] == ["wave_unet", "autoencoder", "s4d"]
    assert not found.differences
    empty = found.results[-1]
    assert (empty.best, empty.n_parameters, empty.latency_ms, empty.trial_s) == (None, None, None, None)


def test_of_a_metric_to_minimize_the_smallest_comes_first(bench: Any, make_spec: Any) -> None:
    made = create(make_spec(**FAMILIES, metric="hr_error_bpm"), bench.storage, bench.engine)
    tell(made[0], [4.0])
    tell(made[1], [2.0])
    assert [r.best for r in compare_studies(made, bench.engine).results] == [2.0, 4.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "event_f1"}, ("metric",)),
        ({"validation": {"n_windows": 4, "snrs_db": [-10.0]}}, ("data.validation",)),
        ({"validation": {"n_windows": 4, "snrs_db": [-5.0, 0.0], "seed": 9}}, ("data.validation",)),
        ({"window_samples": 256}, ("data.window_samples",)),
        ({"noise": "idle"}, ("recordings", "data.noise")),
    ],
    ids=["metric", "snrs", "seed", "window", "recordings"],
)
def test_what_was_scored_otherwise_gets_another_letter_and_the_reason(
    changes: dict[str, Any], words: tuple[str, ...], bench: Any, make_spec: Any, data_section: Any
) -> None:
    """A score of 9 on another mixture is not better than one of 1 on ours."""
    data = {**data_section, **{k: v for k, v in changes.items() if k != "metric"}}
    if "noise" in changes:
        (noise,) = data_section["noise"]
        data["noise"] = [{"files": [noise["files"][0].replace("60km", "idle")]}]
    ours = bench.create(make_spec())
    other = bench.create(make_spec(name="other", data=data, metric=changes.get("metric", "si_sdr_db")))
    tell(ours, [1.0])
    tell(other, [9.0])

    found = compare_studies([ours, other], bench.engine)

    assert [(r.study, r.mixture) for r in found.results] == [("tiny", "A"), ("other", "B")]
    assert found.differences == {"B": words}
    assert f"B cannot be compared with A: other {', '.join(words)}." in shown(found)


def test_what_shapes_training_alone_leaves_studies_comparable(bench: Any, make_spec: Any, data_section: Any) -> None:
    """Epochs, steps, loss, randomiser, stride and seed of the study do not touch the validation mixture."""
    one = bench.create(make_spec())
    training = {**data_section, "randomiser": "none", "stride_samples": 8}
    two = bench.create(make_spec(name="two", epochs=5, seed=4, loss="l1", data=training))
    assert not compare_studies([one, two], bench.engine).differences


def result(family: str, **changes: Any) -> StudyResult:
    values: dict[str, Any] = {
        "study": f"all-{family}",
        "family": family,
        "metric": "si_sdr_db",
        "mixture": "A",
        "budget": 22,
        "spent": True,
        "complete": 8,
        "pruned": 12,
        "infeasible": 2,
        "failed": 1,
        "best": -2.25,
        "best_trial": 3,
        "si_sdr_db": {"-10": -10.5, "-5": -1.5, "+0": 4.0, "+5": 10.25},
        "n_parameters": 1_234_567,
        "latency_ms": 12.3,
        "trial_s": 123.4,
        "total_s": 2000.0,
    }
    return StudyResult(**{**values, **changes})


def test_the_widest_table_fits_80_columns_and_holds_what_one_compares_by() -> None:
    rows = tuple(result(family) for family in DENOISERS)
    text = shown(StudyComparison(rows, {}))
    assert max(map(len, text.splitlines())) <= 80
    lines = {line.split()[0]: line.split() for line in text.splitlines() if "8/12/2/1" in line}
    for family in DENOISERS:
        assert lines[family] == f"{family} 8/12/2/1 -2.25 -10.5 -1.5 4.0 10.2 1.2M 12.3 123".split()
    assert "Not finished" not in text
    assert "c/p/i/f" in text


def test_without_infeasible_trials_the_counts_name_three_fates() -> None:
    text = shown(StudyComparison((result("s4d", infeasible=0),), {}))
    assert "c/p/f" in text and "8/12/1" in text


def test_a_study_under_way_and_two_of_one_family_are_told_apart() -> None:
    text = shown(StudyComparison((result("s4d", study="first"), result("s4d", study="second", spent=False)), {}))
    assert "first" in text and "second" in text
    assert "Not finished: second." in text


def test_the_document_is_plain_json_and_keeps_the_order() -> None:
    found = StudyComparison((result("s4d"), result("demucs", mixture="B")), {"B": ("metric",)})
    document = json.loads(json.dumps(comparison_document_of_studies(found)))
    assert [r["family"] for r in document["results"]] == ["s4d", "demucs"]
    assert document["results"][0]["finished"] == 22
    assert document["differences"] == {"B": ["metric"]}


def test_the_command_compares_a_study_files_families_several_studies_or_all(
    drivebeat: Any, study_file: Any, tmp_path: Any
) -> None:
    assert drivebeat("init").code == 0
    assert "no study yet" in drivebeat("show", "--across").out
    path = study_file(**FAMILIES)
    assert drivebeat("create", str(path)).code == 0
    one_table = drivebeat("show", "tiny", "--across").out
    assert "c/p/f" in one_table and "autoencoder" in one_table and "wave_unet" in one_table
    assert drivebeat("show", "tiny-autoencoder", "tiny-wave_unet").out == one_table
    assert drivebeat("show", "--across").out == one_table
    named_twice = json.loads(drivebeat("show", "tiny", "tiny-wave_unet", "--json").out)
    assert len(named_twice["results"]) == 2
    gone = drivebeat("show", "tiny", "gone")
    assert (gone.code, gone.err.count("\n")) == (2, 1)
    assert "no study 'gone'" in gone.err


def test_one_study_is_shown_as_before(drivebeat: Any, study_file: Any, make_spec: Any) -> None:
    drivebeat("create", str(study_file()))
    text = drivebeat("show", "tiny").out
    assert "0/4 finished" in text and "learning_rate" in text
    assert "c/p/f" not in text


def test_another_phase_of_the_band_pass_is_another_mixture_and_is_named(
    bench: Any, make_spec: Any, data_section: dict[str, Any]
) -> None:
    """Whichever study comes first; the field is younger than others, so documents leave its default out."""
    usual, early = (
        bench.create(make_spec(name=name, data={**data_section, **more}))
        for name, more in (("usual", {}), ("early", {"band_phase": "minimum"}))
    )
    for studies in ((usual, early), (early, usual)):
        assert compare_studies(studies, bench.engine).differences == {"B": ("data.band_phase",)}
