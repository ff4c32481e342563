"""What a worker knows while it runs trials of a study, and the trial that it is assigned."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import optuna
from sqlalchemy import Engine

from data.corpus import Corpus
from search.artifacts.base import TrialStore
from search.queue.heartbeat import Heartbeat
from search.queue.slots import Claim, OrphanDetector
from search.queue.workers import Process
from search.study.study import Study
from training.trackers.base import Tracking

T = TypeVar("T")


class Retry(Protocol):
    """A call of search.storage.retry with a worker's log and its check for a stop."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


class Stopped(Exception):
    """The worker was asked to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkerContext:
    """A worker at one study.

    store: artifacts and checkpoints. threads: its share of the CPU threads, None for torch's own choice. stop: set when
    the worker is to stop. log: takes a line; never raises, never shows a secret. retry: gives the result of a call,
    tried again while the database is away; raises Stopped. check_stop: raises Stopped where the worker is to stop.
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
    retry: Retry
    check_stop: Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """A trial to run: the claim on its slot, Optuna's handle and its parameters.

    A trial that another worker began has claim.trial; one whose result that worker recorded has claim.result.
    """

    claim: Claim
    trial: optuna.Trial
    params: Mapping[str, Any]
