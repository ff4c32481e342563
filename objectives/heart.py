"""Heart-sound events (S1 and S2) and heart rate of estimates, for scores that matter to a physician.

All functions take signals that are band-passed to the heart-sound band (25-55 Hz) and have a rate of at least 200 Hz.
They use the amplitude envelope only, so they do not depend on polarity or scale. Silence loses: an estimate without
structure has no events (F1 = 0) and no heart rate (NaN, which scores count as wrong).
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
# S1 and S2 are 45-90 ms wide at half maximum. 12 Hz separates them at fast heart rates and joins the two humps that a
# sound often has. From 15 Hz up, noisy windows have false peaks; below 10 Hz, the times become inexact.
ENVELOPE_CUTOFF_HZ = 12.0
# An estimate below this share of the clean RMS (-120 dB) is silence with rounding errors.
SILENCE_SHARE = 1e-6

# S2 follows S1 by about 0.16 s at 150 bpm and by 0.3 s at rest; two sounds are never closer.
EVENT_DISTANCE_S = 0.15
# Least prominence of a sound as a share of the window's loud level. S2 may have 0.41 of the amplitude of S1, so the
# share is smaller than that, to allow for changes with breathing.
EVENT_PROMINENCE = 0.3
# The loud level is this quantile of the envelope, not its maximum, so that one bump cannot hide all sounds.
LOUD_QUANTILE = 0.95

# Weight of the correlation at twice the lag. If S2 is as loud as S1, the lag from S1 to S2 correlates half as well as
# the period, or better if the beats are irregular. Only the period correlates at twice the lag too.
SECOND_BEAT_WEIGHT = 0.5
# Twice the period can score a little higher than the period. The period is the shortest lag with at least this share of
# the highest score.
PEAK_SHARE = 0.85
# Smallest weighted mean correlation of a periodic signal.
MIN_PERIODICITY = 0.1
# A heart rate is right if its error is below this.
WITHIN_BPM = 5.0


def envelope(signals: NDArray[np.floating], rate_hz: float) -> Floats:
    """Return the amplitude envelope of float[..., time]: |analytic signal|, low-passed at 12 Hz (order 2, zero phase).

    The result is float64[..., time] >= 0, relative to the largest magnitude of each window. It is zero for a window
    that is all-zero or has a sample that is not finite.

    Raises ValueError for a rate below 200 Hz or fewer than two samples.
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
    # Zeros at the end, so that the ends of the window do not meet in the FFT.
    n_fft = next_fast_len(n_samples + round(0.25 * rate_hz))
    rough = np.abs(hilbert(x, N=n_fft, axis=-1))[..., :n_samples]
    lowpass = butter(2, ENVELOPE_CUTOFF_HZ, fs=rate_hz, output="sos")
    padding = min(n_samples - 1, round(2 * rate_hz / ENVELOPE_CUTOFF_HZ))
    return np.maximum(np.asarray(sosfiltfilt(lowpass, rough, axis=-1, padlen=padding), dtype=np.float64), 0.0)


def envelope_events(envelopes: Floats, rate_hz: float) -> list[Floats]:
    """Return the event times in s of each window of envelopes[window, time], see `detect_events`."""
    distance = max(1, round(EVENT_DISTANCE_S * rate_hz))
    loud = np.quantile(envelopes, LOUD_QUANTILE, axis=-1)
    return [
        find_peaks(row, distance=distance, prominence=EVENT_PROMINENCE * level)[0] / rate_hz
        if level > 0
        else np.empty(0)
        for row, level in zip(envelopes, loud, strict=True)
    ]


def detect_events(signal: NDArray[np.floating], rate_hz: float) -> Floats:
    """Return the times of S1 and S2 in one window float[time], in s from its start, ascending.

    They are peaks of the envelope at least 0.15 s apart, with a prominence of at least 0.3 of the envelope's 95 %
    quantile. A silent window has none.

    Raises ValueError as `envelope` does, and for more than one window.
    """
    if signal.ndim != 1:
        raise ValueError(f"signal has shape {signal.shape}; one window [time] is needed")
    return envelope_events(envelope(signal[None], rate_hz), rate_hz)[0]


@dataclass(frozen=True, slots=True, eq=False)
class EventCounts:
    """Numbers of events found (tp), false (fp) and missed (fn), each int64[window]."""

    tp: Counts
    fp: Counts
    fn: Counts

    @property
    def per_window(self) -> Floats:
        """Return F1 = 2 tp / (2 tp + fp + fn) of each window, float64[window] in [0, 1].

        It is 1 if neither estimate nor reference has an event.
        """
        total = 2 * self.tp + self.fp + self.fn
        return np.where(total > 0, 2 * self.tp / np.maximum(total, 1), 1.0)

    @property
    def f1(self) -> float:
        """Return F1 of the summed counts, in [0, 1]; 1.0 without any event. Windows without events have no weight."""
        tp, errors = int(self.tp.sum()), int(self.fp.sum() + self.fn.sum())
        return 2 * tp / (2 * tp + errors) if tp + errors else 1.0


def match_events(reference_s: Floats, estimate_s: Floats, tolerance_s: float = 0.060) -> tuple[int, int, int]:
    """Match two ascending lists of times in s, each event once, and return (tp, fp, fn).

    The earliest pair within +-tolerance_s is matched first. As all events have the same tolerance, this matches as many
    pairs as any assignment could.

    Raises ValueError for a tolerance that is not positive.
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
    """Count the S1 and S2 events of estimates[window, time] against those of cleans[window, time].

    An estimate below 1e-6 of the clean RMS has no events.

    reference_s: ascending times of the reference events of each window, in s from its start; None detects them in the
        clean windows.

    Raises ValueError if the shapes or the number of reference lists differ.
    """
    if estimates.shape != cleans.shape or estimates.ndim != 2:
        raise ValueError(f"estimates {estimates.shape} and cleans {cleans.shape} must have one shape [window, time]")
    if reference_s is not None and len(reference_s) != len(cleans):
        raise ValueError(f"reference_s has {len(reference_s)} lists of times for {len(cleans)} windows")
    if reference_s is None:
        wanted = envelope_events(envelope(cleans, rate_hz), rate_hz)
    else:
        wanted = [np.asarray(times_s, dtype=np.float64) for times_s in reference_s]
    found = envelope_events(envelope(_silenced(estimates, cleans), rate_hz), rate_hz)
    rows = [match_events(w, f, tolerance_s) for w, f in zip(wanted, found, strict=True)]
    tp, fp, fn = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return EventCounts(tp, fp, fn)


def _silenced(estimates: NDArray[np.floating], cleans: NDArray[np.floating]) -> Floats:
    """Return the estimates as float64, with windows of negligible level set to zero."""
    x = np.asarray(estimates, dtype=np.float64)
    level, clean_level = (np.linalg.norm(v.astype(np.float64), axis=-1, keepdims=True) for v in (x, cleans))
    return np.where(level <= SILENCE_SHARE * clean_level, 0.0, x)


def heart_rates_bpm(
    signals: NDArray[np.floating], rate_hz: float, low_bpm: float = 40.0, high_bpm: float = 180.0
) -> Floats:
    """Return the heart rate in bpm of each window of signals[window, time], float64[window]; NaN without periodicity.

    See `periodicity`.

    Raises ValueError unless 0 < low_bpm < high_bpm, and as `envelope` does.
    """
    if signals.ndim != 2:
        raise ValueError(f"signals have shape {signals.shape}; [window, time] is needed")
    return periodicity(envelope(signals, rate_hz), rate_hz, low_bpm, high_bpm)[0]


def periodicity(
    envelopes: Floats, rate_hz: float, low_bpm: float = 40.0, high_bpm: float = 180.0
) -> tuple[Floats, Floats]:
    """Return the heart rate in bpm of each window of envelopes[window, time], and the score of its period.

    The score of a lag is the autocorrelation of the envelope (mean removed, unbiased) at the lag, plus half of that at
    twice the lag, over 1.5. The period is the shortest lag between the two rates at which the score has a peak of at
    least 0.85 of the highest, refined by a parabola. Twice the lag must fit into 3/4 of the window: 5.12 s reach below
    40 bpm, 2.56 s down to 63 bpm.

    Both are float64[window]: NaN and 0 for a window without periodicity; the score of equal beats is 1.

    Raises ValueError unless 0 < low_bpm < high_bpm.
    """
    if not 0 < low_bpm < high_bpm < np.inf:
        raise ValueError(f"low_bpm is {low_bpm} and high_bpm {high_bpm}; 0 < low_bpm < high_bpm is needed")
    level = envelopes.mean(axis=-1, keepdims=True)
    swing = envelopes - level
    # A constant envelope has only rounding errors, which may correlate.
    steady = swing.std(axis=-1) <= SILENCE_SHARE * level[:, 0]
    n_samples = swing.shape[-1]
    shortest = max(2, int(np.ceil(60.0 * rate_hz / high_bpm)))
    longest = min(int(60.0 * rate_hz / low_bpm), int(0.375 * n_samples) - 1)
    rates_bpm, strengths = np.full(len(swing), np.nan), np.zeros(len(swing))
    if longest < shortest or not len(swing):
        return rates_bpm, strengths
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
    # The vertex of the parabola through the peak and its two neighbours, in samples from the peak.
    shift = 0.5 * (left - right) / (left - 2 * mid + right)
    rates_bpm[usable] = 60.0 * rate_hz / (shortest + first + shift)
    strengths[usable] = mid
    return rates_bpm, strengths


def heart_rate_bpm(
    signal: NDArray[np.floating], rate_hz: float, low_bpm: float = 40.0, high_bpm: float = 180.0
) -> float:
    """Return the heart rate in bpm of one window float[time]; NaN without periodicity. See `heart_rates_bpm`."""
    return float(heart_rates_bpm(np.atleast_2d(signal), rate_hz, low_bpm, high_bpm)[0])
