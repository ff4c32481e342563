"""Beats and heart rate of an estimate, as tables and in words, beside those of the recording's own R peaks."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data import ecg
from data.corpus import HEART_BAND_HZ
from data.files import atomic
from data.filters import bandpass, resample
from data.recording import Recording, Signal
from objectives.beats import Beats, find_beats
from objectives.heart import Floats
from training.numbers import decimal

MEASURED_HZ = 250.0  # the band ends at 55 Hz; the peaks of the envelope are placed between samples


@dataclass(frozen=True, slots=True)
class HeartRate:
    """The heart rate of an estimate or of R peaks.

    n_beats: how many beats were found.
    bpm: median heart rate in bpm; None if it cannot be said.
    known_s: in how many seconds of the recording it can be said.
    problem: why it cannot; "" if it can.
    """

    n_beats: int
    bpm: float | None
    known_s: float
    problem: str = ""


def in_heart_band(recording: Recording) -> Signal:
    """Return the first channel of a recording in the heart's band, float32[time] at MEASURED_HZ."""
    return bandpass(resample(recording.signals[0], recording.rate_hz, MEASURED_HZ), MEASURED_HZ, *HEART_BAND_HZ)


def beats_of(estimate: Recording) -> Beats:
    """Return the beats of an estimate, see objectives.beats.find_beats."""
    return beats_in(in_heart_band(estimate))


def beats_in(trace: Signal) -> Beats:
    """Return the beats of a signal of in_heart_band, float32[time]."""
    return find_beats(trace, MEASURED_HZ)


def summary_of(beats: Beats) -> HeartRate:
    """Return the median heart rate and the number of the beats."""
    known_s = sum(span.end_s - span.start_s for span in beats.spans if span.heart_rate_bpm is not None)
    bpm = beats.heart_rate_bpm
    return HeartRate(len(beats.times_s), bpm, known_s, "" if bpm is not None else "the estimate does not tell it")


def reference_of(r_peaks_s: Floats, duration_s: float) -> HeartRate:
    """Return the heart rate of the R peaks float64[beat] of a recording, their times in s."""
    bpm, problem = ecg.heart_rate_bpm(r_peaks_s), ecg.problem_of(r_peaks_s, duration_s)
    if problem or not math.isfinite(bpm):
        return HeartRate(len(r_peaks_s), None, 0.0, problem)
    return HeartRate(len(r_peaks_s), bpm, duration_s)


def described(found: HeartRate, reference: HeartRate | None, duration_s: float) -> str:
    """Return the heart rates of an estimate and of the R peaks in a line, with the time they are known for.

    reference: None is left out.
    duration_s: of the recording.
    """
    parts = [f"heart rate: {_words(found, duration_s)}"]
    if reference is not None:
        parts.append(f"R peaks: {_words(reference, duration_s)}")
    return "; ".join(parts)


def _words(rate: HeartRate, duration_s: float) -> str:
    if rate.bpm is None:
        return f"unknown ({rate.problem})"
    within = "" if rate.known_s > duration_s - 0.1 else f" in {rate.known_s:.0f} of {duration_s:.0f} s"
    return f"{rate.bpm:.0f} bpm (median), {rate.n_beats} beats{within}"


def write_beats(beats: Beats, path: Path) -> None:
    """Write a CSV with a line for each beat: time_s of S1, and bpm from the interval to the beat before.

    bpm is empty for the first beat, and where beats between are missing.
    """
    rows = zip(beats.times_s.tolist(), beats.rates_bpm.tolist(), strict=True)
    _write(path, ("time_s", "bpm"), ((f"{time_s:.3f}", _bpm(bpm)) for time_s, bpm in rows))


def write_heart_rate(beats: Beats, path: Path) -> None:
    """Write a CSV with a line for each 10 s: start_s, end_s, beats, heart_rate_bpm; the last two may be empty."""
    rows = (
        (
            f"{span.start_s:.3f}",
            f"{span.end_s:.3f}",
            "" if span.n_beats is None else str(span.n_beats),
            _bpm(span.heart_rate_bpm),
        )
        for span in beats.spans
    )
    _write(path, ("start_s", "end_s", "beats", "heart_rate_bpm"), rows)


def _bpm(value: float | None) -> str:
    return decimal(value if value is not None and math.isfinite(value) else None, 1)


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)
