"""Export: the best feasible trial over the families, with where it comes from, whole or not at all."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from search.errors import StudyError
from search.study.export import best_of, export
from search.study.space import feasible_example
from search.study.spec import run_of
from search.study.study import Study, create
from search.trials import RUN, best_trial
from training.config import FinalConfig, as_trial, read_run, to_document
from training.errors import ConfigError


@pytest.fixture
def told() -> Callable[..., None]:
    """Add trials to a study as if they had run: (value or None for pruned, constraint or None)."""

    def tell(study: Study, results: Sequence[tuple[float | None, float | None]]) -> None:
        params = feasible_example(study.space, "test")
        for value, constraint in results:
            trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
            run = run_of(study.spec, study.space, {**params, **trial.params})
            trial.set_user_attr(RUN, json.dumps(to_document(run)))
            trial.set_user_attr("si_sdr_db", value)
            trial.set_user_attr("seconds", 1.0)
            if constraint is not None:
                trial.set_constraint("n_parameters", constraint)
            if value is None:
                trial.report(99.0, 0)
                study.optuna.tell(trial, state=TrialState.PRUNED)
            else:
                study.optuna.tell(trial, value)

    return tell


def test_the_best_is_complete_feasible_and_the_first_of_equals(
    bench: Any, make_spec: Any, told: Callable[..., None]
) -> None:
    study = bench.create(make_spec())
    assert best_trial(study.optuna) is None
    told(study, [(1.0, -5.0), (9.0, 1.0), (None, -5.0), (4.0, 0.0), (4.0, -5.0), (2.0, -5.0)])
    best = best_trial(study.optuna)
    assert best is not None
    assert (best.number, best.value) == (3, 4.0)


def test_the_smallest_is_best_where_the_metric_is_to_fall(
    bench: Any, make_spec: Any, told: Callable[..., None]
) -> None:
    study = bench.create(make_spec(metric="hr_error_bpm"))
    told(study, [(5.0, None), (math.inf, None), (2.0, None)])
    best = best_trial(study.optuna)
    assert best is not None
    assert best.value == 2.0


def test_a_trial_that_keeps_no_run_is_not_exported(bench: Any, make_spec: Any, told: Callable[..., None]) -> None:
    """One that somebody added by hand."""
    study = bench.create(make_spec())
    told(study, [(1.0, None)])
    study.optuna.tell(study.optuna.ask(), 50.0)
    best = best_trial(study.optuna)
    assert best is not None
    assert best.number == 0


def test_the_best_over_families_wins(bench: Any, make_spec: Any, told: Callable[..., None]) -> None:
    spec = make_spec(models=["autoencoder", "wave_unet"], fixed={"batch_size": 8})
    first, second = create(spec, bench.storage, bench.engine)
    told(second, [(3.0, None)])
    assert best_of([first, second])[0].name == "tiny-wave_unet"
    told(first, [(2.0, None), (5.0, None)])
    study, trial = best_of([first, second])
    assert (study.name, trial.number) == ("tiny-autoencoder", 1)


def test_an_export_is_the_run_with_where_it_comes_from(
    bench: Any, make_spec: Any, told: Callable[..., None], tmp_path: Path
) -> None:
    study = bench.create(make_spec(seed=5))
    told(study, [(1.0, None), (2.5, None)])
    export([study], tmp_path / "best.yaml")
    export([study], tmp_path / "best.json")
    run = read_run(tmp_path / "best.yaml")
    assert run == read_run(tmp_path / "best.json")
    assert run.final == FinalConfig(epochs=9, patience=None, ema_decay=0.0)
    assert to_document(as_trial(run)) == json.loads(study.optuna.get_trials()[1].user_attrs[RUN])
    document = yaml.safe_load((tmp_path / "best.yaml").read_text())
    provenance = document["provenance"]
    assert provenance["study"] == "tiny"
    assert provenance["trial"] == 1
    assert provenance["score"] == 2.5 == provenance["scores"]["si_sdr_db"]
    assert provenance["seed"] == 5
    assert provenance["data_fingerprint"] == study.fingerprint
    assert provenance["params"] == study.optuna.get_trials()[1].params
    assert {"torch", "optuna", "drivebeat", "python"} <= set(provenance["versions"])
    assert provenance["git_commit"]


def test_nothing_is_written_where_there_is_nothing_to_export_or_no_way_to_write_it(
    bench: Any, make_spec: Any, told: Callable[..., None], tmp_path: Path
) -> None:
    study = bench.create(make_spec())
    told(study, [(None, None), (7.0, 3.0)])
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(
        StudyError, match=r"no complete, feasible trial to export, 1 infeasible; .*: drivebeat launch tiny"
    ):
        export([study], tmp_path / "best.yaml")
    told(study, [(1.0, None)])
    with pytest.raises(ConfigError, match=r"best.txt: a config is written as .yaml or .yml or .json"):
        export([study], tmp_path / "best.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
