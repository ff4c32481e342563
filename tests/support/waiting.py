"""Wait for a condition, for a port; find a free port."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T],
    timeout_s: float = 60.0,
    every_s: float = 0.05,
    what: str | Callable[[], object] = "the condition",
) -> T:
    """Call `condition` until its value is true, and return that value.

    Raises TimeoutError with `what` (or what it returns) after timeout_s. What `condition` raises ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(every_s)
    return value


def free_port() -> int:
    """Find a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for_port(port: int, timeout_s: float = 60.0) -> None:
    """Wait until a server accepts connections on `port` of localhost. Raises TimeoutError."""

    def accepts() -> bool:
        try:
            socket.create_connection(("localhost", port), timeout=5).close()
        except OSError:
            return False
        return True

    wait_for(accepts, timeout_s, 0.1, f"an answer on port {port}")
