"""Open a store of artifacts and checkpoints: a folder that the workers share, or a bucket (search.artifacts.s3)."""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from data.files import is_beside, path_part
from search.artifacts.base import Check, Checkpoints, Log
from search.storage.optuna_private import ArtifactStore
from training.errors import CheckpointError
from training.files import CHECKPOINT

LATEST, PREVIOUS = "checkpoint.latest.pt", "checkpoint.previous.pt"


def epochs_in(path: Path) -> int:
    """Return the number of epochs in the checkpoint. Raises CheckpointError where it is missing or damaged."""
    # imported only where a checkpoint is read, so that a dashboard needs no torch
    import torch

    from training.checkpoint import damage, load_checkpoint

    state = load_checkpoint(path, torch.device("cpu"))
    with damage(path):
        return len(json.loads(state["reports"]))


@dataclass(frozen=True, slots=True, eq=False)
class FolderStore:
    """A store in a folder, local or shared."""

    folder: Path
    artifacts: ArtifactStore

    @property
    def place(self) -> str:
        return str(self.folder.absolute())

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        return FolderCheckpoints(checkpoint_folder(self.folder, study, number), log)


def checked_id(artifact_id: str) -> str:
    """Return the id of an artifact. Raises ArtifactNotFound for a path, which a foreign study may hold."""
    if not is_beside(artifact_id):
        raise ArtifactNotFound("not found")
    return artifact_id


class FolderArtifacts(FileSystemArtifactStore):
    """An artifact store for Optuna in a folder. Ids to read and to remove may come from a foreign study."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return super().open_reader(checked_id(artifact_id))

    def remove(self, artifact_id: str) -> None:
        super().remove(checked_id(artifact_id))


@dataclass(frozen=True, slots=True, eq=False)
class FolderCheckpoints:
    """Checkpoints in the folder where the trial trains, which other workers share."""

    folder: Path
    log: Log

    def restore(self, check: Check = epochs_in) -> int:
        return restore(self.folder, self.log, check)

    def rotate(self, n_epochs: int) -> None:
        rotate(self.folder)

    def delete(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def checkpoint_folder(folder: Path, study: str, number: int) -> Path:
    """Return the folder with checkpoints and weights of trial `number`; any worker with `folder` can continue it."""
    return folder / "checkpoints" / path_part(study) / str(number)


def rotate(folder: Path) -> None:
    """Keep the checkpoint in `folder` and the previous one.

    They are hard links, so only the previous one takes extra space. On a file system without hard links, only the
    newest one is kept.
    """
    with contextlib.suppress(OSError):
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / PREVIOUS)
        os.link(folder / CHECKPOINT, folder / LATEST)


def restore(folder: Path, log: Log, check: Check = epochs_in) -> int:
    """Make the newest valid checkpoint in `folder` the current one, and return its number of epochs; 0 without one.

    check: see Checkpoints.restore. Checkpoints that it refuses are deleted.
    """
    current = folder / CHECKPOINT
    for candidate in (current, folder / PREVIOUS):
        if not candidate.exists():
            continue
        try:
            n_epochs = check(candidate)
        except CheckpointError as error:
            log(f"{error}; continuing without it")
            candidate.unlink()
            continue
        if candidate != current:
            candidate.replace(current)
        (folder / LATEST).unlink(missing_ok=True)
        return n_epochs
    return 0
