"""Read MATLAB files of version 5 to 7.2, with the insides of structs and cells.

scipy takes the type of an element as an index into memory, unchecked: a damaged file could end the process. This
module checks each type and length before it is used. The format is described in MathWorks' "MAT-File Format".
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.errors import DataError
from data.readers.contents import Numbers, Variable, check_memory

HEADER_BYTES = 128
# Of a variable: its flags, dimensions, name and the type of its data stand at its beginning.
HEAD_BYTES = 65536
MATRIX, COMPRESSED = 14, 15
COMPLEX, LOGICAL = 0x0800, 0x0200
CUT_OFF = "the file is cut off in the middle of a variable; copy it again"
DAMAGED = "the file is damaged: one of its variables has no name, shape or type; copy it again"
MAX_DEPTH = 32  # of structs and cells in each other
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
NUMERIC = {
    6: "double",
    7: "single",
    8: "int8",
    9: "uint8",
    10: "int16",
    11: "uint16",
    12: "int32",
    13: "uint32",
    14: "int64",
    15: "uint64",
}
CODECS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
OTHERS = {CELL: "cell", STRUCT: "struct", OBJECT: "object", CHAR: "char", SPARSE: "sparse", FUNCTION: "function_handle"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the variable at the top is that holds an array, and where in it, when decompressed, the numbers are.

    at, size: of the variable, in the file.
    start, n_bytes, stored: of the numbers; `stored` is empty if they are no real numbers.
    codec: of characters; "" if there are none.
    order: of the bytes, "<" or ">".
    """

    at: int
    size: int
    compressed: bool
    start: int = 0
    n_bytes: int = 0
    stored: str = ""
    codec: str = ""
    order: str = "<"


Found = tuple[Variable, Place]


class _Damaged(Exception):
    """An element that does not have the form that the format prescribes."""


def contents_of(path: Path) -> list[Found] | None:
    """Return each variable, those in structs and cells after it, by its path in MATLAB; None for a file of version 4.

    Containers within others are not listed. A variable whose inside is damaged is listed as damaged, and nothing in it.

    Raises DataError if the file is cut off or is none of MATLAB's, or for a variable larger than the memory.
    """
    found: list[Found] = []
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if 0 in header[:4]:
            return None
        if len(header) < HEADER_BYTES or header[126:128] not in (b"IM", b"MI"):
            raise DataError(f"{path}: no MATLAB file (its header is of no version); save it with MATLAB's save")
        order = "<" if header[126:128] == b"IM" else ">"
        end = path.stat().st_size
        while tag := file.read(8):
            if len(tag) < 8:
                raise DataError(f"{path}: {CUT_OFF}")
            kind, size = struct.unpack(f"{order}2I", tag)
            place = Place(file.tell(), size, kind == COMPRESSED, order=order)
            if place.at + size > end:
                raise DataError(f"{path}: {CUT_OFF}")
            if kind not in (MATRIX, COMPRESSED):
                raise DataError(f"{path}: {DAMAGED}")
            found += _listed(file, place, order, path)
            file.seek(place.at + size)
    return found


def unpacked(path: Path, at: int, size: int, order: str) -> bytes:
    """Return a compressed variable, with its tag. Raises DataError if it is damaged or larger than the memory."""
    with path.open("rb") as file:
        file.seek(at)
        packed = file.read(size)
    unpacker = zlib.decompressobj()
    try:
        head = unpacker.decompress(packed, 8)
        kind, n_bytes = struct.unpack(f"{order}2I", head)
        check_memory(n_bytes, "a compressed variable", path)
        body = unpacker.decompress(unpacker.unconsumed_tail, n_bytes) if n_bytes else b""
        unpacker.decompress(unpacker.unconsumed_tail, 1)  # its checksum
    except (zlib.error, struct.error) as error:
        raise DataError(f"{path}: a compressed variable is damaged ({error}); copy the file again") from error
    if kind != MATRIX or len(body) < n_bytes or not unpacker.eof:
        raise DataError(f"{path}: a compressed variable is damaged or cut off; copy the file again")
    return head + body


def load(path: Path, variable: Variable, place: Place, unpack: Callable[[int, int, str], bytes]) -> Numbers:
    """Return the real numbers of a variable, in the type they are stored in.

    unpack: `unpacked` of the path, perhaps cached: many leaves are in the same variable.
    """
    count = place.n_bytes // np.dtype(place.stored).itemsize
    if place.compressed:
        content = unpack(place.at, place.size, place.stored[0])
        numbers = np.frombuffer(content, place.stored, count, place.start)
    else:
        numbers = np.fromfile(path, place.stored, count, offset=place.at + place.start)
    matrix: Numbers = numbers.reshape(variable.shape, order="F")
    return matrix if matrix.dtype.isnative else matrix.astype(matrix.dtype.newbyteorder("="))


def texts(path: Path, variable: Variable, place: Place, unpack: Callable[[int, int, str], bytes]) -> tuple[str, ...]:
    """Return the rows of a matrix of characters, without the blanks at their ends; () if they cannot be decoded."""
    if place.compressed:
        stored = unpack(place.at, place.size, place.order)[place.start : place.start + place.n_bytes]
    else:
        with path.open("rb") as file:
            file.seek(place.at + place.start)
            stored = file.read(place.n_bytes)
    try:
        characters = stored.decode(place.codec)
    except UnicodeDecodeError:
        return ()
    if len(characters) != math.prod(variable.shape) or len(variable.shape) != 2:
        return ()
    n_rows = variable.shape[0]
    return tuple(characters[row::n_rows].rstrip(" \0") for row in range(n_rows))


def _listed(file: BinaryIO, place: Place, order: str, where: Path) -> list[Found]:
    """Return the variable at the top that is at `place`, and what is in it."""
    head = file.read(min(place.size, HEAD_BYTES))
    n_bytes = place.size
    try:
        if place.compressed:
            head = _decompressed(head)
            _, n_bytes = struct.unpack_from(f"{order}2I", head)
            head = head[8:]  # after the tag of the matrix
        name, variable, inside = _described(memoryview(head), order, place, n_bytes)
    except (_Damaged, struct.error) as error:
        raise DataError(f"{where}: {DAMAGED}") from error
    if not name:
        return []  # the file's workspace of functions and objects
    variable = replace(variable, name=name)
    if variable.dtype not in ("struct", "cell"):
        return [(variable, inside)]
    check_memory(n_bytes, f"variable {variable}", where)
    file.seek(place.at)
    content = unpacked(where, place.at, place.size, order)[8:] if place.compressed else file.read(place.size)
    try:
        return [(variable, inside), *_inside(name, memoryview(content), order, place)]
    except (_Damaged, struct.error):
        return [(replace(variable, dtype=f"damaged {variable.dtype}"), place)]


def _inside(name: str, content: memoryview, order: str, place: Place, base: int = 0, depth: int = 0) -> Iterator[Found]:
    """Yield the leaves of a struct or cell, given from after its tag. base: the place of `content` in the variable."""
    if depth > MAX_DEPTH:
        raise _Damaged
    for inner, at, size in _elements(name, content, order):
        if size == 0:
            yield Variable(inner, (0, 0), "double"), place
            continue
        body = content[at : at + size]
        if len(body) < size:
            raise _Damaged
        _, variable, found = _described(body, order, place, size)
        if variable.dtype in ("struct", "cell") and 0 not in variable.shape:
            yield from _inside(inner, body, order, place, base + at, depth + 1)
        else:
            yield replace(variable, name=inner), replace(found, start=base + at + found.start)


def _elements(name: str, content: memoryview, order: str) -> Iterator[tuple[str, int, int]]:
    """Yield the path, the start and the size of each matrix in a struct or cell."""
    (flags,) = struct.unpack_from(f"{order}I", content, 8)
    _, start, size, at = _element(content, 16, order)
    n_elements = math.prod(int(n) for n in struct.unpack_from(f"{order}{size // 4}i", content, start))
    _, _, _, at = _element(content, at, order)  # its name
    fields = [""]
    if flags & 0xFF == STRUCT:
        _, start, size, at = _element(content, at, order)
        (length,) = struct.unpack_from(f"{order}i", content, start)
        _, start, size, at = _element(content, at, order)
        if length <= 0 or start + size > len(content):
            raise _Damaged
        names = (bytes(content[start + i : start + i + length]) for i in range(0, size, length))
        fields = [text.split(b"\0")[0].decode("latin-1") for text in names]
    for i in range(n_elements if fields else 0):
        for field in fields:
            kind, start, size, at = _element(content, at, order)
            if kind != MATRIX:
                raise _Damaged
            if flags & 0xFF == CELL:
                yield f"{name}{{{i + 1}}}", start, size
            else:
                yield f"{name}.{field}" if n_elements == 1 else f"{name}({i + 1}).{field}", start, size


def _described(head: memoryview, order: str, place: Place, n_bytes: int) -> tuple[str, Variable, Place]:
    """Return the name of a matrix, its shape and type, and the place of its numbers.

    head: the beginning of the matrix, after its tag.
    n_bytes: the size of the whole matrix.
    """
    (flags,) = struct.unpack_from(f"{order}I", head, 8)
    kind = flags & 0xFF
    if kind == OPAQUE:
        texts, at = [], 16
        for _ in range(3):  # its name, "MCOS", its class
            _, start, size, at = _element(head, at, order)
            texts.append(bytes(head[start : start + size]).decode("latin-1"))
        return texts[0], Variable("", (), texts[2] or "opaque"), place
    _, start, size, at = _element(head, 16, order)
    shape: tuple[int, ...] = struct.unpack_from(f"{order}{size // 4}i", head, start)
    _, start, size, at = _element(head, at, order)
    name = bytes(head[start : start + size]).decode("latin-1")
    if min(shape, default=0) < 0:
        raise _Damaged
    if kind == CHAR and 0 not in shape:
        return name, Variable("", shape, OTHERS[kind]), _characters(head, at, order, place, n_bytes)
    if kind not in NUMERIC:
        return name, Variable("", shape, OTHERS.get(kind, "damaged")), place
    if flags & LOGICAL:
        return name, Variable("", shape, "logical"), place
    if flags & COMPLEX:
        return name, Variable("", shape, f"complex {NUMERIC[kind]}"), place
    stored, start, size, _ = _element(head, at, order)
    code = STORED.get(stored)
    if code is None or size != math.prod(shape) * np.dtype(code).itemsize or start + size > n_bytes:
        return name, Variable("", shape, f"damaged {NUMERIC[kind]}"), place
    base = 8 if place.compressed else 0
    return (
        name,
        Variable("", shape, NUMERIC[kind]),
        replace(place, start=base + start, n_bytes=size, stored=f"{order}{code}"),
    )


def _characters(head: memoryview, at: int, order: str, place: Place, n_bytes: int) -> Place:
    """Return the place of the characters whose element is at `at`; without a codec if they are damaged."""
    try:
        stored, start, size, _ = _element(head, at, order)
    except struct.error:
        return place
    codec = CODECS.get(stored, "")
    if codec in ("utf-16", "utf-32"):
        codec += "-le" if order == "<" else "-be"
    base = 8 if place.compressed else 0
    return replace(place, start=base + start, n_bytes=size, codec=codec if start + size <= n_bytes else "")


def _element(content: memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    """Return the type of the element at `at`, the start and the size of its data, and the start of the next element."""
    first, second = struct.unpack_from(f"{order}2I", content, at)
    if first >> 16:  # a small element: type, size and data in 8 bytes
        return first & 0xFFFF, at + 4, first >> 16, at + 8
    return first, at + 8, second, at + 8 + (second + 7) // 8 * 8


def _decompressed(head: bytes) -> bytes:
    """Return the beginning of compressed bytes; nothing if they are damaged."""
    try:
        return zlib.decompressobj().decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""
