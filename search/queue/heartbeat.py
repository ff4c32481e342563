"""A worker's heartbeat: a thread that renews its lease and its row in the table of workers while it trains."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from search.queue.slots import Claim, OrphanDetector, renew
from search.queue.workers import Process, WorkerStatus, update_status
from search.storage.fast.tables import TRIALS

RENEWALS_PER_LEASE = 6


class Heartbeat:
    """A context manager that writes to the database RENEWALS_PER_LEASE times a lease, in a thread of its own.

    at_beat: called before each write. detector: also runs in the thread while a trial trains, so that orphans are known
    when the trial ends. lost: set once another worker has claimed the slot. ended: set once another program has ended
    the trial or deleted it. A renewal that fails because the database is unavailable is tried again next time.
    """

    def __init__(
        self,
        engine: Engine,
        process: Process,
        lease_s: float,
        detector: OrphanDetector,
        at_beat: Callable[[], object] = lambda: None,
    ) -> None:
        self._engine = engine
        self._at_beat = at_beat
        self._process = process
        self._lease_s = lease_s
        self._detector = detector
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._status = WorkerStatus()
        self._hung: tuple[float, Callable[[], None]] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._trial_id: int | None = None
        self.lost = threading.Event()
        self.ended = threading.Event()

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def start(self, claim: Claim, trial: int, trial_id: int | None, limit_s: float, hung: Callable[[], None]) -> None:
        """Renew `claim` from now on, and call `hung` if `stop` is not called within limit_s seconds.

        trial, trial_id: number and Optuna's id of the trial in the slot. trial_id None: `ended` is not set.
        """
        with self._lock:
            self._claim, self._trial_id = claim, trial_id
            self._status = WorkerStatus("working", claim.study, trial)
            self._hung = (time.monotonic() + limit_s, hung)
            self.lost.clear()
            self.ended.clear()

    def epoch(self, epoch: int, score: float) -> None:
        """Set the epoch (from 0) that the trial has finished, and its score, in the worker's status."""
        with self._lock:
            self._status = WorkerStatus(self._status.state, self._status.study, self._status.trial, epoch, score)

    def stop(self) -> None:
        """Stop renewing the claim."""
        with self._lock:
            self._claim, self._trial_id, self._status, self._hung = None, None, WorkerStatus(), None

    def _run(self) -> None:
        while not self._ended.wait(self._lease_s / RENEWALS_PER_LEASE):
            self._at_beat()
            with self._lock:
                claim, trial_id, status, hung = self._claim, self._trial_id, self._status, self._hung
            try:
                self._renew(claim, trial_id, status)
            except SQLAlchemyError:  # unavailable or locked: if it lasts, every lease expires, and OrphanDetector waits
                continue
            if hung is not None and time.monotonic() > hung[0]:
                hung[1]()

    def _renew(self, claim: Claim | None, trial_id: int | None, status: WorkerStatus) -> None:
        with self._engine.begin() as connection:
            update_status(connection, self._process, status)
            renewed = claim is None or renew(connection, claim, self._lease_s)
            ended = trial_id is not None and _has_ended(connection, trial_id)
        with self._lock:
            if self._claim == claim:  # and `stop` was not called meanwhile
                if not renewed:
                    self.lost.set()
                if ended:
                    self.ended.set()
        if claim is not None:
            self._detector.find(self._engine, claim.study, time.monotonic())


def _has_ended(connection: Connection, trial_id: int) -> bool:
    """Return whether Optuna has the trial as finished, or not at all, for other programs may end or delete it."""
    state: TrialState | None = connection.execute(select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id)).scalar()
    return state is None or state.is_finished()
