"""Open a store of artifacts and checkpoints: a folder that the workers share, or a bucket (search.artifacts.s3)."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from search.artifacts.base import Checkpoints, Log
from search.storage.optuna_private import ArtifactStore
from training.checkpoint import load_checkpoint
from training.errors import CheckpointError
from training.trainer import CHECKPOINT

LATEST, PREVIOUS = "checkpoint.latest.pt", "checkpoint.previous.pt"


@dataclass(frozen=True, slots=True, eq=False)
class FolderStore:
    """A store in a folder, local or shared."""

    folder: Path
    artifacts: ArtifactStore

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        return FolderCheckpoints(checkpoint_folder(self.folder, study, number), log)


@dataclass(frozen=True, slots=True, eq=False)
class FolderCheckpoints:
    """Checkpoints in the folder where the trial trains, which other workers share."""

    folder: Path
    log: Log

    def restore(self) -> int:
        return restore(self.folder, self.log)

    def rotate(self, n_epochs: int) -> None:
        rotate(self.folder)

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def checkpoint_folder(folder: Path, study: str, number: int) -> Path:
    """Return the folder with checkpoints and weights of trial `number`; any worker with `folder` can continue it."""
    return folder / "checkpoints" / study / str(number)


def rotate(folder: Path) -> None:
    """Keep the checkpoint in `folder` and the previous one.

    They are hard links, so only the previous one takes extra space. On a file system without hard links, only the
    newest one is kept.
    """
    with contextlib.suppress(OSError):
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / PREVIOUS)
        os.link(folder / CHECKPOINT, folder / LATEST)


def restore(folder: Path, log: Log) -> int:
    """Make the newest valid checkpoint in `folder` the current one, and return its number of epochs; 0 without one."""
    current = folder / CHECKPOINT
    if not current.exists() and not (folder / PREVIOUS).exists():
        return 0
    for candidate in (current, folder / PREVIOUS):
        try:
            n_epochs = epochs_in(candidate)
        except (CheckpointError, RuntimeError) as error:
            if candidate.exists():
                log(f"{error}; continuing without it")
                candidate.unlink()
            continue
        if candidate != current:
            candidate.replace(current)
        (folder / LATEST).unlink(missing_ok=True)
        return n_epochs
    return 0


def epochs_in(path: Path) -> int:
    """Return the number of epochs in the checkpoint. Raises CheckpointError where it is missing or damaged."""
    return len(json.loads(load_checkpoint(path, torch.device("cpu"))["reports"]))
