"""The server's limits over real sockets: no client fills the disk, and none keeps the others out."""

import base64
import contextlib
import logging
import re
import socket
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.dashboard import connections
from search.dashboard.auth import Auth, Passwords, require_auth
from search.dashboard.connections import IDLE_S, MAX_BODY_BYTES, MIB, REQUEST_BYTES_PER_S, REQUEST_S, STALLED_S
from tests.support.dashboard import Answer, Running, is_closed, read_answer, running
from tests.support.waiting import wait_for

FULL, READING = "the-full-one", "the-reading-one"
NOTE, UPLOAD = "/api/studies/1/note", "/api/artifacts/1"


class Echo:
    """An application that returns the body. n_calls: how often it was called."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.n_calls += 1
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def served(echo: Echo) -> Any:
    """An echo behind passwords; settings of the server can be given."""

    def serve(**settings: Any) -> Any:
        auth = Auth(Passwords(FULL, READING))
        return running(require_auth(echo, auth), auth.refusal, **settings)

    return serve


def request(method: str, path: str, *headers: str, body: bytes = b"", password: str | None = FULL) -> bytes:
    """Build a request to the host `dash.lab`."""
    rows = [f"{method} {path} HTTP/1.1", "Host: dash.lab", *headers]
    if password is not None:
        rows.append("Authorization: Basic " + base64.b64encode(f"me:{password}".encode()).decode())
    if body:
        rows.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*rows, "", ""]).encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def assert_one_line(answer: Answer, status: int) -> None:
    assert (answer.status, answer.body.count(b"\n"), answer.body[-1:]) == (status, 1, b"\n"), answer.body


@pytest.mark.parametrize("length", [f"Content-Length: {2**30}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)], ids=["", "expect"])
@pytest.mark.parametrize(
    ("password", "more", "status"),
    [
        (None, (), 401),
        ("a-wrong-one", (), 401),
        (READING, (), 403),
        (FULL, ("Origin: http://evil.example",), 403),
    ],
)
def test_a_request_that_is_refused_is_answered_before_its_body_is_sent(
    served: Any,
    echo: Echo,
    length: str,
    expect: tuple[str, ...],
    password: str | None,
    more: tuple[str, ...],
    status: int,
) -> None:
    with served() as server:
        connection = server.connect(request("POST", UPLOAD, length, *expect, *more, password=password))
        assert_one_line(read_answer(connection), status)
        assert is_closed(connection), "else the body would be read as the next request"
    assert echo.n_calls == 0


def test_a_client_that_sends_its_body_before_it_reads_gets_the_refusal_all_the_same(served: Any) -> None:
    """A connection closed at once would be reset, and the response lost."""
    body = bytes(8 * MIB)
    with served() as server:
        assert_one_line(server.ask(request("POST", UPLOAD, body=body, password=None)), 401)
        assert_one_line(server.ask(request("PUT", NOTE, body=body)), 413)


@pytest.mark.parametrize(("method", "path", "limit"), [("POST", UPLOAD, 2 * MIB), ("PUT", NOTE, MAX_BODY_BYTES)])
def test_a_body_up_to_the_limit_is_taken_and_a_longer_one_gets_413(
    served: Any, echo: Echo, method: str, path: str, limit: int
) -> None:
    with served(max_upload_mib=2) as server:
        fits = server.ask(request(method, path, body=bytes(limit)))
        assert (fits.status, len(fits.body)) == (200, limit)
        assert_one_line(server.ask(request(method, path, f"Content-Length: {limit + 1}")), 413)
        chunked = request(method, path, "Transfer-Encoding: chunked")
        fits = server.ask(chunked + chunk(bytes(limit - 100)) + b"0\r\n\r\n")
        assert (fits.status, len(fits.body)) == (200, limit - 100)
        assert_one_line(server.ask(chunked + chunk(bytes(limit // 2)) + chunk(bytes(limit // 2 + 1))), 413)
        assert_one_line(server.ask(chunked + b"0;" + b"x" * (limit + 1)), 413)
    assert echo.n_calls == 2


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked_if_it_may_send_it(served: Any) -> None:
    with served() as server:
        connection = server.connect(request("PUT", NOTE, "Content-Length: 4", "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"text")
        assert read_answer(connection).body == b"text"


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: one\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nb\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",  # the first bytes of TLS
        b"GET / HTTP/1.1\r\nCookie: " + b"a" * 2**18 + b"\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused_in_one_line(served: Any, echo: Echo, data: bytes) -> None:
    with served() as server:
        answer = server.ask(data)
        assert_one_line(answer, answer.status)
        assert 400 <= answer.status < 500
        assert server.ask(request("GET", "/")).status == 200
    assert echo.n_calls == 1


def test_chunks_that_are_malformed_are_refused(served: Any, echo: Echo) -> None:
    with served() as server:
        for garbage in (b"zz\r\n", b"1\r\nabc", b"1;\x00\r\n", b"-1\r\n\r\n"):
            assert_one_line(server.ask(request("PUT", NOTE, "Transfer-Encoding: chunked") + garbage), 400)
    assert echo.n_calls == 0


def test_a_user_is_answered_while_300_connections_are_half_open(served: Any) -> None:
    beginnings = (b"", b"GET / HTTP/1.1\r\nHost:", request("PUT", NOTE, "Content-Length: 9") + b"half")
    with served() as server:
        for number in range(300):
            server.connect(beginnings[number % 3])
        assert server.ask(request("GET", "/")).status == 200


def test_at_the_limit_of_connections_the_oldest_half_open_one_makes_room(served: Any) -> None:
    with served(max_connections=20) as server:
        user = server.connect(request("GET", "/"))
        assert read_answer(user).status == 200
        half_open = [server.connect(b"GET / HT") for _ in range(60)]
        for _ in range(3):
            assert server.ask(request("GET", "/")).status == 200
        assert is_closed(half_open[0])
        user.sendall(request("GET", "/"))
        assert read_answer(user).status == 200, "a connection that was answered before stays"
        wait_for(lambda: len(server.server.active_channels) <= 21, what="the closed connections")


def channel_of(server: Running) -> Any:
    """Wait for the only connection that is open at the server, and return it."""
    wait_for(lambda: len(server.server.active_channels) == 1)
    (channel,) = server.server.active_channels.values()
    return channel


def test_a_request_has_to_arrive_at_a_minimum_rate(served: Any) -> None:
    head = request("PUT", NOTE, "Content-Length: 100000")
    with served() as server:
        connection = server.connect(head[:50])
        channel = channel_of(server)
        wait_for(lambda: channel.request is not None and channel.request.n_bytes == 50)
        end = channel.since + REQUEST_S + 50 / REQUEST_BYTES_PER_S
        assert not channel.is_late(end - 0.01)
        assert channel.is_late(end + 0.01)
        connection.sendall(head[50:] + bytes(10_000))
        n_bytes = len(head) + 10_000
        wait_for(lambda: channel.request.n_bytes == n_bytes)
        end = channel.since + REQUEST_S + n_bytes / REQUEST_BYTES_PER_S
        assert not channel.is_late(end - 0.01)
        assert channel.is_late(end + 0.01)


def test_a_silent_connection_ends_sooner_before_its_first_request_than_between_two(served: Any) -> None:
    with served() as server:
        connection = server.connect()
        channel = channel_of(server)
        assert channel.is_late(channel.since + REQUEST_S + 0.01)
        connection.sendall(request("GET", "/"))
        assert read_answer(connection).status == 200
        wait_for(lambda: channel.is_idle)
        assert not channel.is_late(channel.since + IDLE_S - 0.01)
        assert channel.is_late(channel.since + IDLE_S + 0.01)


def test_a_request_at_work_is_never_late_and_a_response_that_nobody_takes_is() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        begun.set()
        goes_on.wait(20)
        start_response("200 OK", [])
        return [bytes(MIB) for _ in range(64)]

    with running(slow, lambda environ: None) as server:
        server.connect(request("GET", "/"))
        assert begun.wait(20)
        channel = channel_of(server)
        assert not channel.is_late(channel.last_activity + 10 * IDLE_S)
        assert not channel.is_waiting
        goes_on.set()
        wait_for(lambda: channel.total_outbufs_len > 16 * MIB, what="more than the thread may write ahead")
        wait_for(lambda: channel.is_late(channel.last_activity + STALLED_S + 1))
        assert not channel.is_late(channel.last_activity + STALLED_S - 1)
        channel.abort()  # as the server does with late connections
        wait_for(lambda: not server.server.active_channels, what="the thread to give up")


def test_late_connections_are_closed(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    with served() as server:
        beginnings = (b"", b"GET / HTTP/1.1\r\nHost:", request("PUT", NOTE, "Content-Length: 9") + b"half")
        assert all(map(is_closed, [server.connect(beginning) for beginning in beginnings]))


def test_a_client_that_sends_a_byte_now_and_then_is_closed_too(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.2)
    with served() as server:
        connection = server.connect(b"GET / HTTP/1.1\r\n")
        channel = channel_of(server)

        def is_closed_after_a_byte() -> bool:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"a")
            return not channel.connected

        wait_for(is_closed_after_a_byte, every_s=0.02)


LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /api/artifacts/1 HTTP/1.0", b"PUT //[ HTTP/1.1", b"Host: x", b"Content-Length: 5"]
) | st.sampled_from(
    [b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: keep-alive", b"", b"5\r\nabcde"]
)
REQUESTS = st.lists(LINES | st.binary(max_size=10), max_size=8).map(b"\r\n".join)


def test_no_bytes_are_an_error_of_the_server(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    with served() as server:

        @settings(max_examples=200)
        @given(REQUESTS)
        def check(data: bytes) -> None:
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(data + b"\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while answer := connection.recv(2**16):
                        assert not re.search(rb"HTTP/1\.[01] 5", answer)

        check()
        assert server.ask(request("GET", "/")).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
