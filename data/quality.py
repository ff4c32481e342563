"""Find defects of recorded channels: clipping, dropouts, mains hum, copies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from data.recording import Recording, Signal

CLIPPED_SAMPLES = 3  # at the extreme in a row; a peak of a signal that is not clipped has one or two
DROPOUT_S = 0.05  # no sound or vibration is constant for so long
MAINS_HZ = (50.0, 60.0)
HUM_DB = 10.0
IDENTICAL = 1.0 - 1e-6  # correlation of two channels that are copies, up to their scale and rounding


@dataclass(frozen=True, slots=True)
class Defects:
    """The defects of a channel.

    flat: whether all samples are equal; nothing else is then measured.
    clipped: share of samples at the channel's extremes, in runs of three and more.
    dropout_s: seconds in runs of equal samples of 50 ms and more, clipping aside.
    hum_hz, hum_db: 50 or 60 Hz and by how much its line stands above the spectrum beside it, if by 10 dB or more.
    copy_of: an earlier channel of which this channel is a copy, up to scale and offset.
    """

    flat: bool = False
    clipped: float = 0.0
    dropout_s: float = 0.0
    hum_hz: float | None = None
    hum_db: float | None = None
    copy_of: str | None = None

    def __str__(self) -> str:
        if self.flat:
            return "flat: all samples are equal"
        found = []
        if self.copy_of is not None:
            found.append(f"a copy of {self.copy_of}")
        if self.clipped:
            found.append(f"clipped in {100 * self.clipped:.2g} % of samples")
        if self.dropout_s:
            found.append(f"constant for {self.dropout_s:.3g} s")
        if self.hum_hz is not None:
            found.append(f"line at the mains frequency {self.hum_hz:g} Hz, {self.hum_db:.0f} dB above its neighbours")
        return ", ".join(found)


def defects(recording: Recording) -> tuple[Defects, ...]:
    """Return the defects of each channel of a recording."""
    centred = [row.astype(np.float64) - float(row.mean(dtype=np.float64)) for row in recording.signals]
    sizes = [float(np.sqrt(np.sum(row**2))) for row in centred]
    found = []
    for i, row in enumerate(recording.signals):
        if row.min() == row.max():
            found.append(Defects(flat=True))
            continue
        clipped, dropout_s = _constant_runs(row, recording.rate_hz)
        hum = _hum(centred[i], recording.rate_hz)
        copies = (
            recording.channels[j]
            for j in range(i)
            if sizes[j] > 0 and abs(float(centred[i] @ centred[j])) >= IDENTICAL * sizes[i] * sizes[j]
        )
        found.append(Defects(False, clipped, dropout_s, *hum, next(copies, None)))
    return tuple(found)


def _constant_runs(row: Signal, rate_hz: float) -> tuple[float, float]:
    """Return the share of clipped samples, and the seconds of dropouts."""
    starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    lengths = np.diff(np.append(starts, row.size))
    values = row[starts]
    extreme = ((values == row.max()) | (values == row.min())) & (lengths >= CLIPPED_SAMPLES)
    # Zero is the extreme of a rectified signal that is silent, and what most devices write while they have no signal.
    extreme &= values != 0
    silent = (lengths >= max(DROPOUT_S * rate_hz, CLIPPED_SAMPLES)) & ~extreme
    return float(lengths[extreme].sum() / row.size), float(lengths[silent].sum() / rate_hz)


def _hum(centred: NDArray[np.float64], rate_hz: float) -> tuple[float | None, float | None]:
    """Return the frequency of the stronger mains line and its level above its neighbours in dB, or None and None."""
    n_window = round(4 * rate_hz)
    if centred.size < n_window:
        return None, None
    frequencies_hz, power = welch(centred, rate_hz, nperseg=n_window)
    found: list[tuple[float, float]] = []
    for mains_hz in MAINS_HZ:
        if mains_hz + 5 >= rate_hz / 2:
            continue
        away_hz = np.abs(frequencies_hz - mains_hz)
        # A line of an engine is as narrow, but seldom as still: it spreads over several bins.
        beside = float(np.median(power[(away_hz > 1) & (away_hz <= 5)]))
        if beside > 0:
            found.append((10 * float(np.log10(power[away_hz <= 0.3].max() / beside)), mains_hz))
    db, hz = max(found, default=(0.0, 0.0))
    return (hz, db) if db >= HUM_DB else (None, None)
