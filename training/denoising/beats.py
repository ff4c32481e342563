"""Beats and heart rate of an estimate with their probabilities, as tables and in words, beside those of R peaks."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import ecg
from data.config import MEASURED_HZ
from data.files import atomic
from data.recording import Recording, Signal
from objectives.heart import Floats
from objectives.rhythm.decode import Rhythm
from training.calibration import DEFAULT, Calibration, Evidence
from training.numbers import decimal
from training.sounds import SoundFrames, heart_trace, rhythm_of

# An interval longer than this share of the period of its span has missed a beat, so it has no heart rate.
MISSED_SHARE = 1.6


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an estimate, from `start_s` to `end_s` in s from its start.

    n_beats: the beats in it, sure or not.
    heart_rate_bpm: None where it is not sure.
    probability: that the most likely heart rate is right within 5 bpm, whether it is given or not.
    """

    start_s: float
    end_s: float
    n_beats: int
    heart_rate_bpm: float | None
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """The beats of an estimate.

    times_s: float64[beat], times of S1 in s from the start, ascending.
    s2_s: float64[beat], times of the S2 after it; NaN where none is likely.
    rates_bpm: float64[beat], heart rate from the interval to the beat before; NaN for the first beat and where beats
        were missed in between.
    probability: float64[beat], that a beat is within 60 ms of that time.
    spans: parts of 10 s; the last may be shorter.
    evidence: what they were found by: the model's network for beats, or the envelope of the estimate.
    calibration: of the probabilities; it says from which one on a heart rate is sure.
    """

    times_s: Floats
    s2_s: Floats
    rates_bpm: Floats
    probability: Floats
    spans: tuple[Span, ...]
    evidence: Evidence
    calibration: Calibration

    @property
    def heart_rate_bpm(self) -> float | None:
        """Return the median heart rate of the sure spans; None if there are none."""
        rates_bpm = [span.heart_rate_bpm for span in self.spans if span.heart_rate_bpm is not None]
        return float(np.median(rates_bpm)) if rates_bpm else None

    @property
    def sure_s(self) -> float:
        """Return in how many seconds the heart rate is sure."""
        return sum(span.end_s - span.start_s for span in self.spans if span.heart_rate_bpm is not None)


@dataclass(frozen=True, slots=True)
class HeartRate:
    """The heart rate of an estimate or of R peaks.

    n_beats: how many beats were found.
    bpm: median heart rate in bpm; None if it cannot be said.
    known_s: in how many seconds of the recording it is sure.
    problem: why it cannot be said; "" if it can.
    """

    n_beats: int
    bpm: float | None
    known_s: float
    problem: str = ""


def beats_of(
    estimate: Recording,
    sounds: SoundFrames | None = None,
    calibration: Calibration = DEFAULT,
    trace: Signal | None = None,
) -> Beats:
    """Return the beats of an estimate.

    trace: its heart_trace, where that is known already.
    sounds: that the model's network for beats finds in it; None takes the evidence of the envelope.
    calibration: of the run. If it is of the envelope, the sounds are not used.
    """
    sounds = None if calibration.evidence == "envelope" else sounds
    rhythm = rhythm_of(_trace(estimate) if trace is None else trace, MEASURED_HZ, sounds)
    probability = calibration.of_spans(np.array([span.probability for span in rhythm.spans]))
    duration_s = estimate.duration_s
    bounds_s = np.array([*(span.start_s for span in rhythm.spans), duration_s])
    counts = np.histogram(rhythm.s1_s, bounds_s)[0]
    spans = tuple(
        Span(float(start_s), float(end_s), int(n), _sure(span.rate_bpm, float(p), calibration.threshold), float(p))
        for span, start_s, end_s, n, p in zip(
            rhythm.spans, bounds_s[:-1], bounds_s[1:], counts, probability, strict=True
        )
    )
    return Beats(
        times_s=rhythm.s1_s,
        s2_s=rhythm.s2_s,
        rates_bpm=_beat_rates(rhythm),
        probability=calibration.of_beats(rhythm.probability),
        spans=spans,
        evidence="envelope" if sounds is None else "network",
        calibration=calibration,
    )


def _trace(estimate: Recording) -> Signal:
    return heart_trace(estimate.signals[0], estimate.rate_hz)


def _sure(rate_bpm: float, probability: float, threshold: float) -> float | None:
    return rate_bpm if math.isfinite(rate_bpm) and probability >= threshold else None


def _beat_rates(rhythm: Rhythm) -> Floats:
    """Return the heart rate from the interval before each beat; NaN for the first beat and for missed beats."""
    rates = np.full(rhythm.s1_s.size, np.nan)
    if rates.size > 1:
        interval_s = np.diff(rhythm.s1_s)
        starts_s = np.array([span.start_s for span in rhythm.spans])
        usual_bpm = np.array([span.rate_bpm for span in rhythm.spans])
        span = np.searchsorted(starts_s, rhythm.s1_s[1:], side="right") - 1
        is_next = interval_s < MISSED_SHARE * 60.0 / usual_bpm[span]
        rates[1:][is_next] = 60.0 / interval_s[is_next]
    return rates


def summary_of(beats: Beats) -> HeartRate:
    """Return the median heart rate and the number of the beats."""
    bpm = beats.heart_rate_bpm
    problem = "" if bpm is not None else "the estimate does not tell it"
    return HeartRate(len(beats.times_s), bpm, beats.sure_s, problem)


def reference_of(r_peaks_s: Floats, duration_s: float) -> HeartRate:
    """Return the heart rate of the R peaks float64[beat] of a recording, their times in s."""
    bpm, problem = ecg.heart_rate_bpm(r_peaks_s), ecg.problem_of(r_peaks_s, duration_s)
    if problem or not math.isfinite(bpm):
        return HeartRate(len(r_peaks_s), None, 0.0, problem)
    return HeartRate(len(r_peaks_s), bpm, duration_s)


def described(found: HeartRate, reference: HeartRate | None, duration_s: float) -> str:
    """Return the heart rates of an estimate and of the R peaks in a line, with the time in which the first is sure.

    reference: None is left out.
    duration_s: of the recording.
    """
    parts = [f"heart rate: {_words(found)}, sure in {found.known_s:.0f} of {duration_s:.0f} s"]
    if reference is not None:
        parts.append(f"R peaks: {_words(reference)}")
    return "; ".join(parts)


def _words(rate: HeartRate) -> str:
    if rate.bpm is None:
        return f"unknown ({rate.problem})"
    return f"{rate.bpm:.0f} bpm (median), {rate.n_beats} beats"


def write_beats(beats: Beats, path: Path) -> None:
    """Write a CSV with a line for each beat: time_s of S1, s2_s, bpm from the interval to the beat before, probability.

    bpm is empty for the first beat and where beats between are missing, s2_s where no S2 is likely.
    """
    columns = (beats.times_s, beats.s2_s, beats.rates_bpm, beats.probability)
    rows = (
        (f"{time_s:.3f}", _number(s2_s, 3), _number(bpm, 1), f"{p:.3f}")
        for time_s, s2_s, bpm, p in zip(*(column.tolist() for column in columns), strict=True)
    )
    _write(path, ("time_s", "s2_s", "bpm", "probability"), rows)


def write_heart_rate(beats: Beats, path: Path) -> None:
    """Write a CSV with a line for each 10 s: start_s, end_s, beats, heart_rate_bpm (empty if not sure), probability."""
    rows = (
        (
            f"{span.start_s:.3f}",
            f"{span.end_s:.3f}",
            str(span.n_beats),
            _number(span.heart_rate_bpm, 1),
            f"{span.probability:.3f}",
        )
        for span in beats.spans
    )
    _write(path, ("start_s", "end_s", "beats", "heart_rate_bpm", "probability"), rows)


def _number(value: float | None, decimals: int) -> str:
    return decimal(value if value is not None and math.isfinite(value) else None, decimals)


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)
