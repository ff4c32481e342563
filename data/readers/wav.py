"""Sound files (.wav), integer or float, any number of channels."""

from pathlib import Path

import numpy as np
import soundfile

from data.errors import DataError
from data.readers.contents import Contents, Variable, Wanted, gather, reading

UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # what programs write that stream and never come back to fill in the size


def read_wav(path: Path, wanted: Wanted) -> Contents:
    """Read a .wav file as channels ch1 ... chN; integers are scaled to [-1, 1).

    Raises DataError where the file is no .wav or is shorter than its header says.
    """
    with reading(path, "a .wav file"):
        _check_size(path)
        samples, rate_hz = soundfile.read(str(path), dtype="float32", always_2d=True)
    n_samples, n_channels = samples.shape
    names = tuple(f"ch{i + 1}" for i in range(n_channels))
    signals, kept, _ = gather(names, n_samples, wanted.channels, path, lambda rows: (samples[:, row] for row in rows))
    return Contents(signals, kept, float(rate_hz))


def wav_variables(path: Path) -> tuple[Variable, ...]:
    """One entry per channel: its length and how its samples are stored."""
    with reading(path, "a .wav file"):
        info = soundfile.info(str(path))
    return tuple(Variable(f"ch{i + 1}", (int(info.frames),), str(info.subtype)) for i in range(info.channels))


def _check_size(path: Path) -> None:
    # libsndfile reads a cut-off file without a word; the RIFF header says how long it was meant to be.
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return
    stated = int(np.frombuffer(head, "<u4")[1]) if len(head) == 8 else 0
    size = path.stat().st_size
    if stated not in UNKNOWN_SIZES and size < stated + 8:
        raise DataError(f"{path}: cut off: {size} of {stated + 8} bytes are there; copy the file again")
