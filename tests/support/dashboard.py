"""The dashboard's server in a thread, raw requests to it, and requests to a WSGI application without a server."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

from waitress import wasyncore

from search.dashboard.connections import Refuse, Server
from search.dashboard.server import bound

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. headers: with their names in lower case. log: what the application wrote to wsgi.errors."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    log: str = ""


def send(
    application: WSGIApplication,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    content_type: str = "application/json",
    **environ: Any,
) -> Answer:
    """Send a request to a WSGI application. environ: further keys of its environment, which replace others."""
    log = io.StringIO()
    values: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": log,
        **environ,
    }
    setup_testing_defaults(values)
    started: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
        started[:] = [status, headers]
        return lambda data: None

    found = application(values, start)
    content = b"".join(found)
    close = getattr(found, "close", None)
    if close is not None:
        close()
    return Answer(int(started[0][:3]), {name.lower(): value for name, value in started[1]}, content, log.getvalue())


@dataclass(slots=True)
class Running:
    """A server that runs in a thread."""

    server: Server
    port: int
    opened: list[socket.socket] = field(default_factory=list)

    def connect(self, data: bytes = b"") -> socket.socket:
        """Open a connection, which is closed with the server, and send `data`."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        self.opened.append(connection)
        connection.sendall(data)
        return connection

    def ask(self, data: bytes) -> Answer:
        """Send raw bytes over a new connection and read a response."""
        return read_answer(self.connect(data))


def read_answer(connection: socket.socket, *, head: bool = False) -> Answer:
    """Read a response with a Content-Length from a connection. head: it answers HEAD and has no body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(2**16)
        if not more:
            raise ConnectionError(f"closed after {data!r}")
        data += more
    start, _, body = data.partition(b"\r\n\r\n")
    first, *rows = start.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
    while not head and len(body) < int(headers.get("content-length", 0)):
        more = connection.recv(2**16)
        if not more:
            raise ConnectionError(f"closed after {len(body)} bytes of the body")
        body += more
    return Answer(int(first.split()[1]), headers, body)


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes the connection. Raises TimeoutError."""
    try:
        while connection.recv(2**16):
            pass
    except ConnectionError:
        pass
    return True


def _close_channels(server: Server) -> None:
    for channel in list(server.active_channels.values()):
        channel.handle_close()


@contextlib.contextmanager
def running(application: WSGIApplication, refuse: Refuse, **settings: Any) -> Iterator[Running]:
    """Run a Server with these settings in a thread, on a free port of 127.0.0.1."""
    with bound("127.0.0.1", 0) as listening:
        server = Server(application, listening, refuse, **{"threads": 2, **settings})
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        found = Running(server, listening.getsockname()[1])
        try:
            yield found
        finally:
            for connection in found.opened:
                connection.close()
            server.trigger.pull_trigger(lambda: _close_channels(server))
            server.task_dispatcher.shutdown()  # before the loop: a thread that ends a response wakes it
            server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
