"""What a doctor would ask of an estimate: are the heart sounds at the right times, is the heart rate right?

All functions take signals already band-passed to the heart-sound band (25-55 Hz), at 200 Hz or more, and read
the amplitude envelope alone, so they are blind to polarity and to scale. Silence loses: an estimate without
structure has no events (F1 = 0) and no heart rate (NaN, counted as wrong).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, find_peaks, hilbert, sosfiltfilt

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MIN_RATE_HZ = 200.0
# S1 and S2 are 45-90 ms wide at half maximum. 12 Hz keeps them apart at fast rates and joins the two humps
# that one sound often shows; from 15 Hz up a noisy window gains false peaks, below 10 Hz the times blur.
ENVELOPE_CUTOFF_HZ = 12.0
# An estimate under this share of the clean RMS (-120 dB) is silence with rounding errors.
SILENCE_SHARE = 1e-6

# S1 to S2 takes about 0.16 s at 150 bpm and 0.3 s at rest; two sounds are never nearer.
EVENT_DISTANCE_S = 0.15
# A sound rises over its surroundings by this share of the window's loud level. S2 may have 0.41 of S1's
# amplitude, so the share lies below that, with room for breathing.
EVENT_PROMINENCE = 0.3
# The loud level is a quantile of the envelope, not its maximum: one bump must not hide every beat.
LOUD_QUANTILE = 0.95

# The half-period trap: with S2 as loud as S1, the lag from S1 to S2 correlates half as well as a whole beat,
# better still where the beats are uneven. A true period repeats at twice the lag, that one does not.
SECOND_BEAT_WEIGHT = 0.5
# Octave errors: two beats' lag can score a little higher than one beat's. The shortest lag with this share of
# the highest score is the period.
PEAK_SHARE = 0.85
# A weighted mean correlation below this is no rhythm.
MIN_PERIODICITY = 0.1
WITHIN_BPM = 5.0


def envelope(signals: NDArray[np.floating], rate_hz: float) -> Floats:
    """Amplitude envelope of float[..., time]: |analytic signal|, low-passed at 12 Hz (order 2, zero phase).

    Returns float64[..., time] >= 0, each window relative to its signal's largest magnitude. A window that is
    all zeros or holds a sample that is not finite gives zeros. Raises ValueError for a rate below 200 Hz or
    for fewer than two samples.
    """
    if not (np.isfinite(rate_hz) and rate_hz >= MIN_RATE_HZ):
        raise ValueError(f"rate_hz is {rate_hz}; heart scores need {MIN_RATE_HZ:g} Hz or more: resample first")
    n_samples = signals.shape[-1] if signals.ndim else 0
    if n_samples < 2:
        raise ValueError(f"a window has {n_samples} samples; heart scores need at least 2")
    x = np.asarray(signals, dtype=np.float64)
    x = np.where(np.isfinite(x).all(axis=-1, keepdims=True), x, 0.0)
    peak = np.abs(x).max(axis=-1, keepdims=True)
    x = x / np.where(peak > 0, peak, 1.0)
    # Zeros at the end keep the window's two ends from meeting in the FFT.
    n_fft = next_fast_len(n_samples + round(0.25 * rate_hz))
    rough = np.abs(hilbert(x, N=n_fft, axis=-1))[..., :n_samples]
    lowpass = butter(2, ENVELOPE_CUTOFF_HZ, fs=rate_hz, output="sos")
    padding = min(n_samples - 1, round(2 * rate_hz / ENVELOPE_CUTOFF_HZ))
    return np.maximum(np.asarray(sosfiltfilt(lowpass, rough, axis=-1, padlen=padding), dtype=np.float64), 0.0)


def _events(envelopes: Floats, rate_hz: float) -> list[Floats]:
    """Event times in s of each window of envelopes[window, time]."""
    distance = max(1, round(EVENT_DISTANCE_S * rate_hz))
    loud = np.quantile(envelopes, LOUD_QUANTILE, axis=-1)
    return [
        find_peaks(row, distance=distance, prominence=EVENT_PROMINENCE * level)[0] / rate_hz
        if level > 0
        else np.empty(0)
        for row, level in zip(envelopes, loud, strict=True)
    ]


def detect_events(signal: NDArray[np.floating], rate_hz: float) -> Floats:
    """Times (s from the window's start, rising) of S1 and S2 in one window, float[time].

    Peaks of the envelope at least 0.15 s apart whose prominence is at least 0.3 of the envelope's 95 %
    quantile. A silent window has none. Errors as in `envelope`.
    """
    if signal.ndim != 1:
        raise ValueError(f"signal has shape {signal.shape}; one window [time] is needed")
    return _events(envelope(signal[None], rate_hz), rate_hz)[0]


@dataclass(frozen=True, slots=True, eq=False)
class EventCounts:
    """Events found (tp), invented (fp) and missed (fn): int64[window] each. Slices pool as the whole does."""

    tp: Counts
    fp: Counts
    fn: Counts

    @property
    def per_window(self) -> Floats:
        """F1 = 2 tp / (2 tp + fp + fn) of each window, float64[window] in [0, 1].

        1 where neither side has an event: nothing missed, nothing invented.
        """
        total = 2 * self.tp + self.fp + self.fn
        return np.where(total > 0, 2 * self.tp / np.maximum(total, 1), 1.0)

    @property
    def f1(self) -> float:
        """F1 of the summed counts, in [0, 1]. A window without events weighs nothing; 1.0 if all are so."""
        tp, errors = int(self.tp.sum()), int(self.fp.sum() + self.fn.sum())
        return 2 * tp / (2 * tp + errors) if tp + errors else 1.0


def match_events(reference_s: Floats, estimate_s: Floats, tolerance_s: float = 0.060) -> tuple[int, int, int]:
    """(tp, fp, fn) of two rising lists of times in s, each event used once.

    The earliest pair within +-tolerance_s is taken first. With one tolerance for all events, that matches as
    many pairs as any assignment could. Raises ValueError for a tolerance that is not positive.
    """
    if not tolerance_s > 0:
        raise ValueError(f"tolerance_s is {tolerance_s}; a positive number of seconds is needed")
    i = j = n_matched = 0
    while i < len(reference_s) and j < len(estimate_s):
        late_s = estimate_s[j] - reference_s[i]
        matched = abs(late_s) <= tolerance_s
        n_matched += int(matched)
        i += int(matched or late_s > 0)
        j += int(matched or late_s < 0)
    return n_matched, len(estimate_s) - n_matched, len(reference_s) - n_matched


def event_counts(
    estimates: NDArray[np.floating],
    cleans: NDArray[np.floating],
    rate_hz: float,
    tolerance_s: float = 0.060,
    reference_s: Sequence[ArrayLike] | None = None,
) -> EventCounts:
    """S1 and S2 events of estimates[window, time] against those of cleans[window, time].

    The reference events come from the clean windows by the same detector, or from `reference_s`: rising times
    in s from each window's start. An estimate below 1e-6 of the clean RMS has no events. Raises ValueError
    where shapes or the number of reference lists disagree.
    """
    if estimates.shape != cleans.shape or estimates.ndim != 2:
        raise ValueError(f"estimates {estimates.shape} and cleans {cleans.shape} must have one shape [window, time]")
    if reference_s is not None and len(reference_s) != len(cleans):
        raise ValueError(f"reference_s has {len(reference_s)} lists of times for {len(cleans)} windows")
    if reference_s is None:
        wanted = _events(envelope(cleans, rate_hz), rate_hz)
    else:
        wanted = [np.asarray(times_s, dtype=np.float64) for times_s in reference_s]
    found = _events(envelope(_silenced(estimates, cleans), rate_hz), rate_hz)
    rows = [match_events(w, f, tolerance_s) for w, f in zip(wanted, found, strict=True)]
    tp, fp, fn = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return EventCounts(tp, fp, fn)


def _silenced(estimates: NDArray[np.floating], cleans: NDArray[np.floating]) -> Floats:
    """The estimates as float64, with windows of vanishing level set to zero."""
    x = np.asarray(estimates, dtype=np.float64)
    level, clean_level = (np.linalg.norm(v.astype(np.float64), axis=-1, keepdims=True) for v in (x, cleans))
    return np.where(level <= SILENCE_SHARE * clean_level, 0.0, x)


def event_f1(
    estimate: NDArray[np.floating],
    clean: NDArray[np.floating],
    rate_hz: float,
    tolerance_s: float = 0.060,
) -> float:
    """S1+S2 event F1 of [time], or pooled over [window, time], in [0, 1]: `event_counts(...).f1`."""
    return event_counts(np.atleast_2d(estimate), np.atleast_2d(clean), rate_hz, tolerance_s).f1


def heart_rates_bpm(
    signals: NDArray[np.floating], rate_hz: float, low_bpm: float = 40.0, high_bpm: float = 180.0
) -> Floats:
    """Heart rate of each of signals[window, time], float64[window]; NaN where there is no periodicity.

    A lag's score is its correlation in the envelope's autocorrelation (mean removed, unbiased) plus half of
    that at twice the lag. Of the score's peaks between the two rates, the shortest lag with at least 0.85 of
    the highest peak is the period, refined by a parabola. Twice the lag must fit into 3/4 of the window:
    5.12 s reach below 40 bpm, 2.56 s down to 63 bpm. Raises ValueError unless 0 < low_bpm < high_bpm, and as
    `envelope` does.
    """
    if not 0 < low_bpm < high_bpm < np.inf:
        raise ValueError(f"low_bpm is {low_bpm} and high_bpm {high_bpm}; 0 < low_bpm < high_bpm is needed")
    if signals.ndim != 2:
        raise ValueError(f"signals have shape {signals.shape}; [window, time] is needed")
    swing = envelope(signals, rate_hz)
    level = swing.mean(axis=-1, keepdims=True)
    swing = swing - level
    # A steady envelope has no rhythm, only rounding errors that would correlate well.
    steady = swing.std(axis=-1) <= SILENCE_SHARE * level[:, 0]
    n_samples = swing.shape[-1]
    shortest = max(2, int(np.ceil(60.0 * rate_hz / high_bpm)))
    longest = min(int(60.0 * rate_hz / low_bpm), int(0.375 * n_samples) - 1)
    rates_bpm = np.full(len(swing), np.nan)
    if longest < shortest or not len(swing):
        return rates_bpm
    n_fft = next_fast_len(2 * n_samples, real=True)
    raw = irfft(np.abs(rfft(swing, n_fft, axis=-1)) ** 2, n_fft, axis=-1)[:, :n_samples]
    overlap = 1.0 - np.arange(n_samples) / n_samples
    correlation = raw / overlap / np.where(raw[:, :1] > 0, raw[:, :1], 1.0)
    lags = np.arange(longest + 2)
    score = correlation[:, lags] + SECOND_BEAT_WEIGHT * correlation[:, 2 * lags]
    score /= 1.0 + SECOND_BEAT_WEIGHT

    before, here, after = (score[:, shortest + k : longest + 1 + k] for k in (-1, 0, 1))
    is_peak = (here > before) & (here >= after) & (here >= MIN_PERIODICITY)
    highest = np.where(is_peak, here, -np.inf).max(axis=-1, keepdims=True)
    chosen = is_peak & (here >= PEAK_SHARE * highest)
    usable = np.flatnonzero(chosen.any(axis=-1) & ~steady)
    first = chosen[usable].argmax(axis=-1)
    left, mid, right = (v[usable, first] for v in (before, here, after))
    # Vertex of the parabola through the peak and its two neighbours, in samples from the peak.
    shift = 0.5 * (left - right) / (left - 2 * mid + right)
    rates_bpm[usable] = 60.0 * rate_hz / (shortest + first + shift)
    return rates_bpm


def heart_rate_bpm(
    signal: NDArray[np.floating], rate_hz: float, low_bpm: float = 40.0, high_bpm: float = 180.0
) -> float:
    """Heart rate of one window, float[time]; NaN where there is no periodicity. See `heart_rates_bpm`."""
    return float(heart_rates_bpm(np.atleast_2d(signal), rate_hz, low_bpm, high_bpm)[0])


@dataclass(frozen=True, slots=True)
class HeartRateReport:
    """Heart-rate errors over `n_windows` windows with a known rate; NaN, NaN where there are none.

    median_error_bpm: a window without a heart rate counts as infinitely wrong.
    share_within_5_bpm: share of windows, 0..1, with an error below 5 bpm.
    """

    median_error_bpm: float
    share_within_5_bpm: float
    n_windows: int


def heart_rate_error(estimates: NDArray[np.floating], rate_hz: float, reference_bpm: ArrayLike) -> HeartRateReport:
    """Compare the heart rate of estimates[window, time] with reference_bpm[window], best from ECG R peaks.

    Windows whose reference is NaN are left out; an estimate without a heart rate is wrong: silence loses.
    Raises ValueError where the number of references is not that of the windows, or as `heart_rates_bpm`.
    """
    reference = np.asarray(reference_bpm, dtype=np.float64)
    if reference.shape != estimates.shape[:1]:
        raise ValueError(f"reference_bpm has shape {reference.shape} for {len(estimates)} windows")
    known = np.isfinite(reference)
    n_windows = int(known.sum())
    if not n_windows:
        return HeartRateReport(np.nan, np.nan, 0)
    error_bpm = np.abs(heart_rates_bpm(estimates[known], rate_hz) - reference[known])
    error_bpm = np.where(np.isnan(error_bpm), np.inf, error_bpm)
    share = float((error_bpm < WITHIN_BPM).mean())
    return HeartRateReport(float(np.median(error_bpm)), share, n_windows)
