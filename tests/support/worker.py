"""A worker's context without a heartbeat thread, and a slot claimed and assigned as run_trial does it."""

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore
from sqlalchemy import Engine

from data.corpus import Corpus
from search.artifacts.base import TrialStore
from search.artifacts.folder import FolderStore
from search.queue.heartbeat import Heartbeat
from search.queue.slots import Claim, OrphanDetector
from search.queue.workers import Process, this_process
from search.storage.locks import exclusive
from search.study.study import Study, untried
from search.worker.assign import assign, claim_slot
from search.worker.context import Assignment, Stopped, WorkerContext
from training.trackers.base import Tracking

LEASE_S = 60.0


class BrokenOff(BaseException):
    """Ends a trial as a killed process does: no handler in run_trial takes it for the trial's failure."""


class QuietHeartbeat(Heartbeat):
    """A heartbeat that renews nothing. at: called with the epoch and the score after every epoch."""

    def __init__(self, at: Callable[[int, float], None] = lambda epoch, score: None) -> None:
        self._at = at
        self.lost, self.ended = threading.Event(), threading.Event()

    def start(self, claim: Claim, trial: int, trial_id: int | None, limit_s: float, hung: Callable[[], None]) -> None:
        """Do nothing."""

    def epoch(self, epoch: int, score: float) -> None:
        """Call `at`."""
        self._at(epoch, score)

    def stop(self) -> None:
        """Do nothing."""


class CheckedStop(threading.Event):
    """A stop event that calls `at_check` each time a worker asks whether it is set."""

    def __init__(self, at_check: Callable[[], None]) -> None:
        super().__init__()
        self._at_check = at_check

    def is_set(self) -> bool:
        """Call `at_check`, and return whether the event is set."""
        self._at_check()
        return super().is_set()


def worker_context(
    study: Study, engine: Engine, corpus: Corpus, artifacts: TrialStore, **changes: Any
) -> WorkerContext:
    """Build the context of this process as a worker: one thread, no trackers, no log; `changes` replace its fields."""
    stop: threading.Event = changes.pop("stop", threading.Event())

    def check_stop() -> None:
        if stop.is_set():
            raise Stopped

    context = WorkerContext(
        study=study,
        corpus=corpus,
        engine=engine,
        process=this_process(),
        lease_s=LEASE_S,
        heartbeat=QuietHeartbeat(),
        detector=OrphanDetector(grace_s=LEASE_S / 3),
        store=artifacts,
        threads=1,
        tracking=Tracking(),
        stop=stop,
        log=lambda line: None,
        retry=lambda call: call(),
        check_stop=check_stop,
    )
    return dataclasses.replace(context, **changes)


def next_assignment(context: WorkerContext) -> Assignment | None:
    """Claim the next slot and assign it a trial under the lock that run_trial takes; None where there is none."""
    study = context.study
    with exclusive(context.engine, f"turn {study.identity}", expires_s=60):
        trials = study.optuna.get_trials(deepcopy=False)
        accept = untried(study, trials)
        claimed = claim_slot(context, trials, accept)
        return None if claimed is None else assign(context, claimed, trials, accept)


def next_assignment_of(study: Study, engine: Engine, process: Process, lease_s: float) -> Assignment | None:
    """Assign `process` its next trial of `study`, to be sampled and not trained: it has no recordings and no store."""
    corpus = Corpus(study.spec.data, {}, 1, study.fingerprint)
    nowhere = FolderStore(Path(os.devnull), FileSystemArtifactStore(os.devnull))
    return next_assignment(worker_context(study, engine, corpus, nowhere, process=process, lease_s=lease_s))
