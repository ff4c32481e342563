"""Checkpoints of trials under way: the newest valid one and the one before it, in a folder that workers share."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from training.checkpoint import CheckpointError, load_checkpoint
from training.trainer import CHECKPOINT

LATEST, PREVIOUS = "checkpoint.latest.pt", "checkpoint.previous.pt"


def keep(folder: Path) -> None:
    """After an epoch: keep its checkpoint and the one of the epoch before, as links that cost no space but the second.

    Where the file system knows no links there is only the newest one.
    """
    with contextlib.suppress(OSError):
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / PREVIOUS)
        os.link(folder / CHECKPOINT, folder / LATEST)


def restore(folder: Path, say: Callable[[str], None]) -> None:
    """Before a trial goes on: put the newest valid checkpoint where training looks for one; none where none is valid.

    Training then starts from there, or anew. A damaged one costs an epoch or the trial's time, not the trial.
    """
    current = folder / CHECKPOINT
    if not current.exists() and not (folder / PREVIOUS).exists():
        return
    for candidate in (current, folder / PREVIOUS):
        try:
            load_checkpoint(candidate, torch.device("cpu"))
        except (CheckpointError, RuntimeError) as error:
            if candidate.exists():
                say(f"{error}; going on without it")
                candidate.unlink()
            continue
        if candidate != current:
            candidate.replace(current)
        (folder / LATEST).unlink(missing_ok=True)
        return
