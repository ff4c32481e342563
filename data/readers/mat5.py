"""Check a MATLAB file up to v7.2 before scipy reads it.

scipy takes the type of an element as an index into memory, unchecked: a damaged file could end the process. The format
is described in MathWorks' "MAT-File Format".
"""

import struct
import zlib
from pathlib import Path

HEADER_BYTES = 128
# Of a variable: its flags, dimensions, name and the type of its data stand at its beginning.
HEAD_BYTES = 65536
COMPRESSED = 15
COMPLEX = 0x0800
REAL_TYPES = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})  # integers of 8 to 64 bits, single, double


def real_variables(path: Path) -> frozenset[str] | None:
    """Return the names of the variables whose data are real numbers; None for a file of version 4.

    Whether their classes are numeric is left to scipy. Raises OSError.
    """
    real, others = set[str](), set[str]()
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if 0 in header[:4]:
            return None
        order = "<" if header[126:128] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}2I", tag)
            start = file.tell()
            head = file.read(min(size, HEAD_BYTES))
            if kind == COMPRESSED:
                head = _decompressed(head)[8:]  # after the tag of the matrix
            name, is_real = _described(head, order)
            (real if is_real else others).add(name)
            file.seek(start + size)
    return frozenset(real - others)


def _decompressed(head: bytes) -> bytes:
    """Return the beginning of compressed bytes; nothing if they are damaged."""
    try:
        return zlib.decompressobj().decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _described(head: bytes, order: str) -> tuple[str, bool]:
    """Return the name of a matrix, and whether its data are real numbers. head: its beginning, after its tag."""
    try:
        (flags,) = struct.unpack_from(f"{order}I", head, 8)
        _, _, _, at = _element(head, 16, order)  # its dimensions
        _, start, size, at = _element(head, at, order)
        name = head[start : start + size].decode("latin-1")
        kind, _, _, _ = _element(head, at, order)
    except struct.error:  # cut off
        return "", False
    return name, kind in REAL_TYPES and not flags & COMPLEX


def _element(head: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Return the type of the element at `at`, the start and the size of its data, and the start of the next element."""
    first, second = struct.unpack_from(f"{order}2I", head, at)
    if first >> 16:  # a small element: type, size and data in 8 bytes
        return first & 0xFFFF, at + 4, first >> 16, at + 8
    return first, at + 8, second, at + 8 + (second + 7) // 8 * 8
