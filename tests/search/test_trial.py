"""One trial that really trains: what it leaves in the study, when it is pruned, and when it is not trained at all."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from optuna.trial import FrozenTrial, Trial, TrialState
from optuna_dashboard import get_note

from data.corpus import Corpus
from models.autoencoder import AutoencoderConfig
from search.artifacts.open import open_artifacts
from search.queue.workers import this_process
from search.study.export import run_of_trial
from search.study.study import Study
from search.trials import Fate, best_trial, is_feasible
from search.worker.context import Stopped
from search.worker.result import TrialResult
from search.worker.trial import run_trial
from tests.support.worker import CheckedStop, QuietHeartbeat, worker_context
from training.config import read_run

Ran = tuple[Study, TrialResult, FrozenTrial]


@pytest.fixture
def run_one(bench: Any, make_spec: Any, corpus: Corpus, tmp_path: Path) -> Callable[..., Ran]:
    """Make the tiny study and run its first trial: the study, the result and the trial as stored.

    context: fields of the worker's context that differ.
    """

    def run(context: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Ran:
        study = bench.create(make_spec(**changes))
        store = open_artifacts(tmp_path / "artifacts")
        result = run_trial(worker_context(study, bench.engine, corpus, store, **context))
        assert result is not None
        return study, result, study.optuna.get_trials()[0]

    return run


def test_a_trial_leaves_its_scores_figure_sounds_config_and_note(run_one: Callable[..., Ran], tmp_path: Path) -> None:
    study, result, trial = run_one()

    assert result.fate == Fate.COMPLETE
    assert list(trial.intermediate_values) == [0, 1, 2]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, result.value)
    assert result.value == max(trial.intermediate_values.values())
    attributes = trial.user_attrs
    assert {"si_sdr_db", "event_f1", "hr_within_5_bpm", "si_sdr_db@-5", "si_sdr_db@+0", "best_epoch"} <= set(attributes)
    assert attributes["si_sdr_db"] == pytest.approx(result.value, abs=1e-3)
    assert attributes["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert attributes["seconds"] > 0
    assert attributes["worker"] == this_process().name
    metas = get_all_artifact_meta(trial, storage=study.optuna._storage)
    files = {meta.filename: meta for meta in metas}
    assert set(files) == {"window.png", "noisy.wav", "clean.wav", "estimate.wav", "run.yaml"}
    store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
    for name, meta in files.items():
        download_artifact(artifact_store=store, file_path=str(tmp_path / name), artifact_id=meta.artifact_id)
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "estimate.wav").read_bytes().startswith(b"RIFF")
    run = read_run(tmp_path / "run.yaml")
    assert run == run_of_trial(trial, "tiny")
    assert isinstance(run.model, AutoencoderConfig)
    assert (run.model.width, run.optimiser.learning_rate) == (trial.params["width"], trial.params["learning_rate"])
    note = get_note(Trial(study.optuna, trial._trial_id))
    assert "parameters" in note
    assert files["window.png"].artifact_id in note


def test_the_value_is_the_best_after_the_ramps(run_one: Callable[..., Ran]) -> None:
    """Not the best of all epochs: those before the end of the gain ramp learnt on easier mixtures."""
    fixed = {
        "levels": 2,
        "kernel": 3,
        "batch_size": 8,
        "steps_per_epoch": 3,
        "gain_ramp": "linear",
        "gain_ramp_share": 0.6,
    }
    _, result, trial = run_one(fixed=fixed)
    assert result.value == trial.intermediate_values[2]


@pytest.mark.parametrize("limits", [{"max_parameters": 100}, {"max_latency_ms": 1e-6}])
def test_a_model_over_its_limits_is_infeasible_before_any_training(
    limits: dict[str, Any], run_one: Callable[..., Ran]
) -> None:
    study, result, trial = run_one(constraints=limits)
    assert result.fate == Fate.INFEASIBLE
    assert result.n_epochs == 0
    assert "allowed" in result.reason
    assert not trial.intermediate_values
    assert not is_feasible(trial)
    assert trial.state == TrialState.PRUNED
    assert best_trial(study.optuna) is None


def test_a_model_within_its_limits_is_feasible(run_one: Callable[..., Ran]) -> None:
    _, result, trial = run_one(constraints={"max_parameters": 10**9, "max_latency_ms": 1e9}, epochs=1)
    assert result.fate == Fate.COMPLETE
    assert is_feasible(trial)


def test_a_trial_behind_the_others_is_pruned_and_still_stores_its_results(
    run_one: Callable[..., Ran], bench: Any
) -> None:
    from optuna.trial import create_trial

    pruner = {"name": "median", "startup_trials": 1, "warmup_epochs": 0}
    made: list[Study] = []

    def lead(epoch: int, score: float) -> None:  # as if others had done far better while the trial ran
        if not made:
            from search.study.study import load_study

            made.append(load_study("tiny", bench.storage))
            for _ in range(3):
                made[0].optuna.add_trial(create_trial(value=50.0, intermediate_values={0: 50.0, 1: 50.0, 2: 50.0}))

    _, result, trial = run_one(context={"heartbeat": QuietHeartbeat(lead)}, pruner=pruner)
    assert result.fate == Fate.PRUNED
    assert trial.state == TrialState.PRUNED
    assert result.value is None
    assert result.n_epochs == 1 == len(trial.intermediate_values)
    assert "behind the others after epoch 1" in result.reason
    assert "event_f1" in trial.user_attrs


def test_a_run_that_diverges_says_so(run_one: Callable[..., Ran]) -> None:
    ranges = {"width": {"choices": [8]}}
    _, result, trial = run_one(
        search=["width"],
        ranges=ranges,
        loss="mse",
        fixed={
            "learning_rate": 1e30,
            "clip_norm": 0.0,
            "batch_size": 4,
            "steps_per_epoch": 4,
            "output": "linear",
            "warmup_share": 0.0,
        },
    )
    assert result.fate == Fate.FAILED
    assert result.reason.startswith("TrainingFailed: ")
    assert "not finite" in result.reason
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, result.reason)


def test_stopping_ends_a_trial_within_a_step(run_one: Callable[..., Ran], bench: Any) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            stop.set()

    stop = CheckedStop(check)
    with pytest.raises(Stopped):
        run_one(context={"stop": stop}, fixed={"levels": 2, "batch_size": 4, "steps_per_epoch": 10_000})
    assert calls == 2
    state = bench.progress()
    assert (state.open, state.claimed) == (1, 0)


def test_a_disk_that_is_full_costs_the_pictures_and_not_the_result(
    run_one: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.pages.trial_artifacts.upload_artifact", full)
    _, result, _ = run_one(epochs=1)
    assert result.fate == Fate.COMPLETE
    assert result.value is not None
    assert math.isfinite(result.value)
    assert "artifacts are missing: [Errno 28] No space left on device" in result.reason
