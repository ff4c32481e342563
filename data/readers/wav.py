"""Read sound files (.wav), integer or float, with any number of channels."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from data.errors import DataError
from data.readers.contents import Contents, Variable, Wanted, check_memory, gather, reading

UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # written by programs that stream and do not know the size


def read_wav(path: Path, wanted: Wanted) -> Contents:
    """Read a .wav file as channels ch1 ... chN; integers are scaled to [-1, 1).

    Raises DataError if the file is not a .wav or is shorter than its header states.
    """
    # Names of files are passed as bytes: soundfile does not take a name that is no UTF-8.
    with reading(path, "a .wav file"):
        _check_size(path)
        info = soundfile.info(os.fsencode(path))
        check_memory(4 * info.frames * info.channels, "the sound", path)
        samples, rate_hz = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)
    names = tuple(f"ch{i + 1}" for i in range(samples.shape[1]))
    contents = gather(names, wanted.channels, path, lambda rows: (samples[:, row] for row in rows))
    return replace(contents, rate_hz=float(rate_hz))


def wav_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and how its samples are stored."""
    with reading(path, "a .wav file"):
        info = soundfile.info(os.fsencode(path))
    return tuple(Variable(f"ch{i + 1}", (int(info.frames),), str(info.subtype)) for i in range(info.channels))


def _check_size(path: Path) -> None:
    """Raise DataError for a truncated file, which libsndfile reads without an error."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return
    stated = int(np.frombuffer(head, "<u4")[1]) if len(head) == 8 else 0
    size = path.stat().st_size
    if stated not in UNKNOWN_SIZES and size < stated + 8:
        raise DataError(f"{path}: cut off: {size} of {stated + 8} bytes are there; copy the file again")
