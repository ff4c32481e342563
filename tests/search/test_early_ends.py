"""Trials that end early of themselves: a collapsed one is pruned with that reason, a patient one is complete."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial, TrialState
from optuna_dashboard import get_note

import training.trainer
from search.artifacts.open import open_artifacts
from search.trials import REASON
from search.worker.worker import work

SILENT = {
    "levels": 2,
    "kernel": 5,
    "batch_size": 8,
    "steps_per_epoch": 60,
    "gain_ramp": "none",
    "gain": 30.0,
    "learning_rate": 1e-2,
    "weight_decay": 50.0,
    "decay": "none",
}


@pytest.fixture
def collapsed(bench: Any, make_spec: Any, tmp_path: Path) -> Any:
    """The tiny study after one trial of plain L1 on a hopeless mixture under a huge weight decay."""
    spec = make_spec(search=["width"], loss="l1", epochs=8, fixed=SILENT, pruner={"name": "none"}, budget={"trials": 1})
    study = bench.create(spec)
    work([study.name], bench.url, open_artifacts(str(tmp_path / "artifacts")), threads=1, log=lambda line: None)
    return study


def test_it_is_pruned_at_the_second_silent_validation_with_that_reason(collapsed: Any) -> None:
    (trial,) = collapsed.optuna.get_trials()
    assert trial.state is TrialState.PRUNED
    # as_judged from the 100th step on, so the second epoch is the first that counts and the third the second in a row
    assert list(trial.intermediate_values) == [0, 1, 2]
    assert trial.user_attrs[REASON] == (
        "collapsed: output fell to silence (60 dB or more under the clean signal) in epochs 2 and 3"
    )


def test_its_note_and_drivebeat_show_tell_the_reason(collapsed: Any, bench: Any, drivebeat: Callable[..., Any]) -> None:
    (trial,) = collapsed.optuna.get_trials()
    assert "output fell to silence" in (get_note(Trial(collapsed.optuna, trial._trial_id)) or "")
    said = drivebeat("show", "tiny", "--storage", bench.url)
    assert said.code == 0
    assert "trial 0 collapsed: output fell to silence" in said.out


def test_a_trial_out_of_patience_is_complete_and_its_value_is_its_best(
    bench: Any, make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last report is no reason to prune it, though fewer came than the study has epochs."""
    dealt = iter([-3.0, -1.0, -2.0, -2.5, -9.0])
    monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": next(dealt)})
    fixed = {"levels": 2, "kernel": 3, "batch_size": 8, "steps_per_epoch": 2, "gain_ramp": "none", "patience": 2}
    pruner = {"name": "percentile", "percentile": 1.0, "startup_trials": 0, "warmup_epochs": 3}
    study = bench.create(make_spec(epochs=9, fixed=fixed, pruner=pruner, budget={"trials": 1}))
    lines: list[str] = []
    work([study.name], bench.url, open_artifacts(str(tmp_path / "artifacts")), threads=1, log=lines.append)
    (trial,) = study.optuna.get_trials()
    assert trial.state is TrialState.COMPLETE
    assert trial.value == -1.0
    assert trial.user_attrs["best_epoch"] == 1
    assert list(trial.intermediate_values) == [0, 1, 2, 3]
    assert any(line.startswith("trial 0 complete -1.000 (4 epochs)") for line in lines)
