"""The protocols of a store of artifacts and checkpoints.

A store gives each trial a folder on this machine to train in, and restores, keeps and deletes the checkpoints there. A
worker that continues a trial gets its newest valid checkpoint, from this machine or from the bucket.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from optuna.artifacts.exceptions import ArtifactNotFound

from search.storage.optuna_private import ArtifactStore

Log = Callable[[str], None]
# Returns the number of epochs in the checkpoint at a path. Raises CheckpointError for one that cannot be used.
Check = Callable[[Path], int]


class Checkpoints(Protocol):
    """The checkpoints of one trial. folder: on this machine, where the trial trains."""

    @property
    def folder(self) -> Path: ...

    def restore(self, check: Check = ...) -> int:
        """Put the newest valid checkpoint and its weights into `folder`, before training starts.

        check: called with the path of a checkpoint that has its weights beside it; the default reads it only.
        Checkpoints that it refuses are logged and skipped. Returns the number of epochs in the checkpoint; 0 where
        there is none.
        """

    def rotate(self, n_epochs: int) -> None:
        """Keep the checkpoint of the epoch that has just finished and the previous one; delete older ones.

        n_epochs: number of epochs in it. A store that is unavailable is logged once, and nothing is raised.
        """

    def delete(self) -> None:
        """Delete the checkpoints of a finished trial, on this machine and in the store."""


class TrialStore(Protocol):
    """A store.

    artifacts: an artifact store for Optuna, whose `write` raises OSError on failure. place: for people: the absolute
    folder, or the URL of a bucket.
    """

    @property
    def place(self) -> str: ...

    @property
    def artifacts(self) -> ArtifactStore: ...

    def checkpoints(self, study: str, number: int, log: Log) -> Checkpoints:
        """Return the checkpoints of trial `number` of `study`."""


def remove_artifact(artifacts: ArtifactStore, artifact_id: str) -> None:
    """Remove an artifact; nothing is raised where another process has removed it."""
    with contextlib.suppress(ArtifactNotFound, FileNotFoundError):
        artifacts.remove(artifact_id)
