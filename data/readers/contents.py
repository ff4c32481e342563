"""What readers receive and return, and the rules for channels, ECGs, rates and sizes that hold for all formats."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, near, printable
from data.recording import Signal

Numbers = NDArray[np.generic]


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
    """What the caller requested of a reader; None and "auto" leave the choice to the file's content."""

    variable: str | None = None
    layout: str = "auto"
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a reader returns.

    signals: float32[channel, time], read-only.
    rate_hz: None if the file does not state it.
    rate_is_default: whether the rate follows from the layout only and is not stated in the file.
    ecg: float32[time], starting with the signals.
    ecg_rate_hz: None if it is the rate of the signals.
    """

    signals: Signal
    channels: tuple[str, ...]
    rate_hz: float | None
    rate_is_default: bool = False
    ecg: Signal | None = None
    ecg_rate_hz: float | None = None
    r_peaks_s: NDArray[np.float64] | None = None


def is_ecg(name: str) -> bool:
    """Return whether the name of a channel or variable means an ECG: "ecg", "EKG", "ECG_data", "ECG II", "ecg1" ..."""
    return re.fullmatch(r"(ecg|ekg)(\d*|[\s_\-.].*)", name.strip(), re.IGNORECASE) is not None


def pick_channels(names: Sequence[str], wanted: tuple[str, ...] | None, where: Path) -> tuple[list[int], int | None]:
    """Return the indices of the signal channels, in order, and the index of the ECG, or None.

    Channels named ECG are not signals unless the file has no others or `wanted` names them; the first becomes the ECG.

    Raises DataError, listing the channels, if `wanted` names a channel that does not exist.
    """
    ecgs = [i for i, name in enumerate(names) if is_ecg(name)]
    if len(ecgs) == len(names):
        ecgs = []
    if wanted is None:
        return [i for i in range(len(names)) if i not in ecgs], (ecgs[0] if ecgs else None)
    if not wanted:
        raise DataError(f"{where}: no channels asked for; leave channels out or name some of {', '.join(names)}")
    rows = [_row(name, names, where) for name in wanted]
    free = [i for i in ecgs if i not in rows]
    return rows, (free[0] if free else None)


def _row(wanted: str, names: Sequence[str], where: Path) -> int:
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise DataError(
        f"{where}: no channel {wanted!r}{near(wanted, names)}; it has {listing(names)} "
        f"(or an index from 0 to {len(names) - 1})"
    )


def gather(
    names: Sequence[str],
    n_samples: int,
    wanted: tuple[str, ...] | None,
    where: Path,
    lines: Callable[[list[int]], Iterable[Numbers]],
) -> tuple[Signal, tuple[str, ...], Signal | None]:
    """Load the chosen channels one by one; return signals float32[channel, time], their names and ECG float32[time].

    lines: yields the file's channels at given indices, each [time]; only one needs to be in memory at a time.
    """
    rows, ecg_row = pick_channels(names, wanted, where)
    loaded = np.empty((len(rows), n_samples), np.float32)
    ecg = None
    asked = rows if ecg_row is None else [*rows, ecg_row]
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, which Recording refuses
        for i, line in enumerate(lines(asked)):
            if i < len(rows):
                loaded[i] = line
            else:
                ecg = usable_ecg(as_float32(line))
    loaded.setflags(write=False)
    return loaded, tuple(names[i] for i in rows), ecg


def usable_ecg(ecg: Signal) -> Signal | None:
    """Return the ECG, or None if its lead was not connected (all samples are equal)."""
    return None if ecg.size == 0 or bool((ecg == ecg[0]).all()) else ecg


def as_float32(values: Numbers) -> Signal:
    """Return real numbers as read-only float32; values too large become infinite and are refused later."""
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, np.float32)
    if cast is values:
        cast = cast.copy()
    cast.setflags(write=False)
    return cast


def is_even(times: NDArray[np.float64], quantum: float) -> bool:
    """Return whether `times` ascend in equal steps, within 1 % of a step plus their resolution `quantum`."""
    if times.size < 2 or not np.isfinite(times).all() or times[-1] <= times[0]:
        return False
    steps = np.diff(times)
    step = (times[-1] - times[0]) / steps.size
    if max(steps.max() - step, step - steps.min()) > 0.01 * step + quantum:
        return False
    if quantum < 0.49 * step:
        return True  # a missing sample would have made a larger step
    # If the times are as coarse as the steps, rounding makes irregular steps that are spread evenly; a single one is a
    # gap.
    line = times[0] + step * np.arange(times.size)
    n_odd = np.count_nonzero(np.abs(steps - np.median(steps)) > 0.01 * step)
    return bool(np.abs(times - line).max() <= 1.001 * quantum and n_odd != 1)


def rate_of(times: NDArray[np.float64], quantum: float, where: Path, what: str) -> float:
    """Return the samples per second of evenly spaced times in s: the roundest rate that their resolution allows.

    Raises DataError if the times are not evenly spaced.
    """
    if not is_even(times, quantum):
        fault = "holds NaN" if np.isnan(times).any() else "does not rise in equal steps (within 1 %)"
        raise DataError(f"{where}: {what} {fault}; resample the recording to an even rate first")
    span = float(times[-1] - times[0])
    rate = (times.size - 1) / span
    slack = rate * max(quantum / span, 1e-6)
    round_rates = (grain * round(rate / grain) for grain in (1000, 100, 50, 10, 5, 1))
    return float(next((r for r in round_rates if r > 0 and abs(rate - r) <= slack), rate))


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
