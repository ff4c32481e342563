"""Read sound files by libsndfile: .wav, .flac, .ogg, .aiff, .au, .caf, .w64, .rf64, with any number of channels."""

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.contents import Contents, Variable, Wanted, check_memory, gather, reading

SUFFIXES = (".wav", ".flac", ".ogg", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
BYTE_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}  # of WAV files, by their first bytes
# Formats of WAV files in which each sample has its own bytes: integers, floats, A-law, mu-law, and
# WAVE_FORMAT_EXTENSIBLE for any of them.
UNCOMPRESSED = (1, 3, 6, 7, 0xFFFE)
# Programs that stream cannot know the size. They write 0 or the largest number, some of them less their own header.
LARGEST_SIZES = (2**31, 2**32, 2**63, 2**64)
NEAR = 2**16
# Chunks that often follow the samples.
CHUNKS = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"_PMX", b"cue ", b"smpl", b"inst", b"fact", b"PEAK",
    b"levl", b"junk", b"JUNK", b"PAD ", b"FLLR", b"acid", b"DISP", b"afsp", b"plst", b"note", b"labl",
)  # fmt: skip
ID3V1_BYTES = 128  # of a tag that some programs append to any sound file; it begins with "TAG"
# These hold more than float32 does. The means of such channels are removed before the conversion.
WIDE = ("DOUBLE", "PCM_32", "ALAC_32")
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's count for a streamed .flac file; it cannot read such a file to its end
BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class _Data:
    """The samples of a WAV file.

    start: position of the first sample.
    size_at: position of the number that states their bytes.
    size_format: of that number, as struct writes it.
    stated: bytes of samples by the header.
    n_bytes: bytes of samples in the file, in whole frames.
    frame: bytes of a sample of all channels.
    """

    start: int
    size_at: int
    size_format: str
    stated: int
    n_bytes: int
    frame: int


@dataclass(frozen=True, slots=True)
class _Mended:
    """An open file in which other bytes are read at some positions."""

    file: BinaryIO
    patches: Mapping[int, bytes]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, n_bytes: int) -> bytes:
        start = self.file.tell()
        content = bytearray(self.file.read(n_bytes))
        for at, patch in self.patches.items():
            for i, byte in enumerate(patch, start=at - start):
                if 0 <= i < len(content):
                    content[i] = byte
        return bytes(content)


def read_sound(path: Path, wanted: Wanted) -> Contents:
    """Read a sound file as channels ch1 ... chN; integers are scaled to [-1, 1).

    If the header of a .wav file counts fewer samples than there are, or does not count them, all are read, and a note
    says so.

    Raises DataError if the file is no sound file or shorter than its header states.
    """
    with reading(path, f"a {path.suffix.lower()} file"), _opened(path) as (sound, notes):
        samples = _samples(sound, path)
        rate_hz = float(sound.samplerate)
    names = tuple(f"ch{i + 1}" for i in range(samples.shape[1]))
    contents = gather(names, wanted.channels, path, lambda rows: (samples[:, row] for row in rows))
    return replace(contents, rate_hz=rate_hz, notes=(*notes, *contents.notes))


def sound_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and how its samples are stored."""
    with reading(path, f"a {path.suffix.lower()} file"), _opened(path) as (sound, _):
        shape = () if sound.frames == UNKNOWN_FRAMES else (int(sound.frames),)
        return tuple(Variable(f"ch{i + 1}", shape, str(sound.subtype)) for i in range(sound.channels))


def _samples(sound: Any, path: Path) -> NDArray[np.floating]:
    """Return float[time, channel]. Raises DataError if they are fewer than the header states, or not counted."""
    dtype = "float64" if sound.subtype in WIDE else "float32"
    if sound.frames == UNKNOWN_FRAMES:
        raise DataError(f"{path}: the header does not state the number of samples; write it anew: flac -d, then flac")
    check_memory(np.dtype(dtype).itemsize * sound.frames * sound.channels, "the sound", path)
    samples: NDArray[np.floating] = sound.read(dtype=dtype, always_2d=True)
    if len(samples) < sound.frames:
        raise DataError(f"{path}: cut off: {len(samples)} of {sound.frames} samples are there; copy the file again")
    return samples


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the open soundfile.SoundFile and the notes on its size.

    Raises DataError for a truncated file, of which libsndfile reads the rest without an error.
    """
    with path.open("rb") as file:
        head, size = file.read(4), path.stat().st_size
        found = _miscounted(file, head, size, path) if head in BYTE_ORDERS else None
        if found is None:
            end = _stated_end(file, head)
            # In WAV files, a byte that fills an odd size up is often left out. Their samples are counted above.
            if end is not None and size < end - (head in BYTE_ORDERS):
                raise DataError(f"{path}: cut off: {size} of {end} bytes are there; copy the file again")
            if head == b"OggS" and not _ends_ogg(file, size):
                raise DataError(f"{path}: cut off: the page that ends an Ogg stream is missing; copy the file again")
            # Names of files are passed as bytes: soundfile does not take a name that is no UTF-8.
            with soundfile.SoundFile(os.fsencode(path)) as sound:
                yield sound, ()
            return
        if found.n_bytes < 256 ** struct.calcsize(found.size_format):
            sizes = {found.size_at: found.n_bytes}
        else:  # more than the number can state; of these two sizes, libsndfile reads to the end of the file
            sizes = {4: 8, found.size_at: 0}
        file.seek(0)
        mended = _Mended(file, {at: struct.pack(found.size_format, n) for at, n in sizes.items()})
        with soundfile.SoundFile(mended) as sound:
            yield sound, (_note(found),)


def _note(found: _Data) -> str:
    n_stated, n_found = found.stated // found.frame, found.n_bytes // found.frame
    return f"the header states {n_stated} samples, {n_found} are in the file: all are read"


def _miscounted(file: BinaryIO, head: bytes, size: int, path: Path) -> _Data | None:
    """Return the samples of a WAV file whose header counts too few or none; None if the header is right.

    head: its first four bytes.
    size: of the file, in bytes.

    Raises DataError if the file holds fewer samples than the header states.
    """
    found = _data_of(file, BYTE_ORDERS[head], size)
    if found is None:
        return None
    n_present = size - found.start
    if found.stated > n_present:
        if _is_unknown(found.stated):
            return found
        raise DataError(
            f"{path}: cut off: {n_present} of {found.stated} bytes of samples are there; copy the file again"
        )
    if n_present // found.frame <= found.stated // found.frame:
        return None
    end = found.start + found.stated
    # Chunks begin at even positions, but not all programs do so.
    return None if any(_is_tail(file, at, size) for at in {end, end + end % 2}) else found


def _data_of(file: BinaryIO, order: str, size: int) -> _Data | None:
    """Return the samples of a WAV file; None if it has none, or if they are compressed."""
    frame = 0
    wide_at, wide = 0, 0  # RF64 states sizes in 64 bits in a chunk at the start, ds64
    at = 12
    while True:
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return None
        kind, n_bytes = struct.unpack(f"{order}4sI", header)
        if kind == b"data":
            break
        body = file.read(16) if kind in (b"fmt ", b"ds64") else b""
        if kind == b"fmt " and len(body) == 16:
            tag, _, _, _, align = struct.unpack_from(f"{order}HHIIH", body)
            frame = align if tag in UNCOMPRESSED else 0
        if kind == b"ds64" and len(body) == 16:
            wide_at, wide = at + 16, struct.unpack_from("<Q", body, 8)[0]
        at += 8 + n_bytes + n_bytes % 2
    if frame == 0:
        return None
    start = at + 8
    whole = (size - start) // frame * frame
    if wide_at and n_bytes == 2**32 - 1:
        return _Data(start, wide_at, "<Q", wide, whole, frame)
    return _Data(start, at + 4, f"{order}I", n_bytes, whole, frame)


def _is_unknown(n_bytes: int) -> bool:
    """Return whether a stated size means that the writing program did not know it."""
    return n_bytes == 0 or any(abs(n_bytes - largest) <= NEAR for largest in LARGEST_SIZES)


def _is_tail(file: BinaryIO, at: int, end: int) -> bool:
    """Return whether the bytes of a WAV file from `at` to `end` are chunks, a tag or zeros, and not samples."""
    file.seek(at)
    first = file.read(4)
    if first in CHUNKS or (first[:3] == b"TAG" and end - at == ID3V1_BYTES):
        return True
    n_chunks = 0
    while at + 8 <= end:
        file.seek(at)
        header = file.read(8)
        n_bytes = int.from_bytes(header[4:], "little")
        if at + 8 + n_bytes > end or not all(0x20 <= byte < 0x7F for byte in header[:4]):
            break
        at += 8 + n_bytes + n_bytes % 2
        n_chunks += 1
    if n_chunks and at + 8 > end:
        return True
    file.seek(at)
    return not any(block.strip(b"\0") for block in iter(lambda: file.read(BLOCK), b""))


def _stated_end(file: BinaryIO, head: bytes) -> int | None:
    """Return the size of the file by its header, in bytes; None if the header does not state it."""
    file.seek(0)
    start = file.read(28)
    if len(start) < 28:
        return None
    if head == b"caff":
        return _caf_end(file)
    sizes = {
        b"RIFF": ("<4xI", 8),
        b"RIFX": (">4xI", 8),
        b"RF64": ("<20xQ", 8),  # of the chunk ds64, which is the first
        b"FORM": (">4xI", 8),
        b"riff": ("<16xQ", 0),
        b".snd": (">8xI", struct.unpack_from(">4xI", start)[0]),
    }
    if head not in sizes:
        return None
    layout, n_before = sizes[head]
    stated = int(struct.unpack_from(layout, start)[0])
    return None if _is_unknown(stated) else stated + n_before


def _caf_end(file: BinaryIO) -> int | None:
    at = 8
    while True:
        file.seek(at)
        header = file.read(12)
        if len(header) < 12:
            return at
        kind, n_bytes = struct.unpack(">4sq", header)
        if n_bytes < 0:
            return None  # samples to the end of the file
        at += 12 + n_bytes
        if kind == b"data":
            return int(at)


def _ends_ogg(file: BinaryIO, size: int) -> bool:
    """Return whether the last page of an Ogg file is whole, and is marked as the last one."""
    file.seek(max(0, size - 2**17))  # a page has at most 65307 bytes
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return False
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    return bool(tail[at + 5] & 4) and len(tail) >= at + 27 + tail[at + 26] + sum(segments)
