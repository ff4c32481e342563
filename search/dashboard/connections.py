"""The HTTP server: waitress with limits on bodies, on time and on connections.

waitress reads a request whole before the application sees it, has a time-out for silent connections only, and at its
limit of connections accepts none until another one ends. Here:

- A request with a body is authenticated, and the length of the body checked, when its headers have arrived. A refused
  body is not stored.
- A request has to arrive at a minimum rate, and a response has to be taken.
- At the limit of connections, the next one takes the place of the one that has waited longest for its request, at the
  address with the most connections. So connections that send nothing cannot keep users out.
"""

import contextlib
import functools
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

from search.dashboard.http import Refusal

MIB = 2**20
UPLOADS = "/api/artifacts/"  # requests to other paths have short bodies, such as a note
MAX_BODY_BYTES = MIB
MAX_UPLOAD_MIB = 64
MAX_HEADER_BYTES = 2**17  # the list of trials for a CSV is in the URL: 60 kB for 10,000
MAX_CONNECTIONS, SPARE_CONNECTIONS = 500, 32
# A request may take 20 s, and a second more for each 500 bytes, as with Apache's mod_reqtimeout.
REQUEST_S, REQUEST_BYTES_PER_S = 20.0, 500.0
IDLE_S = 75.0  # between two requests of a connection, as with nginx
STALLED_S = 60.0  # without progress while a response is sent
DRAIN_S = 10.0  # after a refusal, for the rest of a body

Refuse = Callable[[WSGIEnvironment], Refusal | None]


class Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """A server on a bound socket. refuse: returns the refusal of a request by its method, path, headers and address."""

    def __init__(
        self,
        application: WSGIApplication,
        listening: socket.socket,
        refuse: Refuse,
        *,
        threads: int,
        max_upload_mib: int = MAX_UPLOAD_MIB,
        max_connections: int | None = None,
    ) -> None:
        self.refuse, self.max_upload_bytes = refuse, max_upload_mib * MIB
        self.max_connections = max_connections or _max_connections()
        settings = Adjustments(
            sockets=[listening],
            threads=threads,
            ident="drivebeat",
            # require_auth reads X-Forwarded-For and X-Forwarded-Host
            clear_untrusted_proxy_headers=False,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=self.max_upload_bytes + 1,
            # reached only if no connection waits for its request and can make room
            connection_limit=self.max_connections + SPARE_CONNECTIONS,
            asyncore_use_poll=True,  # select() takes no file descriptor above 1023
            cleanup_interval=1,
            log_socket_errors=False,  # each is a traceback, and any client can cause one
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(threads)
        super().__init__(
            application,
            {},
            _sock=listening,
            dispatcher=dispatcher,
            adj=settings,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )

    def channel_class(self, *arguments: Any, **named: Any) -> "_Channel":
        """Make the channel of an accepted connection, after one has made room for it."""
        if len(self.active_channels) >= self.max_connections:
            self._make_room()
        return _Channel(*arguments, **named)

    def maintenance(self, now: float) -> None:
        """Close the connections whose time is over. waitress calls it once a second."""
        for channel in list(self.active_channels.values()):
            if channel.is_late(now):
                channel.abort()

    def _make_room(self) -> None:
        waiting = [channel for channel in self.active_channels.values() if channel.is_waiting]
        if waiting:
            n_connections = Counter(channel.addr[0] for channel in waiting)
            victim = min(waiting, key=lambda channel: (-n_connections[channel.addr[0]], channel.is_idle, channel.since))
            victim.abort()


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Parses a request. It is refused, where it is, when its headers are complete."""

    error: Any
    header_bytes_received: int
    body_bytes_received: int

    def __init__(self, adj: Any, refuse: Refuse, max_upload_bytes: int, address: str) -> None:
        super().__init__(adj)
        self._refuse, self._max_upload_bytes, self._address = refuse, max_upload_bytes, address
        self._max_body_bytes: int | None = None  # known when the headers are complete

    def received(self, data: bytes) -> int:
        n_consumed: int = super().received(data)
        refusal = None
        if self.error is not None:  # as one line
            refusal = Refusal(f"{self.error.code} {self.error.reason}", " ".join(str(self.error.body).split()))
        if self.body_rcv is not None:
            refusal = self._body_refusal() or refusal
        if refusal is not None:
            self.error, self.completed = _RefusedError(refusal), True
            self.expect_continue = False  # else the client is asked for its body
            self.close()
        return n_consumed

    def _body_refusal(self) -> Refusal | None:
        """Return the refusal of a request with a body, None if it is allowed so far."""
        if self._max_body_bytes is None:
            is_upload = self.command == "POST" and self.path.startswith(UPLOADS)
            self._max_body_bytes = self._max_upload_bytes if is_upload else MAX_BODY_BYTES
            refusal = self._refuse(self._environ())
            if refusal is not None:
                return refusal
        if max(self.content_length, self.body_bytes_received) > self._max_body_bytes:
            return Refusal("413 Content Too Large", f"the body is too long; at most {self._max_body_bytes} bytes")
        return None

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except (ValueError, TransferEncodingNotImplemented) as error:  # http://[ as address, a length of 5000 digits
            raise ParsingError(str(error)) from error

    @property
    def n_bytes(self) -> int:
        return self.header_bytes_received + self.body_bytes_received

    def _environ(self) -> WSGIEnvironment:
        headers = {f"HTTP_{name}": value for name, value in self.headers.items()}
        return {"REQUEST_METHOD": self.command, "PATH_INFO": self.path, "REMOTE_ADDR": self._address, **headers}


class _RefusedError(Error):  # type: ignore[misc]
    """A refusal as waitress sends its own errors."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        headers = [row for row in self.refusal.headers if row[0] != "Content-Length"]  # waitress adds it
        return self.refusal.status, headers, self.refusal.body


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. since: when it began to wait for its request, or for the next one."""

    requests: list[Any]
    request: _Parser | None
    last_activity: float
    creation_time: float
    total_outbufs_len: int
    will_close: bool
    close_when_flushed: bool

    def __init__(self, server: Server, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        super().__init__(server, sock, addr, adj, map)
        self.parser_class = functools.partial(
            _Parser, refuse=server.refuse, max_upload_bytes=server.max_upload_bytes, address=addr[0]
        )
        self.since = self.creation_time
        self.is_idle = False  # whether a request was answered and the next one has not begun
        self.is_refused = False  # whether the last request was answered before it was read
        self.draining_since: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no request is at work, and no response is being sent."""
        return not (self.requests or self.total_outbufs_len or self.will_close)

    def is_late(self, now: float) -> bool:
        """Return whether the connection has to be closed."""
        if self.draining_since is not None:
            return now > self.draining_since + DRAIN_S
        if self.total_outbufs_len and self.outbuf_lock.acquire(blocking=False):  # else a thread is writing
            is_stalled: bool = now > self.last_activity + STALLED_S and self.total_outbufs_len > 0
            self.outbuf_lock.release()
            return is_stalled
        if self.requests or self.total_outbufs_len:
            return False
        if self.is_idle and self.request is None:
            return now > self.since + IDLE_S
        n_bytes = self.request.n_bytes if self.request is not None else 0
        return now > self.since + REQUEST_S + n_bytes / REQUEST_BYTES_PER_S

    def abort(self) -> None:
        """Have the connection closed by the next turn of the server's loop; this one may know its descriptor."""
        self.will_close = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # else the loop waits until a full buffer can be written to

    def received(self, data: bytes) -> bool:
        if self.is_idle:
            self.is_idle, self.since = False, time.time()
        found: bool = super().received(data)
        return found

    def service(self) -> None:
        self.is_refused = self.requests[0].error is not None
        super().service()
        self.is_idle, self.since = True, time.time()

    def readable(self) -> bool:
        return bool(super().readable()) if self.draining_since is None else not self.will_close

    def handle_read(self) -> None:
        if self.draining_since is None:
            super().handle_read()
            return
        try:
            self.recv(2**16)  # at the end of the data it closes the connection
        except OSError:
            self.handle_close()

    def handle_write(self) -> None:
        """Send what there is to send. After a refusal, wait for the rest of the body before the connection is closed.

        Closed at once, it would be reset, and the client lose the response.
        """
        if not (self.close_when_flushed and self.is_refused) or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.total_outbufs_len == 0 and not self.will_close:
            self.close_when_flushed, self.draining_since = False, time.time()
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)


def _max_connections() -> int:
    """Return the number of connections to hold: MAX_CONNECTIONS, or half of the file descriptors allowed."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if allowed == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, allowed // 2))
