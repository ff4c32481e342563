"""What a worker knows while it runs trials of a study, and the trial that it is assigned."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from sqlalchemy import Engine

from data.corpus import Corpus
from search.artifacts.base import TrialStore
from search.queue.heartbeat import Heartbeat
from search.queue.slots import Claim, OrphanDetector
from search.queue.workers import Process
from search.storage.retry import retry
from search.study.study import Study
from training.trackers.base import Tracking

T = TypeVar("T")


class Stopped(Exception):
    """The worker was asked to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkerContext:
    """A worker at one study.

    store: artifacts and checkpoints. threads: its share of the CPU threads, None for torch's own choice. stop: set when
    the worker is to stop. log: takes a line; never raises, never shows a secret.
    """

    study: Study
    corpus: Corpus
    engine: Engine
    process: Process
    lease_s: float
    heartbeat: Heartbeat
    detector: OrphanDetector
    store: TrialStore
    threads: int | None
    tracking: Tracking
    stop: threading.Event
    log: Callable[[str], None]

    def check_stop(self) -> None:
        """Raise Stopped where the worker was asked to stop."""
        if self.stop.is_set():
            raise Stopped

    def retry(self, call: Callable[[], T]) -> T:
        """The result of `call`, tried again while the database is away. Raises Stopped."""
        return retry(call, self.log, check=self.check_stop)


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """A trial to run: the claim on its slot, Optuna's handle and its parameters.

    A trial that another worker began has claim.trial; one whose result that worker recorded has claim.result.
    """

    claim: Claim
    trial: optuna.Trial
    params: Mapping[str, Any]

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return self.trial.number
