"""Recording: the signals of a measurement, as every reader returns them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable

Signal = NDArray[np.float32]
Gaps = Literal["cut", "fill", "refuse"]  # what to do with samples that are missing; see data.readers.gaps
D = TypeVar("D", bound=np.generic)
SHOWN_CHANNELS = 8  # in the text of a recording


def frozen(values: NDArray[np.generic], dtype: type[D] = np.float32) -> NDArray[D]:  # type: ignore[assignment]
    """Return `values` as a C-contiguous, read-only array of `dtype`; copied unless it already is one."""
    if values.dtype == dtype and values.flags.c_contiguous and not values.flags.writeable:
        return cast(NDArray[D], values)
    copy = np.array(values, dtype=dtype, order="C", copy=True)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The signals of one measurement.

    signals: read-only float32[channel, time]; finite, at least two samples.
    rate_hz: samples per second.
    channels: one name per row of `signals`.
    source: the file it was read from.
    ecg: read-only float32[time] at `ecg_rate_hz`, starting with the signals; None if there is none.
    r_peaks_s: read-only float64[beat], times of annotated R peaks in seconds; None if there are no annotations.
    lowest_rate_hz: the lowest rate at which one of the channels was recorded; below `rate_hz` if it was resampled.
    notes: what the reader assumed, corrected or left out, a sentence each.

    Raises DataError, naming the source and the channel, if any of this does not hold.
    """

    signals: Signal
    rate_hz: float
    channels: tuple[str, ...]
    source: Path
    ecg: Signal | None = None
    ecg_rate_hz: float | None = None
    r_peaks_s: NDArray[np.float64] | None = None
    lowest_rate_hz: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Path(self.source))  # in notebooks, the name of a file is a text
        object.__setattr__(self, "channels", tuple(self.channels))
        where = str(self.source)
        if self.signals.ndim != 2:
            raise DataError(f"{where}: signals have shape {self.signals.shape}; [channel, time] is needed")
        n_channels, n_samples = self.signals.shape
        if n_channels == 0 or n_samples < 2:
            raise DataError(f"{where}: empty signal ({n_channels} channels x {n_samples} samples)")
        if len(self.channels) != n_channels:
            raise DataError(f"{where}: {len(self.channels)} channel names for {n_channels} channels")
        if len(set(self.channels)) != n_channels:
            raise DataError(f"{where}: channel names repeat: {', '.join(self.channels)}; give each its own")
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise DataError(f"{where}: rate is {self.rate_hz} Hz; a positive number is needed")
        if (self.ecg is None) != (self.ecg_rate_hz is None):
            raise DataError(f"{where}: an ECG and its rate must be given together")
        for row, channel in zip(self.signals, self.channels, strict=True):
            check_finite(row, f"{where}: channel {channel}")
        if self.ecg is not None:
            check_finite(self.ecg, f"{where}: ECG")
            object.__setattr__(self, "ecg", frozen(self.ecg))
        if self.r_peaks_s is not None:
            object.__setattr__(self, "r_peaks_s", frozen(self.r_peaks_s, np.float64))
        object.__setattr__(self, "signals", frozen(self.signals))

    def __repr__(self) -> str:
        shown = ", ".join(self.channels[:SHOWN_CHANNELS])
        more = len(self.channels) - SHOWN_CHANNELS
        facts = [
            f"{shown} and {more} more" if more > 0 else shown,
            f"{self.duration_s:.1f} s at {self.rate_hz:g} Hz",
            *([f"ECG at {self.ecg_rate_hz:g} Hz"] if self.ecg is not None else []),
            *([f"{self.r_peaks_s.size} R peaks"] if self.r_peaks_s is not None else []),
            *([f"{len(self.notes)} note{'s' if len(self.notes) > 1 else ''}"] if self.notes else []),
        ]
        return printable(f"Recording({self.source.name}: {'; '.join(facts)})")

    @property
    def own_rate_hz(self) -> float:
        """Return the rate up to which all channels were recorded."""
        return self.lowest_rate_hz or self.rate_hz

    @property
    def duration_s(self) -> float:
        """Return the duration of the signals in seconds."""
        return float(self.signals.shape[1] / self.rate_hz)


def check_finite(samples: NDArray[np.generic], what: str) -> None:
    """Raise DataError for samples that are NaN or infinite. what: named in the message."""
    n_bad = int(np.size(samples) - np.count_nonzero(np.isfinite(samples)))
    if n_bad:
        first = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise DataError(
            f"{what}: {n_bad} of {np.size(samples)} samples are NaN or infinite, the first at {first}; "
            "cut the recording there, or fill the gap"
        )


def check_varying(recording: Recording) -> None:
    """Raise DataError for a channel of which all samples are equal."""
    for name, row in zip(recording.channels, recording.signals, strict=True):
        if np.min(row) == np.max(row):
            raise DataError(f"{recording.source}: channel {name}: constant ({row[0]}); is the sensor connected?")
