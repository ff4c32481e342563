"""A worker's heart: a thread that renews its lease and its line in the roster while the trial trains."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from search.queue.slots import Claim, Lookout, renew
from search.queue.workers import Doing, note
from search.storage.tables import Process

BEATS_PER_LEASE = 6


class Heart:
    """Beats six times a lease from entering to leaving. A database that is away is tried again at the next beat.

    `lost` is set once the held slot is found to be somebody else's. It also looks, with `lookout`, at the slots of
    other workers, so that its own one knows who is gone as soon as it is free.
    """

    def __init__(self, engine: Engine, process: Process, lease_s: float, lookout: Lookout) -> None:
        self._engine = engine
        self._process = process
        self._lease_s = lease_s
        self._lookout = lookout
        self._lock = threading.Lock()
        self._held: Claim | None = None
        self._doing = Doing()
        self._hung: tuple[float, Callable[[], None]] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)
        self.lost = threading.Event()

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def hold(self, held: Claim, trial: int, limit_s: float | None, hung: Callable[[], None]) -> None:
        """From now on renew `held`; call `hung` if it is still held after limit_s seconds."""
        with self._lock:
            self._held = held
            self._doing = Doing("working", held.study, trial)
            self._hung = None if limit_s is None else (time.monotonic() + limit_s, hung)
            self.lost.clear()

    def at(self, epoch: int, score: float) -> None:
        """The held trial has finished an epoch."""
        with self._lock:
            self._doing = Doing(self._doing.state, self._doing.study, self._doing.trial, epoch, score)

    def let_go(self) -> None:
        """Renew nothing any more."""
        with self._lock:
            self._held, self._doing, self._hung = None, Doing(), None

    def _live(self) -> None:
        while not self._ended.wait(self._lease_s / BEATS_PER_LEASE):
            with self._lock:
                held, doing, hung = self._held, self._doing, self._hung
            try:
                self._beat(held, doing)
            except SQLAlchemyError:  # away, or locked for long: the lease may run out, and Lookout knows of that
                continue
            if hung is not None and time.monotonic() > hung[0]:
                hung[1]()

    def _beat(self, held: Claim | None, doing: Doing) -> None:
        with self._engine.begin() as connection:
            note(connection, self._process, doing)
            renewed = held is None or renew(connection, held, self._lease_s)
        if not renewed:
            with self._lock:
                if self._held == held:  # not one that was let go meanwhile
                    self.lost.set()
        if held is not None:
            self._lookout.orphans(self._engine, held.study, time.monotonic())
