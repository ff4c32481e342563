"""Whether a recording of a heart is good enough to learn from and to be scored by: its measures, grade and problem.

The measures are those of the heart's band, as scores see it: resampled to 250 Hz, band-passed to 25-55 Hz, or to 25 Hz
up to 0.45 times the rate where a recording carries less. They are medians of windows of 12 s, so that a recording of
half an hour whose heart rate changes is measured as one of 12 s is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.config import HEART_BAND_HZ, MEASURED_HZ
from data.filters import MAX_RATIO, bandpass, resample
from data.quality import DROPOUT_S, defects
from data.recording import Recording, Signal
from objectives.heart import LOUD_QUANTILE, envelope, periodicity

GRADES = ("A", "B")  # the better first

WINDOW_S = 12.0  # ten beats and more, in which the heart rate hardly changes
MIN_S = 8.0  # halves of 4 s reach down to 40 bpm, see objectives.heart.periodicity
MIN_CONTRAST_S = 4.0  # two beats and more
# Of the rate, up to which a recording carries a signal: above it lie the slopes of anti-aliasing filters.
CARRIED = 0.45
# 25 to 45 Hz hold most of S1 and S2 on the chest; a recording must have the rate for them, 90 Hz and more.
LEAST_HIGH_HZ = 45.0

# White noise in the band reaches 0.20 in the worst of 500 windows, and 0.17 in 1 of 100.
MIN_PERIODICITY = 0.25
# Twice the limit of noise: what a steady rhythm with some breathing gives.
GOOD_PERIODICITY = 0.45
# Relative difference in heart rate of the halves of a window. Breathing changes the rate by up to a tenth from one half
# to the other; a period mistaken for its half or its double differs by two thirds.
MAX_HALVES = 0.2
GOOD_HALVES = 0.1
# Of loud sounds above the floor. White noise in the band has 8.2 dB, and 9.7 dB in the worst of 500 windows.
MIN_CONTRAST_DB = 10.0
GOOD_CONTRAST_DB = 13.0
# The quiet part of a beat lasts longer than this share, in exercise too.
FLOOR_QUANTILE = 0.2
# A clipped S1 has harmonics within the band. One sample in 1000 is one cut peak a beat.
MAX_CLIPPED = 1e-3
GOOD_CLIPPED = 1e-4
# Share of the time without a signal. Each dropout begins and ends with a click.
MAX_DROPOUTS = 0.01


@dataclass(frozen=True, slots=True)
class Heart:
    """A recording of a heart with its measures.

    recording: with the measured channel first.
    heart_rate_bpm, periodicity, halves, contrast_db: medians of the windows, NaN where they cannot be measured. halves
        is the relative difference in heart rate of the halves of a window.
    clipped: share of samples. dropouts: share of the time.
    grade: "A" or "B"; "" with a problem.
    problem: why the recording cannot be used, as "in a few words: measure and limit"; "" for none.
    """

    recording: Recording
    heart_rate_bpm: float
    periodicity: float
    halves: float
    contrast_db: float
    clipped: float
    dropouts: float
    grade: str
    problem: str


def judge(recording: Recording, ranked: bool) -> Heart:
    """Measure a recording of a heart and grade it.

    ranked: whether the first channel is to be measured; otherwise the one with the highest periodicity is, and comes
        first.
    """
    found = defects(recording)
    rows = [0] if ranked else [i for i, of_channel in enumerate(found) if not of_channel.flat] or [0]
    own_hz = recording.own_rate_hz
    # A few microseconds of a clock are no reason to refuse.
    is_measurable = recording.duration_s >= MIN_S - 1e-6 and own_hz >= 2 * LEAST_HIGH_HZ and not found[rows[0]].flat
    measured = {i: _measures(recording.signals[i], recording.rate_hz, own_hz) for i in rows} if is_measurable else {}
    first = max(measured, key=lambda i: measured[i][1], default=rows[0])
    rate_bpm, strength, halves, contrast_db = measured.get(first, (math.nan,) * 4)
    clipped, dropouts = found[first].clipped, found[first].dropout_s / recording.duration_s
    problem = _problem(recording, own_hz, found[first].flat, clipped, dropouts, strength, halves, contrast_db)
    is_good = (
        strength >= GOOD_PERIODICITY
        and halves <= GOOD_HALVES
        and contrast_db >= GOOD_CONTRAST_DB
        and clipped <= GOOD_CLIPPED
        and dropouts == 0
    )
    return Heart(
        recording=_with_first(recording, first),
        heart_rate_bpm=rate_bpm,
        periodicity=strength,
        halves=halves,
        contrast_db=contrast_db,
        clipped=clipped,
        dropouts=dropouts,
        grade="" if problem else GRADES[0] if is_good else GRADES[1],
        problem=problem,
    )


def contrast_db(signal: Signal, rate_hz: float, own_hz: float | None = None) -> float:
    """Return how far the sounds in signal[time] stand above their floor in the heart's band, in dB.

    It is the contrast by which recordings are graded: of the envelope, the level that 5 % of the time exceed over the
    level that 80 % of the time exceed, as the median of windows of 12 s. White noise has 8 dB.

    own_hz: the rate up to which the signal was recorded, if that is lower than `rate_hz`.

    Returns NaN for a signal that is shorter than MIN_CONTRAST_S, constant, or of a rate below 90 Hz or far above all
    that is recorded of hearts (data.filters.MAX_RATIO).
    """
    lowest_hz = own_hz or rate_hz
    is_measurable = lowest_hz >= 2 * LEAST_HIGH_HZ and rate_hz <= MAX_RATIO * MEASURED_HZ
    if signal.size < MIN_CONTRAST_S * rate_hz or not is_measurable or signal.min() == signal.max():
        return math.nan
    return _contrast_db(envelope(_windows(signal, rate_hz, lowest_hz), MEASURED_HZ))


def contrasts_db(recording: Recording) -> tuple[float, ...]:
    """Return the contrast of each channel of a recording in dB, see contrast_db."""
    return tuple(contrast_db(row, recording.rate_hz, recording.own_rate_hz) for row in recording.signals)


def _problem(
    recording: Recording,
    own_hz: float,
    is_flat: bool,
    clipped: float,
    dropouts: float,
    strength: float,
    halves: float,
    contrast_db: float,
) -> str:
    """Return the first problem; "" for none."""
    problems: Sequence[tuple[bool, str]] = (
        (recording.duration_s < MIN_S - 1e-6, f"too short: {recording.duration_s:.1f} s, {MIN_S:g} s are needed"),
        (
            own_hz < 2 * LEAST_HIGH_HZ,
            f"of too low a rate: {own_hz:g} Hz, {2 * LEAST_HIGH_HZ:g} Hz are needed for "
            f"{HEART_BAND_HZ[0]:g} to {LEAST_HIGH_HZ:g} Hz",
        ),
        (is_flat, "flat: all samples are equal"),
        (clipped > MAX_CLIPPED, f"clipped: {clipped:.2%} of samples, at most {MAX_CLIPPED:.1%} is allowed"),
        (
            dropouts > MAX_DROPOUTS,
            f"with dropouts: constant for {DROPOUT_S * 1000:g} ms and more in {dropouts:.1%} of the time, at most "
            f"{MAX_DROPOUTS:.0%} is allowed",
        ),
        (
            not strength >= MIN_PERIODICITY,
            f"without a rhythm: periodicity {strength:.2f}, {MIN_PERIODICITY:g} is needed",
        ),
        (
            not halves <= MAX_HALVES,
            f"with unequal halves: heart rates differ by {halves:.0%}, at most {MAX_HALVES:.0%} is allowed",
        ),
        (
            not contrast_db >= MIN_CONTRAST_DB,
            f"without contrast: sounds {contrast_db:.1f} dB above the floor, {MIN_CONTRAST_DB:g} dB are needed",
        ),
    )
    return next((text for holds, text in problems if holds), "")


def _measures(signal: Signal, rate_hz: float, own_hz: float) -> tuple[float, float, float, float]:
    """Return heart rate in bpm, periodicity, difference of halves and contrast in dB: medians of the windows.

    A window whose halves have no heart rate counts as one whose halves differ by any amount.
    """
    windows = _windows(signal, rate_hz, own_hz)
    envelopes = envelope(windows, MEASURED_HZ)
    rates_bpm, strengths = periodicity(envelopes, MEASURED_HZ)
    n_window = windows.shape[1]
    half = n_window // 2
    of_halves = [
        periodicity(envelope(windows[:, at : at + half], MEASURED_HZ), MEASURED_HZ)[0] for at in (0, n_window - half)
    ]
    differences = np.abs(of_halves[0] - of_halves[1]) / (0.5 * (of_halves[0] + of_halves[1]))
    known = rates_bpm[np.isfinite(rates_bpm)]
    return (
        float(np.median(known)) if known.size else math.nan,
        float(np.median(strengths)),
        float(np.median(np.where(np.isfinite(differences), differences, np.inf))),
        _contrast_db(envelopes),
    )


def _windows(signal: Signal, rate_hz: float, own_hz: float) -> Signal:
    """Return the windows [window, time] of a signal in the heart's band, at MEASURED_HZ."""
    low_hz, high_hz = HEART_BAND_HZ
    centred = signal - np.float32(signal.mean(dtype=np.float64))
    band = bandpass(resample(centred, rate_hz, MEASURED_HZ), MEASURED_HZ, low_hz, min(high_hz, CARRIED * own_hz))
    n_window = min(band.size, round(WINDOW_S * MEASURED_HZ))
    return band[: band.size // n_window * n_window].reshape(-1, n_window)


def _contrast_db(envelopes: NDArray[np.float64]) -> float:
    """Return by how much the loud level of envelopes[window, time] exceeds their floor in dB, median of the windows."""
    loud, floor = (np.quantile(envelopes, share, axis=-1) for share in (LOUD_QUANTILE, FLOOR_QUANTILE))
    tiny = np.finfo(np.float64).tiny
    return float(np.median(20 * np.log10(np.maximum(loud, tiny) / np.maximum(floor, tiny))))


def _with_first(recording: Recording, first: int) -> Recording:
    """Return the recording with the channel of index `first` before the others."""
    if first == 0:
        return recording
    rows = [first, *(i for i in range(len(recording.channels)) if i != first)]
    return replace(
        recording,
        signals=np.ascontiguousarray(recording.signals[rows]),
        channels=tuple(recording.channels[i] for i in rows),
    )
