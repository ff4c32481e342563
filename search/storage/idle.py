"""Close the connections of an engine that is not used."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

IDLE_S = 5.0
FRESH_S = 1.0  # a connection used so recently is not tested again


@dataclass(slots=True, eq=False)
class _Usage:
    """used_s: when a connection was last used (time.monotonic). scheduled: whether a check is scheduled."""

    used_s: float = 0.0
    scheduled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def close_when_idle(engine: Engine, idle_s: float = IDLE_S) -> None:
    """Close the connections in the engine's pool when none has been used for idle_s seconds.

    A connection that was unused for more than FRESH_S seconds is tested with a ping before it is used again, and
    replaced if the server has closed it.
    """
    usage = _Usage()

    def check() -> None:
        with usage.lock:
            rest_s = usage.used_s + idle_s - time.monotonic()
            usage.scheduled = rest_s > 0 or engine.pool.checkedout() > 0  # type: ignore[attr-defined]
        if usage.scheduled:
            _schedule(max(rest_s, idle_s / 5), check)
        else:
            engine.pool.dispose()  # engine.dispose() would replace the pool while another thread connects

    @event.listens_for(engine, "checkin")
    def _on_checkin(connection: Any, record: Any) -> None:
        with usage.lock:
            usage.used_s = record.info["used_s"] = time.monotonic()
            schedule, usage.scheduled = not usage.scheduled, True
        if schedule:
            _schedule(idle_s, check)

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, record: Any, proxy: Any) -> None:
        used_s = record.info.get("used_s")
        if used_s is not None and time.monotonic() - used_s > FRESH_S:
            try:
                alive = engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                alive = False
            if not alive:
                raise DisconnectionError


def _schedule(after_s: float, call: Callable[[], None]) -> None:
    """Call a function after after_s seconds, in a thread that does not keep the process alive."""
    timer = threading.Timer(after_s, call)
    timer.daemon = True
    timer.start()
