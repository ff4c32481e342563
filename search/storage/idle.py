"""Closing the connections of an engine that has been idle, and trying one again that was kept for a while."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

IDLE_S = 5.0
FRESH_S = 1.0  # a connection used so recently is taken to live


@dataclass(slots=True, eq=False)
class _Watch:
    """When the engine's connections were last used, and whether somebody looks."""

    used_s: float = 0.0
    looking: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def close_when_idle(engine: Engine, idle_s: float = IDLE_S) -> None:
    """Close the connections that the engine's pool keeps once none was used for idle_s.

    A connection that was kept unused for more than FRESH_S is asked whether it lives before it is used again, so that
    a server's restart in between goes unnoticed.
    """
    watch = _Watch()

    def look() -> None:
        with watch.lock:
            rest_s = watch.used_s + idle_s - time.monotonic()
            watch.looking = rest_s > 0 or engine.pool.checkedout() > 0  # type: ignore[attr-defined]
        if watch.looking:
            _later(max(rest_s, idle_s / 5), look)
        else:
            engine.pool.dispose()  # the engine's own dispose would change pools under whoever connects just now

    @event.listens_for(engine, "checkin")
    def _used(connection: Any, record: Any) -> None:
        with watch.lock:
            watch.used_s = record.info["used_s"] = time.monotonic()
            begin, watch.looking = not watch.looking, True
        if begin:
            _later(idle_s, look)

    @event.listens_for(engine, "checkout")
    def _lives(connection: Any, record: Any, proxy: Any) -> None:
        used_s = record.info.get("used_s")
        if used_s is not None and time.monotonic() - used_s > FRESH_S:
            try:
                alive = engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                alive = False
            if not alive:
                raise DisconnectionError


def _later(after_s: float, call: Any) -> None:
    timer = threading.Timer(after_s, call)
    timer.daemon = True
    timer.start()
