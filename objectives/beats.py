"""Beats and heart rate of a whole recording: when each beat was, and where the signal does not tell.

The signal is divided into spans of 10 s. A span has a heart rate if its envelope is clearly periodic; beats are found
in such spans only. Neither is found in silence or in stationary noise, see MIN_STRENGTH. What is periodic between 40
and 180 bpm without being a heart (an engine that hunts, a loose part) is taken for one.

Beats are found by dynamic programming over the events of the envelope (Ellis, "Beat tracking by dynamic programming",
Journal of New Music Research 36 (2007) 51), at the local heart rate. S1 is told from S2 by the time between them: the
electromechanical systole (Chest 80 (1981) 613), which is shorter than the diastole. Above 130 bpm the two are closer
than events can be; the louder of them is then the beat.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from objectives.heart import SILENCE_SHARE, Floats, envelope, envelope_events, periodicity

SPAN_S = 10.0
# A shorter signal has no heart rate: three beats at 40 bpm last 4.5 s.
MIN_SPAN_S = 5.0
# Least score of the period (objectives.heart.periodicity) in 10 s; shorter windows of noise score higher. The largest
# score of 400 windows of Gaussian noise in 25-55 Hz is 0.22. Of 478 spans of real vehicle noise 99 % are below 0.29,
# and 2 have a heart rate by all rules of this file.
MIN_STRENGTH = 0.3
# If the score at twice the rate is more than this share of it, noise may have hidden every other beat. Of 1,200 right
# rates of 10 s at 0 and -5 dB 99 % have less than 0.5; of rates that are half the right ones all have more than 0.68.
DOUBLE_SHARE = 0.6
HIGHEST_BPM = 180.0
# The envelope is divided by its mean over this time, so that a change of the level is neither periodic nor hides beats.
LEVEL_S = 3.0
# Largest envelope, relative to that mean. A bump is no stronger than a loud beat.
MAX_LEVEL = 4.0

# Searched beyond both ends of a span, so that a sound there has its whole prominence.
MARGIN_S = 2.0

# Time from S1 to S2: QS2 = 541 - 2.2 HR ms, less the 100 ms from the Q wave to S1. Persons differ by 70 ms.
SYSTOLE_S = 0.441
SYSTOLE_S_PER_BPM = -0.0022
SYSTOLE_TOLERANCE_S = 0.070
# Weight of an interval's deviation from the local period (its squared logarithm) against the height of the envelope.
# A beat that comes 30 % early still belongs to the heart; noise at 0 dB SNR adds few beats.
INTERVAL_WEIGHT = 20.0
# Least evidence of a beat, as a share of this quantile of the evidence of all events, so that noise before the first
# beat, after the last or in the place of a missed beat is none.
LOUD_EVIDENCE = 0.75
BEAT_COST = 0.3
# Least share of a span's beats, by its heart rate, that must be found: the rate of a hum or of a few bumps has none.
MIN_FOUND = 0.7
# Furthest beat before, in s, that a beat may follow. Longer gaps do not occur in spans with a heart rate.
REACH_S = 10.0
# An interval longer than this share of the local period has missed a beat, so it has no heart rate.
MISSED_SHARE = 1.6


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a signal, from `start_s` to `end_s` in s from its start.

    n_beats, heart_rate_bpm: the beats in it and its heart rate; None where the signal does not tell.
    """

    start_s: float
    end_s: float
    n_beats: int | None
    heart_rate_bpm: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """The beats of a signal.

    times_s: float64[beat], times of S1 (the peak of its envelope) in s from the start, ascending.
    rates_bpm: float64[beat], heart rate from the interval to the beat before; NaN for the first beat and where beats
        were missed in between.
    spans: the signal in parts of 10 s; the last may be shorter, and its heart rate is that of the last 10 s.
    """

    times_s: Floats
    rates_bpm: Floats
    spans: tuple[Span, ...]

    @property
    def heart_rate_bpm(self) -> float | None:
        """Return the median heart rate of the spans; None if no span has one."""
        rates_bpm = [span.heart_rate_bpm for span in self.spans if span.heart_rate_bpm is not None]
        return float(np.median(rates_bpm)) if rates_bpm else None


def find_beats(signal: NDArray[np.floating], rate_hz: float) -> Beats:
    """Return the beats of signal[time], band-passed to the heart's band.

    Raises ValueError as objectives.heart.envelope does, and for a signal that is not [time].
    """
    if signal.ndim != 1:
        raise ValueError(f"signal has shape {signal.shape}; [time] is needed")
    swing = _levelled(envelope(signal[None], rate_hz)[0], rate_hz)
    bounds = _bounds(swing.size, rate_hz)
    bounds_s = bounds / rate_hz
    rates_bpm = _span_rates(swing, rate_hz, bounds)
    found: list[Floats] = [np.empty(0)]
    for first, last in _runs(np.isfinite(rates_bpm)):
        events_s = np.concatenate([_events_s(swing, rate_hz, *bounds[i : i + 2]) for i in range(first, last)])
        periods_s = _periods_s(events_s, bounds_s, rates_bpm, first, last)
        found.append(events_s[_chain(events_s, periods_s, _evidence(events_s, periods_s, swing, rate_hz))])
    times_s, rates_bpm = _confirmed(np.concatenate(found), bounds_s, rates_bpm)
    times_s = _refined(times_s, swing, rate_hz)
    return Beats(times_s, _beat_rates(times_s, bounds_s, rates_bpm), _spans(times_s, bounds_s, rates_bpm))


def _levelled(swing: Floats, rate_hz: float) -> Floats:
    """Return the envelope [time] relative to its mean over LEVEL_S, at most MAX_LEVEL; zeros where it is silent."""
    loudest = float(swing.max(initial=0.0))
    if loudest <= 0:
        return swing
    mean = uniform_filter1d(swing, max(1, round(LEVEL_S * rate_hz)), mode="nearest")
    level: Floats = np.minimum(swing / np.maximum(mean, SILENCE_SHARE * loudest), MAX_LEVEL)
    return level


def _bounds(n_samples: int, rate_hz: float) -> NDArray[np.int64]:
    """Return the bounds of the spans in samples, ascending, from 0 to n_samples."""
    starts = np.round(np.arange(0.0, n_samples, SPAN_S * rate_hz)).astype(np.int64)
    return np.append(starts[starts < n_samples], n_samples)


def _span_rates(swing: Floats, rate_hz: float, bounds: NDArray[np.int64]) -> Floats:
    """Return the heart rate of each span in bpm, float64[span]; NaN where the envelope is not clearly periodic."""
    n_window = min(round(SPAN_S * rate_hz), swing.size)
    duration_s = n_window / rate_hz
    if duration_s < MIN_SPAN_S:
        return np.full(len(bounds) - 1, np.nan)
    ends = np.minimum(bounds[:-1] + n_window, swing.size)
    windows = np.lib.stride_tricks.sliding_window_view(swing, n_window)
    least = MIN_STRENGTH * float(np.sqrt(SPAN_S / duration_s))
    # One span at a time: the windows of a day would fill the memory.
    return np.array([_clear_rate(windows[end - n_window], rate_hz, least) for end in ends])


def _clear_rate(swing: Floats, rate_hz: float, least: float) -> float:
    """Return the heart rate of an envelope [time] in bpm; NaN if its score is below `least` or it may be twice that."""
    (bpm,), (strength,) = periodicity(swing[None], rate_hz, high_bpm=HIGHEST_BPM)
    if not strength >= least:
        return float("nan")
    if 2 * bpm <= HIGHEST_BPM:
        _, (doubled,) = periodicity(swing[None], rate_hz, 1.8 * bpm, 2.2 * bpm)
        if doubled > DOUBLE_SHARE * strength:
            return float("nan")
    return float(bpm)


def _runs(known: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, last + 1) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _events_s(swing: Floats, rate_hz: float, start: int, end: int) -> Floats:
    """Return the times in s of the events from sample `start` to `end`; more is searched, so that no end is an edge."""
    begin = max(0, start - round(MARGIN_S * rate_hz))
    found_s = envelope_events(swing[None, begin : end + round(MARGIN_S * rate_hz)], rate_hz)[0]
    peaks = begin + np.round(found_s * rate_hz).astype(np.int64)
    return peaks[(peaks >= start) & (peaks < end)] / rate_hz


def _periods_s(at_s: Floats, bounds_s: Floats, rates_bpm: Floats, first: int, last: int) -> Floats:
    """Return the period of the heart at each time in s, interpolated between the middles of the spans of a run."""
    middles_s = (bounds_s[first:last] + bounds_s[first + 1 : last + 1]) / 2
    return np.asarray(60.0 / np.interp(at_s, middles_s, rates_bpm[first:last]), dtype=np.float64)


def _evidence(events_s: Floats, periods_s: Floats, swing: Floats, rate_hz: float) -> Floats:
    """Return the evidence that each event is S1: the envelope there, and its maximum where S2 must follow."""
    systole_s = SYSTOLE_S + SYSTOLE_S_PER_BPM * 60.0 / periods_s
    evidence = []
    for event_s, after_s in zip(events_s, systole_s, strict=True):
        peak = round(event_s * rate_hz)
        start = max(peak + 1, round((event_s + after_s - SYSTOLE_TOLERANCE_S) * rate_hz))
        end = round((event_s + after_s + SYSTOLE_TOLERANCE_S) * rate_hz) + 1
        evidence.append(swing[peak] + swing[start:end].max(initial=0.0))
    return np.asarray(evidence, dtype=np.float64)


def _chain(events_s: Floats, periods_s: Floats, evidence: Floats) -> NDArray[np.int64]:
    """Return the indices of the events that are beats, ascending.

    They have the largest sum of evidence, less INTERVAL_WEIGHT times the squared logarithm of each interval over the
    nearest whole number of local periods.
    """
    gain = evidence - BEAT_COST * np.quantile(evidence, LOUD_EVIDENCE) if len(evidence) else evidence
    total = gain.copy()
    before = np.full(len(events_s), -1, dtype=np.int64)
    for i in range(1, len(events_s)):
        first = int(np.searchsorted(events_s, events_s[i] - REACH_S))
        if first == i:
            continue
        n_periods = (events_s[i] - events_s[first:i]) / periods_s[i]
        deviation = np.log(n_periods / np.maximum(np.round(n_periods), 1.0))
        sums = total[first:i] - INTERVAL_WEIGHT * deviation**2
        best = int(np.argmax(sums))
        if sums[best] > 0:
            total[i] += sums[best]
            before[i] = first + best
    chosen: list[int] = []
    at = int(np.argmax(total)) if len(total) else -1
    while at >= 0:
        chosen.append(at)
        at = int(before[at])
    return np.asarray(chosen[::-1], dtype=np.int64)


def _confirmed(times_s: Floats, bounds_s: Floats, rates_bpm: Floats) -> tuple[Floats, Floats]:
    """Return the beats and the heart rates without the spans in which too few of the beats were found."""
    counts = np.histogram(times_s, bounds_s)[0]
    # A span may begin just after a beat and end just before one.
    expected = np.diff(bounds_s) * np.nan_to_num(rates_bpm) / 60.0 - 1.0
    kept_bpm = np.where(counts >= MIN_FOUND * expected, rates_bpm, np.nan)
    return times_s[np.isfinite(kept_bpm)[np.searchsorted(bounds_s, times_s, side="right") - 1]], kept_bpm


def _refined(times_s: Floats, swing: Floats, rate_hz: float) -> Floats:
    """Return the times in s of peaks of the envelope, moved to the vertex of the parabola through three samples."""
    peaks = np.clip(np.round(times_s * rate_hz).astype(np.int64), 1, swing.size - 2)
    before, here, after = (swing[peaks + k] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / np.where(bend < 0, bend, -np.inf)
    return np.asarray((peaks + np.clip(shift, -0.5, 0.5)) / rate_hz, dtype=np.float64)


def _beat_rates(times_s: Floats, bounds_s: Floats, rates_bpm: Floats) -> Floats:
    """Return the heart rate from the interval before each beat; NaN for the first beat and for missed beats."""
    rates = np.full(len(times_s), np.nan)
    if len(times_s) > 1:
        interval_s = np.diff(times_s)
        span = np.searchsorted(bounds_s, times_s[1:], side="right") - 1
        is_next = interval_s < MISSED_SHARE * 60.0 / rates_bpm[span]
        rates[1:][is_next] = 60.0 / interval_s[is_next]
    return rates


def _spans(times_s: Floats, bounds_s: Floats, rates_bpm: Floats) -> tuple[Span, ...]:
    counts = np.histogram(times_s, bounds_s)[0]
    return tuple(
        Span(float(start_s), float(end_s), int(n), float(bpm)) if np.isfinite(bpm) else Span(start_s, end_s, None, None)
        for start_s, end_s, n, bpm in zip(bounds_s[:-1].tolist(), bounds_s[1:].tolist(), counts, rates_bpm, strict=True)
    )
