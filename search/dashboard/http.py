"""HTTP requests and responses.

Malformed requests get 400, HEAD the headers of GET. Text is compressed if the browser accepts gzip, and a response that
the browser has already is 304.
"""

import gzip
import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LEVEL = 6
# For the trials of a study: a third of the time of level 9, 5 % larger. Z_FILTERED suits data with few long matches.
TRIALS_LEVEL, TRIALS_STRATEGY = 7, zlib.Z_FILTERED
MIN_BYTES = 1000
TEXT = ("application/json", "text/", "application/javascript", "image/svg")
# The elements of notes have no class. By default their links are too dark on a dark page, and table columns touch.
NOTES_CSS = b"a:not([class]){color:#3b82f6}th:not([class]),td:not([class]){padding:0 1.2em 0 0;text-align:left}"
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)
# RFC 3986: a name, an IPv4 or an IPv6 address, and a port
HOST = re.compile(r"(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no name, no time, unknown system


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response of one line to a request that is not answered otherwise.

    status: such as "403 Forbidden".
    reason: the line, without its end.
    extra: further headers.
    """

    status: str
    reason: str
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        return f"{self.reason}\n".encode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        kind, length = ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(self.body)))
        return [kind, length, *self.extra, ("Cache-Control", "no-store"), *HEADERS]

    def respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the response; to HEAD without the line."""
        start_response(self.status, self.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a response, plain and compressed.

    packed: deflate blocks that end on a byte boundary and do not refer to earlier data. So pieces can be compressed
    once and joined in any order (RFC 1951, 3.2.4: an empty stored block aligns).
    """

    plain: bytes
    packed: bytes


def piece(plain: bytes) -> Piece:
    """Return `plain` as a piece."""
    packer = zlib.compressobj(TRIALS_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=TRIALS_STRATEGY)
    return Piece(plain, packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH))


def gzipped(pieces: Sequence[Piece]) -> bytes:
    """Return the pieces as one gzip member (RFC 1952)."""
    crc = size = 0
    for part in pieces:
        crc, size = zlib.crc32(part.plain, crc), size + len(part.plain)
    end = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    return b"".join([GZIP_HEAD, *(part.packed for part in pieces), end, struct.pack("<II", crc, size & 0xFFFFFFFF)])


def tag_of(pieces: Iterable[bytes]) -> str:
    """Return an ETag for the joined pieces."""
    digest = hashlib.blake2b(digest_size=12)
    for part in pieces:
        digest.update(part)
    return f'W/"{digest.hexdigest()}"'


def takes_gzip(environ: WSGIEnvironment) -> bool:
    """Return whether the browser accepts gzip."""
    for offer in environ.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, quality = offer.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def has_it(environ: WSGIEnvironment, tag: str) -> bool:
    """Return whether the browser has the response with this ETag."""
    return not {tag, "*"}.isdisjoint(part.strip() for part in environ.get("HTTP_IF_NONE_MATCH", "").split(","))


def checked(application: WSGIApplication) -> WSGIApplication:
    """Return `application` behind a check of the path, the query and the headers that it parses.

    Malformed ones get 400.
    Of X-Forwarded-Host and X-Forwarded-Proto the application sees the first value, that of the outermost proxy.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for key in ("HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO"):
            if key in environ:
                environ[key] = environ[key].split(",")[0].strip()
        name = _malformed(environ)
        if name is None:
            return application(environ, start_response)
        return Refusal("400 Bad Request", f"{name} is malformed").respond(environ, start_response)

    return answer


def _malformed(environ: WSGIEnvironment) -> str | None:
    """Return the name of a malformed part of the request, None if there is none."""
    try:
        environ.get("PATH_INFO", "").encode("latin-1").decode()
    except UnicodeError:
        return "the path"
    if BAD_ESCAPE.search(environ.get("QUERY_STRING", "")):
        return "the query"
    for name, key in (("Host", "HTTP_HOST"), ("X-Forwarded-Host", "HTTP_X_FORWARDED_HOST")):
        if not HOST.fullmatch(environ.get(key) or "localhost"):
            return f"the header {name}"
    if (environ.get("HTTP_X_FORWARDED_PROTO") or "http") not in ("http", "https"):
        return "the header X-Forwarded-Proto"
    if not environ.get("HTTP_ACCEPT_ENCODING", "").isascii():
        return "the header Accept-Encoding"
    length = str(environ.get("CONTENT_LENGTH") or "0")
    return None if length.isascii() and length.isdigit() and len(length) < 19 else "the header Content-Length"


def head_as_get(application: WSGIApplication) -> WSGIApplication:
    """Return `application` with HEAD answered by the status and the headers of GET, and no body."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return application(environ, start_response)
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            started[:] = [status, headers]
            return lambda data: None

        get = {**environ, "REQUEST_METHOD": "GET"}
        get.pop("HTTP_RANGE", None)  # RFC 9110, 14.2: Range is defined for GET alone
        get.pop("wsgi.file_wrapper", None)  # its file is closed by the server that sends it
        body = application(get, start)
        try:
            status, headers = started
            has_length = any(name.lower() == "content-length" for name, _ in headers)
            if not has_length and not status.startswith(("1", "204", "304")):
                headers = [*headers, ("Content-Length", str(sum(map(len, body))))]
        finally:
            if hasattr(body, "close"):
                body.close()
        start_response(status, headers)
        return []

    return answer


def compressed(application: WSGIApplication) -> WSGIApplication:
    """Return `application` with compressed text responses and ETags. Browsers may cache artifacts for a year."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard fails without it
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            started[:] = [status, headers]
            return lambda data: None  # WSGI's write(), which optuna-dashboard does not use

        body = application(environ, start)
        status, headers = started
        path = environ.get("PATH_INFO", "")
        if path.startswith("/artifacts/"):
            headers = _artifact_headers(status, headers)
        kind = next((value for name, value in headers if name.lower() == "content-type"), "")
        names = {name.lower() for name, _ in headers}
        text = kind.startswith(TEXT) and "content-encoding" not in names and not path.startswith("/artifacts/")
        if environ["REQUEST_METHOD"] != "GET" or not status.startswith("200") or not text:
            start_response(status, headers)
            return body
        try:
            plain = b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        if kind.startswith("text/html"):
            plain = plain.replace(b"</head>", b"<style>%b</style></head>" % NOTES_CSS, 1)
        return reply([plain], environ, start_response, headers)

    return answer


def reply(
    parts: Sequence[bytes | Piece],
    environ: WSGIEnvironment,
    start_response: StartResponse,
    headers: Sequence[tuple[str, str]],
) -> Iterable[bytes]:
    """Respond with 200 and `parts`, or with 304 if the browser has them already.

    headers: of the response; Content-Length, ETag and Last-Modified are replaced.
    """
    plains = [part.plain if isinstance(part, Piece) else part for part in parts]
    tag = tag_of(plains)
    replaced = {"content-length", "etag", "last-modified"}
    kept = [(name, value) for name, value in headers if name.lower() not in replaced]
    kept += [("ETag", tag), ("Cache-Control", "private, no-cache"), ("Vary", "Accept-Encoding")]
    if has_it(environ, tag):
        start_response("304 Not Modified", [row for row in kept if row[0].lower() != "content-type"])
        return []
    if takes_gzip(environ) and sum(map(len, plains)) >= MIN_BYTES:
        if all(isinstance(part, Piece) for part in parts):
            body = gzipped([part for part in parts if isinstance(part, Piece)])
        else:
            body = gzip.compress(b"".join(plains), LEVEL, mtime=0)
        kept.append(("Content-Encoding", "gzip"))
    else:
        body = b"".join(plains)
    start_response("200 OK", [*kept, ("Content-Length", str(len(body)))])
    return [body]


def _artifact_headers(status: str, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an artifact: cached for ever, not readable by other web pages, its scripts disabled."""
    kept = [row for row in headers if row[0].lower() != "access-control-allow-origin"]
    if status.startswith("200"):
        kept.append(("Cache-Control", "private, max-age=31536000, immutable"))
    return [*kept, ("Content-Security-Policy", "sandbox")]
