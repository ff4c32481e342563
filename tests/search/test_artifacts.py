"""Checkpoints of trials under way: the newest valid one wins, and a damaged one costs no trial."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.artifacts.folder import checkpoint_folder, epochs_in, restore, rotate
from search.artifacts.open import open_artifacts
from search.study.study import Study
from search.trials import Fate
from search.worker.result import TrialResult
from search.worker.trial import run_trial
from tests.support.worker import BrokenOff, QuietHeartbeat, worker_context
from training.checkpoint import save_checkpoint
from training.trainer import CHECKPOINT


def train_epochs(folder: Path, n_epochs: int) -> None:
    for epoch in range(n_epochs):
        save_checkpoint({"reports": json.dumps([{}] * (epoch + 1))}, folder / CHECKPOINT)
        rotate(folder)


def epoch_of(folder: Path) -> int:
    return epochs_in(folder / CHECKPOINT) - 1


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # a file of its own, as on a disk that lost a block of this one
    path.write_bytes(content)


def test_the_newest_valid_checkpoint_wins(tmp_path: Path) -> None:
    train_epochs(tmp_path, 3)
    said: list[str] = []
    assert restore(tmp_path, said.append) == 3
    assert (epoch_of(tmp_path), said) == (2, [])


def test_a_damaged_checkpoint_costs_one_epoch(tmp_path: Path) -> None:
    train_epochs(tmp_path, 3)
    damage(tmp_path / CHECKPOINT)
    said: list[str] = []
    restore(tmp_path, said.append)
    assert epoch_of(tmp_path) == 1
    assert len(said) == 1
    assert "damaged" in said[0]
    assert "continuing without it" in said[0]


def test_two_are_kept_also_after_a_trial_changed_hands(tmp_path: Path) -> None:
    train_epochs(tmp_path, 2)
    restore(tmp_path, print)
    for epoch in (2, 3):
        save_checkpoint({"reports": json.dumps([{}] * (epoch + 1))}, tmp_path / CHECKPOINT)
        rotate(tmp_path)
    damage(tmp_path / CHECKPOINT)
    restore(tmp_path, print)
    assert epoch_of(tmp_path) == 2
    assert len(list(tmp_path.iterdir())) <= 2


def test_where_none_is_valid_the_trial_starts_anew(tmp_path: Path) -> None:
    train_epochs(tmp_path, 3)
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut off")
    said: list[str] = []
    assert restore(tmp_path, said.append) == 0
    assert not (tmp_path / CHECKPOINT).exists()
    assert len(said) == 2


def test_an_empty_folder_is_left_alone(tmp_path: Path) -> None:
    assert restore(tmp_path, pytest.fail) == 0
    rotate(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_whose_checkpoint_is_damaged_still_ends_well(
    bench: Any, make_spec: Any, corpus: Any, tmp_path: Path
) -> None:
    """And with the very value of one that was never broken off."""
    study, undisturbed = (bench.create(make_spec(name=name, budget={"trials": 1})) for name in ("tiny", "again"))
    said: list[str] = []
    store = open_artifacts(tmp_path)

    def run(study: Study, at: Callable[[int, float], None] = lambda epoch, score: None) -> TrialResult | None:
        return run_trial(
            worker_context(study, bench.engine, corpus, store, heartbeat=QuietHeartbeat(at), log=said.append)
        )

    def break_off(epoch: int, score: float) -> None:
        if epoch == 1:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        run(study, break_off)
    damage(checkpoint_folder(tmp_path, study.identity, 0) / CHECKPOINT)
    scores: list[float] = []
    result = run(study, lambda _, score: scores.append(score))
    assert result is not None
    assert result.fate == Fate.COMPLETE
    assert any("damaged" in line for line in said)
    assert len(scores) == 3
    again = run(undisturbed)
    assert again is not None
    assert again.value == result.value
    ((trial,), (other,)) = (found.optuna.get_trials() for found in (study, undisturbed))
    assert (trial.params, trial.value) == (other.params, other.value)


def test_a_new_trial_takes_nothing_from_one_of_its_number_in_a_study_that_is_gone(
    bench: Any, make_spec: Any, corpus: Any, tmp_path: Path
) -> None:
    study = bench.create(make_spec(budget={"trials": 1}, epochs=1))
    folder = checkpoint_folder(tmp_path, study.identity, 0)
    save_checkpoint({"run": "another", "reports": "[{}]"}, folder / CHECKPOINT)
    result = run_trial(worker_context(study, bench.engine, corpus, open_artifacts(tmp_path)))
    assert result is not None
    assert (result.fate, result.n_epochs) == (Fate.COMPLETE, 1)
