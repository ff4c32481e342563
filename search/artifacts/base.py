"""What a store of checkpoints promises, and the two checkpoints that a folder keeps of a trial.

A store hands out, for one trial, a folder on this machine to train in and three verbs about the checkpoint there.
Whoever takes a trial on from another worker gets the newest valid checkpoint, here or in the bucket.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from search.storage.optuna_private import ArtifactStore
from training.checkpoint import load_checkpoint
from training.errors import CheckpointError
from training.trainer import CHECKPOINT

LATEST, PREVIOUS = "checkpoint.latest.pt", "checkpoint.previous.pt"

Log = Callable[[str], None]


class Checkpoints(Protocol):
    """The checkpoints of one trial. folder: on this machine, where it trains."""

    @property
    def folder(self) -> Path: ...

    def restore(self) -> int:
        """Before a trial goes on: put the newest valid checkpoint, with its weights, where training looks for one.

        Returns how many epochs are in it; 0 where there is none, and training starts anew. A damaged one is said and
        passed over: it costs an epoch or the trial's time, not the trial.
        """

    def rotate(self, n_epochs: int) -> None:
        """After an epoch: keep its checkpoint, of `n_epochs` in all, and the one before; older ones go.

        A store that does not answer is said, once, and costs no trial.
        """

    def delete(self) -> None:
        """Remove the checkpoints of a trial that is finished, here and in the store."""


class TrialStore(Protocol):
    """artifacts: Optuna's store of figures, sounds and configs; its `write` raises OSError where it cannot."""

    @property
    def artifacts(self) -> ArtifactStore: ...

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        """The checkpoints of trial `number` of `study`."""


def checkpoint_folder(folder: Path, study: str, number: int) -> Path:
    """Where trial `number` keeps its checkpoint and weights; any worker that sees `folder` can take it on."""
    return folder / "checkpoints" / study / str(number)


def rotate(folder: Path) -> None:
    """Keep the checkpoint in `folder` and the one before it, as links that cost no space but the second.

    Where the file system knows no links there is only the newest one.
    """
    with contextlib.suppress(OSError):
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / PREVIOUS)
        os.link(folder / CHECKPOINT, folder / LATEST)


def restore(folder: Path, log: Log) -> int:
    """Put the newest valid checkpoint in `folder` where training looks for one; how many epochs are in it, else 0."""
    current = folder / CHECKPOINT
    if not current.exists() and not (folder / PREVIOUS).exists():
        return 0
    for candidate in (current, folder / PREVIOUS):
        try:
            n_epochs = epochs_in(candidate)
        except (CheckpointError, RuntimeError) as error:
            if candidate.exists():
                log(f"{error}; going on without it")
                candidate.unlink()
            continue
        if candidate != current:
            candidate.replace(current)
        (folder / LATEST).unlink(missing_ok=True)
        return n_epochs
    return 0


def epochs_in(path: Path) -> int:
    """How many epochs the checkpoint has behind it. Raises CheckpointError where it is missing or damaged."""
    return len(json.loads(load_checkpoint(path, torch.device("cpu"))["reports"]))
