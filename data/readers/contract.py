"""What every reader must do, as rules: (text, function, advice); see training.plugins.contract.

A function takes an example file and returns the problem, "" where there is none.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError
from data.readers.contents import Variable
from data.readers.read import files_of, read, variables
from data.recording import Recording

UNKNOWN = "no such channel"
SHARES = (0.0, 0.001, 0.1, 0.5, 0.9, 0.99)  # of the bytes of a file that is cut off
N_GARBAGE_BYTES = 5000


@dataclass(frozen=True, slots=True)
class Example:
    """A valid file of a format. options: of data.readers.read.read that it needs, such as rate_hz."""

    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


Rule = tuple[str, Callable[[Example], str], str]


def _read(example: Example, **options: Any) -> Recording:
    return read(example.path, **{**example.options, **options})


def reads_its_example(example: Example) -> str:
    """Return why the recording in the example is none."""
    recording = _read(example)
    signals = recording.signals
    if not (isinstance(signals, np.ndarray) and signals.ndim == 2 and signals.dtype == np.float32):
        return f"signals are {getattr(signals, 'dtype', type(signals))} {getattr(signals, 'shape', '')}"
    if not signals.flags.c_contiguous or signals.flags.writeable:
        return "signals can be written, or are not contiguous"
    if signals.shape[0] != len(recording.channels) or len(set(recording.channels)) != len(recording.channels):
        return f"{signals.shape[0]} channels have the names {', '.join(recording.channels)}"
    if signals.shape[0] < 1 or signals.shape[1] < 2:
        return f"signals have the shape {signals.shape}"
    return "" if np.isfinite(signals).all() else "signals are not finite"


def repeats_itself(example: Example) -> str:
    """Return why a second reading differs, or why reading and listing change the folder of the file."""
    with _copied(example) as (copy, _):
        folder = copy.path.parent
        before = _digests(folder)
        one, other = _read(copy), _read(copy)
        variables(copy.path)
        after = _digests(folder)
    same = np.array_equal(one.signals, other.signals) and (one.rate_hz, one.channels) == (other.rate_hz, other.channels)
    if not same:
        return "two readings differ"
    return "" if after == before else "reading has written a file"


def names_its_files(example: Example) -> str:
    """Return why the recording cannot be read from the files alone that its format names as its parts."""
    if example.path not in files_of(example.path):
        return "parts does not name the file itself"
    with _copied(example) as (copy, _):
        try:
            same = np.array_equal(_read(copy).signals, _read(example).signals)
        except DataError as error:
            return f"parts leaves out a file that is needed: {error}"
    return "" if same else "parts leaves out a file that changes what is read"


def chooses_channels(example: Example) -> str:
    """Return why a channel cannot be chosen by its name."""
    whole = _read(example)
    name = whole.channels[-1]
    found = _read(example, channels=(name,))
    if found.channels != (name,) or not np.array_equal(found.signals, whole.signals[-1:]):
        return f"channels = ({name!r},) gives {found.channels}, or other samples"
    return ""


def names_its_channels(example: Example) -> str:
    """Return why a channel that does not exist is not refused with those that do."""
    known = _read(example).channels
    message = _refused(example, channels=(UNKNOWN,))
    if message is None:
        return "a channel that does not exist is accepted"
    missing = [name for name in known[:8] if name not in message]
    return f"the error does not name {missing[0]}: {message}" if missing else _one_line(message)


def lists_its_variables(example: Example) -> str:
    """Return why the listing is none."""
    found = variables(example.path)
    if not found or not all(isinstance(variable, Variable) for variable in found):
        return f"variables gives {found!r}; at least one Variable is needed"
    return ""


def refuses_cut_off_files(example: Example) -> str:
    """Return why a file that ends early is neither refused in one line nor read as a shorter one."""
    n_samples = _read(example).signals.shape[1]
    for share in SHARES:
        with _copied(example) as (copy, broken):
            whole = broken.read_bytes()
            broken.write_bytes(whole[: int(len(whole) * share)])
            try:
                left = _read(copy).signals.shape[1]
            except DataError as error:
                if wrong := _one_line(str(error), copy.path):
                    return wrong
            else:
                if left > n_samples:
                    return f"{share:.1%} of the file give {left} samples, the whole file {n_samples}"
    return ""


def refuses_other_files(example: Example) -> str:
    """Return why a file of another kind is not refused in one line."""
    with _copied(example) as (copy, broken):
        broken.write_bytes(np.random.default_rng(0).bytes(N_GARBAGE_BYTES))
        message = _refused(copy)
        return f"{N_GARBAGE_BYTES} random bytes are accepted" if message is None else _one_line(message, copy.path)


def _refused(example: Example, **options: Any) -> str | None:
    """Return the DataError's message; None where there is none."""
    try:
        _read(example, **options)
    except DataError as error:
        return str(error)
    return None


def _one_line(message: str, path: Path | None = None) -> str:
    if "\n" in message:
        return "the error has more than one line"
    named = path is None or path.stem in message
    return "" if named else f"the error does not name the file: {message}"


def _digests(folder: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir() if each.is_file()}


@contextmanager
def _copied(example: Example) -> Iterator[tuple[Example, Path]]:
    """Yield a copy of the example's files in a folder of its own, and the largest of them, to break it."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(shutil.copy(each, folder)) for each in files_of(example.path)]
        largest = max(copies, key=lambda path: path.stat().st_size)
        yield Example(Path(folder) / example.path.name, example.options), largest


RULES: tuple[Rule, ...] = (
    (
        "an example gives finite float32[channel, time] with a name for each channel",
        reads_its_example,
        "return data.readers.contents.gather(names, wanted.channels, path, lines), which builds Contents",
    ),
    ("a second reading is equal, and nothing is written", repeats_itself, "open files for reading only"),
    (
        "the files that are read are known, so that a changed one is noticed",
        names_its_files,
        "return them all in Format(parts=...), or give them one name and different suffixes",
    ),
    (
        "a channel can be chosen by its name",
        chooses_channels,
        "pass wanted.channels to data.readers.contents.gather or pick_channels",
    ),
    (
        "a channel that does not exist is refused with those that do",
        names_its_channels,
        "pass wanted.channels to data.readers.contents.gather or pick_channels",
    ),
    ("the variables of a file are listed", lists_its_variables, "return a Variable for each channel"),
    (
        "a file that ends early is refused by a DataError of one line, or read as far as it goes",
        refuses_cut_off_files,
        "read within `with data.readers.contents.reading(path, kind):`, and compare sizes with what the header says",
    ),
    (
        "a file of another kind is refused by a DataError of one line",
        refuses_other_files,
        "check the first bytes or the header, and read within `with data.readers.contents.reading(path, kind):`",
    ),
)
