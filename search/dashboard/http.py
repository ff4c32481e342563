"""How an answer goes over the wire: compressed where the browser can, and not at all where it has it already."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LEVEL = 6
# of a study's trials: a third of what level 9 takes, 5 % larger; few long matches in numbers, so Huffman for the rest
TRIALS_LEVEL, TRIALS_STRATEGY = 7, zlib.Z_FILTERED
LEAST_BYTES = 1000
TEXT = ("application/json", "text/", "application/javascript", "image/svg")
# what notes are made of has no class of its own: a browser's own blue is lost on a dark page, and columns touch
OF_NOTES = b"a:not([class]){color:#3b82f6}th:not([class]),td:not([class]){padding:0 1.2em 0 0;text-align:left}"
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no name, no time, unknown system


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, plain and as deflate blocks that end on a byte and refer to nothing before them.

    Such pieces may be compressed once and joined in any order (RFC 1951, 3.2.4: an empty stored block aligns).
    """

    plain: bytes
    packed: bytes


def piece(plain: bytes) -> Piece:
    """`plain`, compressed."""
    packer = zlib.compressobj(TRIALS_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=TRIALS_STRATEGY)
    return Piece(plain, packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH))


def gzipped(pieces: Sequence[Piece]) -> bytes:
    """The pieces as one gzip member (RFC 1952)."""
    crc = size = 0
    for part in pieces:
        crc, size = zlib.crc32(part.plain, crc), size + len(part.plain)
    end = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    return b"".join([GZIP_HEAD, *(part.packed for part in pieces), end, struct.pack("<II", crc, size & 0xFFFFFFFF)])


def tag_of(pieces: Iterable[bytes]) -> str:
    """An ETag of what the pieces make up."""
    digest = hashlib.blake2b(digest_size=12)
    for part in pieces:
        digest.update(part)
    return f'W/"{digest.hexdigest()}"'


def takes_gzip(environ: WSGIEnvironment) -> bool:
    """Whether the browser says that it reads gzip."""
    for offer in environ.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, quality = offer.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def has_it(environ: WSGIEnvironment, tag: str) -> bool:
    """Whether the browser has the answer of that ETag."""
    return tag in (known.strip() for known in environ.get("HTTP_IF_NONE_MATCH", "").split(","))


def compressed(application: WSGIApplication) -> WSGIApplication:
    """`application`, its texts compressed and tagged; what never changes may be kept by the browser."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard expects that there is one
        said: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            said[:] = [status, headers]
            return lambda data: None  # nothing here writes in that way

        body = application(environ, keep)
        status, headers = said
        path = environ.get("PATH_INFO", "")
        if path.startswith("/artifacts/"):
            headers = _of_artifact(status, headers)
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
            plain = plain.replace(b"</head>", b"<style>%b</style></head>" % OF_NOTES, 1)
        return reply([plain], environ, start_response, headers)

    return answer


def reply(
    parts: Sequence[bytes | Piece],
    environ: WSGIEnvironment,
    start_response: StartResponse,
    headers: Sequence[tuple[str, str]],
) -> Iterable[bytes]:
    """Answer 200 with `parts`, or 304 where the browser has them; length and tag replace any in `headers`."""
    plains = [part.plain if isinstance(part, Piece) else part for part in parts]
    tag = tag_of(plains)
    ours = {"content-length", "etag", "last-modified"}
    kept = [(name, value) for name, value in headers if name.lower() not in ours]
    kept += [("ETag", tag), ("Cache-Control", "private, no-cache"), ("Vary", "Accept-Encoding")]
    if has_it(environ, tag):
        start_response("304 Not Modified", [row for row in kept if row[0].lower() != "content-type"])
        return []
    if takes_gzip(environ) and sum(map(len, plains)) >= LEAST_BYTES:
        if all(isinstance(part, Piece) for part in parts):
            body = gzipped([part for part in parts if isinstance(part, Piece)])
        else:
            body = gzip.compress(b"".join(plains), LEVEL, mtime=0)
        kept.append(("Content-Encoding", "gzip"))
    else:
        body = b"".join(plains)
    start_response("200 OK", [*kept, ("Content-Length", str(len(body)))])
    return [body]


def _of_artifact(status: str, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """An artifact never changes, is nobody else's to read, and runs no script of its own in the dashboard's name."""
    kept = [row for row in headers if row[0].lower() != "access-control-allow-origin"]
    if status.startswith("200"):
        kept.append(("Cache-Control", "private, max-age=31536000, immutable"))
    return [*kept, ("Content-Security-Policy", "sandbox")]
