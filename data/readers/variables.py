"""Files of named arrays (.mat, .npz): find the variables with the signal, the rate, the ECG and the R peaks."""

import fnmatch
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, near
from data.readers.contents import (
    Contents,
    Numbers,
    Variable,
    Wanted,
    as_signal,
    gather,
    is_ecg,
    listing,
    usable_ecg,
)

RATE_NAMES = ("fs", "rate_hz", "sr", "rate", "fs_hz", "sample_rate")
ECG_RATE_NAMES = ("ecg_rate_hz", "ecg_fs", "fs_ecg")
R_PEAK_NAMES = ("r_peaks_s", "r_peak_s")


class Archive(Protocol):
    """An open file of named arrays."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return every variable, in the file's order."""

    @property
    def numeric(self) -> frozenset[str]:
        """Return the names of the variables with real numbers."""

    def load(self, name: str) -> Numbers:
        """Return the whole variable."""

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        """Yield the 1-D slices of a 2-D variable at `indices` of `axis`."""


def arrays(store: Archive) -> dict[str, Variable]:
    """Return the numeric variables of at least two samples, by name."""
    return {v.name: v for v in store.variables if v.name in store.numeric and math.prod(v.shape) >= 2}


def choose(store: Archive, pattern: str | None, where: Path) -> list[Variable]:
    """Return the variables with the signal: those that match a name or glob, sorted, or the only candidate.

    pattern: name or glob; None takes the only candidate.

    Raises DataError, listing the variables, if nothing matches or there is more than one candidate.
    """
    found = arrays(store)
    holds = f"it holds {listing(store.variables)}"
    if pattern is None:
        signals = [v for v in found.values() if not (v.name.lower() in _known() or v.name.endswith("_s"))]
        signals = [v for v in signals if not is_ecg(v.name)] or signals
        if len(signals) == 1:
            return signals
        why = "no variable holds a signal" if not signals else "more than one variable may be the signal"
        raise DataError(f"{where}: {why}; {holds}; choose with variable=")
    names = [v.name for v in store.variables]
    chosen = [pattern] if pattern in names else sorted(fnmatch.filter(names, pattern))
    if not chosen:
        raise DataError(f"{where}: no variable {pattern!r}{near(pattern, names)}; {holds}")
    usable = [found[name] for name in chosen if name in found]
    if not usable:
        raise DataError(f"{where}: variable {pattern!r} is no array of two or more real numbers; {holds}")
    return usable


def _known() -> frozenset[str]:
    return frozenset((*RATE_NAMES, *ECG_RATE_NAMES, *R_PEAK_NAMES))


def scalar(store: Archive, names: tuple[str, ...], where: Path) -> float | None:
    """Return the value of a scalar variable with one of `names`, ignoring case; None if there is none.

    Raises DataError if several such variables differ.
    """
    found = {
        v.name: float(np.ravel(store.load(v.name))[0])
        for v in store.variables
        if v.name.lower() in names and v.name in store.numeric and math.prod(v.shape) == 1
    }
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name} = {value:g}" for name, value in found.items())
        raise DataError(f"{where}: the file gives two rates ({said}); correct it")
    return next(iter(found.values()), None)


def r_peaks(store: Archive, where: Path) -> NDArray[np.float64] | None:
    """Return the annotated R peaks in s, float64[beat]; None if the file has none. Raises DataError for NaN."""
    for name in R_PEAK_NAMES:
        if name in store.numeric:
            peaks = np.ravel(store.load(name)).astype(np.float64)
            if not np.isfinite(peaks).all():
                raise DataError(f"{where}: {name} holds NaN; give every R peak in seconds, or none")
            return peaks
    return None


def is_vector(variable: Variable) -> bool:
    """Return whether at most one axis is longer than 1."""
    return sum(n > 1 for n in variable.shape) <= 1


def read_generic(
    store: Archive, wanted: Wanted, where: Path, labels: tuple[str, ...] = (), channel_axis: int | None = None
) -> Contents:
    """Read the chosen variable as [time], [time, channel] or [channel, time]; the longer axis is time.

    Several variables that match a glob are joined in time to one channel. Another vector named ECG becomes the ECG if
    its rate is known: from ecg_rate_hz, or that of the signals if it has their length.

    labels: channel names, used if there are as many as channels; else they are ch1 ... chN.
    channel_axis: the axis of the channels, if the layout defines it.

    Raises DataError as `choose` does, and for shapes that are none of these.
    """
    chosen = choose(store, wanted.variable, where)
    rate_hz = scalar(store, RATE_NAMES, where)
    peaks = r_peaks(store, where)
    if len(chosen) > 1 or is_vector(chosen[0]):
        bad = next((v for v in chosen if not is_vector(v)), None)
        if bad is not None:
            raise DataError(f"{where}: {bad} is among several variables to be joined; each must be one channel")
        joined = np.concatenate([np.ravel(store.load(v.name)) for v in chosen])
        names: tuple[str, ...] = labels if len(labels) == 1 else ("ch1",)
        contents = gather(names, wanted.channels, where, lambda rows: [joined for _ in rows])
    else:
        variable = chosen[0]
        if len(variable.shape) != 2 or (channel_axis is None and variable.shape[0] == variable.shape[1]):
            raise DataError(
                f"{where}: {variable} is not [time], [time, channel] or [channel, time], time being longer; "
                "choose another with variable="
            )
        axis = int(np.argmin(variable.shape)) if channel_axis is None else channel_axis
        n_channels = variable.shape[axis]
        names = labels if len(labels) == n_channels else tuple(f"ch{i + 1}" for i in range(n_channels))
        contents = gather(names, wanted.channels, where, lambda rows: store.lines(variable.name, axis, rows))
    ecg, ecg_rate_hz, notes = contents.ecg, None, list[str]()
    if ecg is None:
        taken = {v.name for v in chosen}
        for beside in (v for v in arrays(store).values() if is_ecg(v.name) and v.name not in taken and is_vector(v)):
            ecg_rate_hz = scalar(store, ECG_RATE_NAMES, where)
            if ecg_rate_hz is not None or math.prod(beside.shape) == contents.signals.shape[1]:
                ecg = usable_ecg(as_signal(np.ravel(store.load(beside.name)), beside.name, notes))
                break
    return replace(
        contents,
        rate_hz=rate_hz,
        ecg=ecg,
        ecg_rate_hz=None if ecg is None else ecg_rate_hz,
        r_peaks_s=peaks,
        notes=(*contents.notes, *notes),
    )
