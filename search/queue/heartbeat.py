"""A worker's heart: a thread that renews its lease and its line in the roster while the trial trains."""

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
    """Beats six times a lease from entering to leaving. A database that is away is tried again at the next beat.

    `lost` is set once the claim slot is found to be somebody else's. It also looks, with `lookout`, at the slots of
    other workers, so that its own one knows who is gone as soon as it is free.
    """

    def __init__(self, engine: Engine, process: Process, lease_s: float, detector: OrphanDetector) -> None:
        self._engine = engine
        self._process = process
        self._lease_s = lease_s
        self._detector = detector
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._doing = WorkerStatus()
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
        """From now on renew `claim`; call `hung` if it is still claim after limit_s seconds."""
        with self._lock:
            self._claim = claim
            self._doing = WorkerStatus("working", claim.study, trial)
            self._hung = (time.monotonic() + limit_s, hung)
            self.lost.clear()

    def epoch(self, epoch: int, score: float) -> None:
        """The claim trial has finished an epoch."""
        with self._lock:
            self._doing = WorkerStatus(self._doing.state, self._doing.study, self._doing.trial, epoch, score)

    def stop(self) -> None:
        """Renew nothing any more."""
        with self._lock:
            self._claim, self._doing, self._hung = None, WorkerStatus(), None

    def _run(self) -> None:
        while not self._ended.wait(self._lease_s / RENEWALS_PER_LEASE):
            with self._lock:
                claim, status, hung = self._claim, self._doing, self._hung
            try:
                self._renew(claim, status)
            except SQLAlchemyError:  # away, or locked for long: the lease may run out, and Lookout knows of that
                continue
            if hung is not None and time.monotonic() > hung[0]:
                hung[1]()

    def _renew(self, claim: Claim | None, status: WorkerStatus) -> None:
        with self._engine.begin() as connection:
            update_status(connection, self._process, status)
            renewed = claim is None or renew(connection, claim, self._lease_s)
        if not renewed:
            with self._lock:
                if self._claim == claim:  # not one that was let go meanwhile
                    self.lost.set()
        if claim is not None:
            self._detector.find(self._engine, claim.study, time.monotonic())
