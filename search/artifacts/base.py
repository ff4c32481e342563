"""What a store of checkpoints promises, and the two checkpoints that a folder keeps of a trial.

A store hands out, for one trial, a folder on this machine to train in and three verbs about the checkpoint there.
Whoever takes a trial on from another worker gets the newest valid checkpoint, here or in the bucket.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from search.storage.optuna_private import ArtifactStore

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
