"""my_reader: a file format of your own. Here it is a line of text, then samples in binary; change what you like.

    drivebeat check my_reader.py --example drive.my_reader    # does it keep the contract, on a file of yours?
    drivebeat data info drive.my_reader --plugin my_reader.py
    plugins = ["my_reader.py"]                                # in a study file, for recordings that end in .my_reader

A plug-in is one file. It may import Drivebeat's packages and whatever is installed where it runs.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, gather, reading
from data.readers.read import Format, register_reader

KIND = "a .my_reader file"
MAGIC = "MY_READER"


def read_header(path: Path) -> tuple[tuple[str, ...], float, int]:
    """Return channel names, rate in Hz and the offset of the samples. Raises DataError for a file of another kind.

    The first line is `MY_READER RATE_HZ NAME NAME ...`; float32 numbers follow, one of each channel in turn.
    """
    with path.open("rb") as file:
        line = file.readline(4096)
    words = line.decode("ascii", "replace").split()
    if not line.endswith(b"\n") or len(words) < 3 or words[0] != MAGIC:
        raise DataError(f"{path}: does not begin with {MAGIC}, a rate and names of channels; is it {KIND}?")
    return tuple(words[2:]), float(words[1]), len(line)


def read_my_reader(path: Path, wanted: Wanted) -> Contents:
    """Read a file. Raises DataError for a broken one."""
    with reading(path, KIND):  # any error in the block becomes a DataError that names the file
        names, rate_hz, offset = read_header(path)
        n_values = (path.stat().st_size - offset) // 4
        if n_values < 2 * len(names) or offset + 4 * n_values != path.stat().st_size or n_values % len(names):
            raise DataError(f"{path}: {n_values} samples of {len(names)} channels; the file is cut off, copy it again")
        check_memory(4 * n_values, "the recording", path)
        table = np.fromfile(path, "<f4", offset=offset).reshape(-1, len(names))

    def lines(rows: list[int]) -> Iterable[Numbers]:
        return (table[:, row] for row in rows)

    # gather chooses the wanted channels, and takes one that is called ECG for the ECG
    return gather(names, wanted.channels, path, lines, [rate_hz] * len(names))


def my_reader_variables(path: Path) -> tuple[Variable, ...]:
    """Return what is in a file, without reading the samples."""
    with reading(path, KIND):
        names, _, offset = read_header(path)
        n_samples = (path.stat().st_size - offset) // (4 * len(names))
        return tuple(Variable(name, (n_samples,), "float32") for name in names)


def write_example(path: Path) -> None:
    """Write a small valid file, on which `drivebeat check` tries the reader where no --example is given."""
    signals = np.random.default_rng(0).uniform(-0.9, 0.9, (2000, 2)).astype("<f4")
    path.write_bytes(f"{MAGIC} 1000 seat belt\n".encode() + signals.tobytes())


# Suffixes in lower case with the dot. If a recording has several files (samples and a calibration, say), those that
# differ in the suffix only are watched for changes; others are named by Format(..., parts=function), which gets the
# path and returns them all, the path among them.
register_reader(Format(read_my_reader, my_reader_variables, example=write_example), ".my_reader")
