"""The state of a worker while it runs trials of a study, and the trial that it is assigned."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import optuna
from optuna.trial import FrozenTrial
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
    """search.storage.retry.retry with a worker's log and its check for a stop."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


class Stopped(Exception):
    """The worker must stop: its stop event is set."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkerContext:
    """What a worker needs to run trials of one study.

    lease_s: duration of its lease on a slot. store: artifacts and checkpoints. threads: CPU threads a trial may use;
    None: torch's default. stop: set when the worker must stop. log: writes a line; never raises. retry: calls a
    function again while the database is unavailable, and returns its result; raises Stopped. check_stop: raises Stopped
    if `stop` is set. left_out: numbers of the unusable trials that the log names (search.study.space).
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
    left_out: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """A trial to run: the claim on its slot, Optuna's trial object and its parameters.

    claim.trial is set if another worker started the trial, claim.result if that worker recorded its result. ended: the
    trial if it has ended already.
    """

    claim: Claim
    trial: optuna.Trial
    params: Mapping[str, Any]
    ended: FrozenTrial | None = None
