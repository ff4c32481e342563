"""A worker's heartbeat: a thread that renews its lease and its row in the table of workers while it trains."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from search.queue.slots import Claim, OrphanDetector, renew
from search.queue.workers import Process, WorkerStatus, update_status

RENEWALS_PER_LEASE = 6


class Heartbeat:
    """A context manager that writes to the database RENEWALS_PER_LEASE times a lease, in a thread of its own.

    lost: set once another worker has claimed the slot. detector: also runs in the thread while a trial trains, so that
    orphans are known when the trial ends. A renewal that fails because the database is unavailable is tried again next
    time.
    """

    def __init__(self, engine: Engine, process: Process, lease_s: float, detector: OrphanDetector) -> None:
        self._engine = engine
        self._process = process
        self._lease_s = lease_s
        self._detector = detector
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._status = WorkerStatus()
        self._hung: tuple[float, Callable[[], None]] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.lost = threading.Event()

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def start(self, claim: Claim, trial: int, limit_s: float, hung: Callable[[], None]) -> None:
        """Renew `claim` from now on, and call `hung` if `stop` is not called within limit_s seconds."""
        with self._lock:
            self._claim = claim
            self._status = WorkerStatus("working", claim.study, trial)
            self._hung = (time.monotonic() + limit_s, hung)
            self.lost.clear()

    def epoch(self, epoch: int, score: float) -> None:
        """Set the epoch (from 0) that the trial has finished, and its score, in the worker's status."""
        with self._lock:
            self._status = WorkerStatus(self._status.state, self._status.study, self._status.trial, epoch, score)

    def stop(self) -> None:
        """Stop renewing the claim."""
        with self._lock:
            self._claim, self._status, self._hung = None, WorkerStatus(), None

    def _run(self) -> None:
        while not self._ended.wait(self._lease_s / RENEWALS_PER_LEASE):
            with self._lock:
                claim, status, hung = self._claim, self._status, self._hung
            try:
                self._renew(claim, status)
            except SQLAlchemyError:  # unavailable or locked: if it lasts, every lease expires, and OrphanDetector waits
                continue
            if hung is not None and time.monotonic() > hung[0]:
                hung[1]()

    def _renew(self, claim: Claim | None, status: WorkerStatus) -> None:
        with self._engine.begin() as connection:
            update_status(connection, self._process, status)
            renewed = claim is None or renew(connection, claim, self._lease_s)
        if not renewed:
            with self._lock:
                if self._claim == claim:  # and `stop` was not called meanwhile
                    self.lost.set()
        if claim is not None:
            self._detector.find(self._engine, claim.study, time.monotonic())
