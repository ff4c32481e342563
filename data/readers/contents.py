"""What readers receive and return, and the rules for channels, ECGs, rates and sizes that hold for all formats."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, NoChannel, near, printable
from data.filters import resample
from data.recording import Signal

Numbers = NDArray[np.generic]
# A mean of so many standard deviations is removed in double precision. Below it, the rounding of float32 lies more
# than 110 dB under the signal.
OFFSET = 100.0
# Words beside ECG in a name.
ABOUT_ECGS = frozenset(
    ["hr", "bpm", "rate", "rr", "quality", "sqi", "marker", "event", "events", "trigger", "status", "flag"]
)
PLACES = frozenset(["electrode", "site", "position", "acc", "accel", "accelerometer"])


@dataclass(frozen=True, slots=True)
class Variable:
    """A named array in a file, with its shape and its type as the writing program names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.shape) or "scalar"
        return f"{printable(self.name)} ({size} {printable(self.dtype)})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller requested of a reader; None and "auto" leave the choice to the file's content.

    rate_hz: tells the unit of times that have none.
    """

    variable: str | None = None
    layout: str = "auto"
    channels: tuple[str, ...] | None = None
    variables: tuple[str, ...] = ()
    rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a reader returns.

    signals: float32[channel, time], read-only.
    rate_hz: None if the file does not state it.
    rate_is_default: whether the rate follows from the layout only and is not stated in the file.
    ecg: float32[time], starting with the signals.
    ecg_rate_hz: None if it is the rate of the signals.
    lowest_rate_hz: the lowest rate at which a channel was recorded, if it is not `rate_hz`: it has been resampled.
    notes: what was assumed, corrected or left out, a sentence each.
    clock: name of the column of times that the rate is from, if it is a column of a table.
    """

    signals: Signal
    channels: tuple[str, ...]
    rate_hz: float | None
    rate_is_default: bool = False
    ecg: Signal | None = None
    ecg_rate_hz: float | None = None
    r_peaks_s: NDArray[np.float64] | None = None
    lowest_rate_hz: float | None = None
    notes: tuple[str, ...] = ()
    clock: str = ""


def is_ecg(name: str) -> bool:
    """Return whether the name of a channel or variable means an ECG: "ecg1", "EKG", "ECG(mV)", "chest ECG".

    Names with another word beside it that means something about an ECG, or the place of another sensor, are none:
    "ECG_HR", "ecg quality", "acc_ecg_electrode".
    """
    words = _ecg_words(name)
    return words is not None and not words & (ABOUT_ECGS | PLACES)


def is_about_ecg(name: str) -> bool:
    """Return whether a channel tells something about an ECG: "ECG_HR", "ecg_quality", "ECG marker"."""
    words = _ecg_words(name)
    return words is not None and bool(words & ABOUT_ECGS) and not words & PLACES


def _ecg_words(name: str) -> set[str] | None:
    """Return the words of a name beside ECG or EKG, None if neither is one of them."""
    if re.search(r"(?<![a-z])(ecg|ekg)(?![a-z])", name.strip(), re.IGNORECASE) is None:
        return None
    plain = re.sub(r"[\[({](?![^\])}]*[Ee][CcKk][Gg])[^\])}]*[\])}]", " ", name)  # without the unit in brackets
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower())
    return set(words) - {"ecg", "ekg"}


def pick_channels(names: Sequence[str], wanted: tuple[str, ...] | None, where: Path) -> tuple[list[int], int | None]:
    """Return the indices of the signal channels, in order, and the index of the ECG, or None.

    Channels named ECG are not signals unless the file has no others or `wanted` names them. The one with the fewest
    other words in its name becomes the ECG, and the first of those. What tells something about an ECG is no signal
    either.

    Raises DataError, listing the channels, if `wanted` names a channel that does not exist.
    """
    ecgs = [i for i, name in enumerate(names) if is_ecg(name)]
    about = [i for i, name in enumerate(names) if is_about_ecg(name)]
    if len(ecgs) + len(about) == len(names):
        ecgs, about = ([], about) if ecgs else ([], [])
    if wanted is None:
        return [i for i in range(len(names)) if i not in ecgs and i not in about], _plainest(ecgs, names)
    if not wanted:
        raise DataError(f"{where}: no channels asked for; leave channels out or name some of {', '.join(names)}")
    rows = [_row(name, names, where) for name in wanted]
    return rows, _plainest([i for i in ecgs if i not in rows], names)


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of which each is there once: a repeated one gets a number, "acc", "acc #2"."""
    found: list[str] = []
    counts, taken = dict.fromkeys(names, 0), set(names)
    for name in names:
        counts[name] += 1
        new = name
        while counts[name] > 1 and new in taken:
            new = f"{name} #{counts[name]}"
            counts[name] += new in taken
        taken.add(new)
        found.append(new)
    return tuple(found)


def ecg_notes(names: Sequence[str], wanted: tuple[str, ...] | None, rows: Sequence[int], ecg: int | None) -> list[str]:
    """Return notes on channels with ECG in their names that are not the ECG; `rows` and `ecg` are of pick_channels."""
    notes = []
    for i, name in enumerate(names):
        if i == ecg or wanted is not None or _ecg_words(name) is None:
            continue
        if i not in rows:
            what = "is another ECG" if is_ecg(name) else "tells something about an ECG"
            notes.append(f"channel {name} {what} and is left out")
        elif not is_ecg(name):
            notes.append(f"channel {name} is taken as a signal, not as an ECG")
    return notes


def _plainest(ecgs: Sequence[int], names: Sequence[str]) -> int | None:
    return min(ecgs, key=lambda i: len(_ecg_words(names[i]) or ()), default=None)


def _row(wanted: str, names: Sequence[str], where: Path) -> int:
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise NoChannel(
        f"{where}: no channel {wanted!r}{near(wanted, names)}; it has {listing(names)} "
        f"(or an index from 0 to {len(names) - 1})"
    )


def gather(
    names: Sequence[str],
    wanted: tuple[str, ...] | None,
    where: Path,
    lines: Callable[[list[int]], Iterable[Numbers]],
    rates_hz: Sequence[float] | None = None,
) -> Contents:
    """Load the chosen channels one by one, and return them with the ECG. Names that repeat are numbered.

    lines: yields the file's channels at given indices, each [time]; only one needs to be in memory at a time.
    rates_hz: of the channels, for formats in which they differ. The chosen channels are resampled to the rate of the
        first of them; the ECG keeps its own. None leaves the rate to the caller.
    """
    names = numbered(names)
    rows, ecg_row = pick_channels(names, wanted, where)
    asked = rows if ecg_row is None else [*rows, ecg_row]
    first_hz = None if rates_hz is None else rates_hz[rows[0]]
    notes = ecg_notes(names, wanted, rows, ecg_row)
    signals, n_samples, ecg = np.empty((0, 0), np.float32), 0, None
    for i, (row, line) in enumerate(zip(asked, lines(asked), strict=True)):
        samples = as_signal(line, f"channel {names[row]}", notes)
        if row == ecg_row:
            ecg = usable_ecg(samples)
            continue
        if rates_hz is not None and first_hz is not None and rates_hz[row] != first_hz:
            notes.append(f"channel {names[row]} is resampled from {rates_hz[row]:g} Hz to {first_hz:g} Hz")
            samples = resample(samples, rates_hz[row], first_hz)
        if i == 0:
            n_samples = samples.size
            signals = np.empty((len(rows), n_samples), np.float32)
        n_samples = min(n_samples, samples.size)  # lengths differ by the rounding of the resampling
        signals[i, :n_samples] = samples[:n_samples]
    signals = np.ascontiguousarray(signals[:, :n_samples])
    signals.setflags(write=False)
    contents = Contents(signals, tuple(names[row] for row in rows), first_hz, ecg=ecg, notes=tuple(notes))
    if rates_hz is None:
        return contents
    lowest_hz = min(rates_hz[row] for row in rows)
    return replace(
        contents,
        lowest_rate_hz=None if lowest_hz == first_hz else lowest_hz,
        ecg_rate_hz=None if ecg is None or ecg_row is None else rates_hz[ecg_row],
    )


def usable_ecg(ecg: Signal) -> Signal | None:
    """Return the ECG, or None if its lead was not connected: all samples are equal or missing."""
    known = ecg[np.isfinite(ecg)]
    return None if known.size == 0 or bool((known == known[0]).all()) else ecg


def as_signal(values: Numbers, name: str, notes: list[str]) -> Signal:
    """Return real numbers as read-only float32[time]; values too large for float32 become infinite.

    A mean of more than 100 times the standard deviation is removed before the conversion, and `notes` says so: the
    resolution of float32 at such a mean would be noise.
    """
    if values.dtype != np.float32 and values.dtype.itemsize >= 4:
        finite = values[np.isfinite(values)].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = (float(finite.mean()), float(finite.std())) if finite.size else (0.0, 0.0)
        if 0 < OFFSET * deviation < abs(mean):
            notes.append(f"{name}: its mean of {mean:g} is removed")
            values = values.astype(np.float64) - mean
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, np.float32)
    if cast is values:
        cast = cast.copy()
    cast.setflags(write=False)
    return cast


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Raise DataError that names the file for any error in the block, as libraries raise for broken files."""
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise DataError(f"{path}: cannot be read as {kind} in UTF-8 ({found}); save it in that encoding") from error
    except Exception as error:  # each library has many kinds of errors for broken files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read as {kind} ({reason}); is it complete and really of that kind?"
        ) from error


def listing(items: Iterable[object], at_most: int = 8) -> str:
    """Return items separated by commas, shortened if there are more than `at_most`."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - at_most} more" if len(texts) > at_most else ""
    return (", ".join(texts[:at_most]) or "nothing") + more


def check_spans(spans: Mapping[str, float], slack: float, where: Path, fix: str, unit: str = "s") -> None:
    """Raise DataError if the durations of channels, by name, differ by more than `slack`; both are in `unit`."""
    if max(spans.values()) - min(spans.values()) > slack:
        shown = listing(f"{name} {span:g} {unit}" for name, span in spans.items())
        raise DataError(f"{where}: channels differ in duration ({shown}); {fix}")


def check_memory(n_bytes: int, what: str, where: Path) -> None:
    """Raise DataError for an array that is larger than this machine's memory: a small file can claim any size.

    what: the array, for the message.
    """
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if n_bytes > available:
        needed_gb, available_gb = n_bytes / 1e9, available / 1e9
        raise DataError(
            f"{where}: {printable(what)} takes {needed_gb:,.1f} GB, more than the {available_gb:,.1f} GB of memory "
            "here; cut the recording into parts"
        )
