"""What stands beside a signal in a file of named arrays, apart from its rate: its ECG and its R peaks."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.arrays.archive import Archive
from data.readers.arrays.levels import at, field_of, is_vector, levels
from data.readers.arrays.rates import stated
from data.readers.contents import as_signal, is_ecg, usable_ecg
from data.readers.names import is_rate_name_of
from data.recording import Signal

R_PEAK_NAMES = ("r_peaks_s", "r_peak_s")


def r_peaks_beside(store: Archive, names: Sequence[str], where: Path) -> NDArray[np.float64] | None:
    """Return the annotated R peaks in s, float64[beat]; None if the file has none. Raises DataError for NaN."""
    for level in levels(names):
        for v in at(store, level):
            if field_of(v.name) in R_PEAK_NAMES and v.name in store.numeric:
                peaks = np.ravel(store.load(v.name)).astype(np.float64)
                if not np.isfinite(peaks).all():
                    raise DataError(f"{where}: {v.name} holds NaN; give every R peak in seconds, or none")
                return peaks
    return None


def ecg_beside(
    store: Archive, names: Sequence[str], n_samples: int, where: Path, notes: list[str]
) -> tuple[Signal | None, float | None]:
    """Return a vector named ECG beside the signals, and its rate; None for the rate if it is that of the signals.

    It is used if its rate is known: it is stated for the ECG, or the ECG has the length of the signals.
    """
    for level in levels(names):
        for v in at(store, level):
            if v.name in names or v.name not in store.numeric or not is_ecg(field_of(v.name)):
                continue
            if not is_vector(v) or math.prod(v.shape) < 2:
                continue
            rate_hz = _ecg_rate(store, level, field_of(v.name), where, notes)
            if rate_hz is not None or math.prod(v.shape) == n_samples:
                return usable_ecg(as_signal(np.ravel(store.load(v.name)), v.name, notes)), rate_hz
            notes.append(f"{v} is not used: it has not the length of the signal, and no ecg_rate_hz beside it")
    return None, None


def _ecg_rate(store: Archive, level: str, field: str, where: Path, notes: list[str]) -> float | None:
    """Return the rate that is stated for the ECG alone."""
    for name in ("ecg", "ekg", field):
        own = [v for v in at(store, level) if is_rate_name_of(field_of(v.name), name)]
        if own:
            return stated(store, level, name, where, notes)
    return None
