"""Heart rate and beats of an estimate as it arrives, decoded anew over a bounded span before its end."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.recording import Recording, Signal
from objectives.rhythm.decode import SPAN_S as RATE_SPAN_S
from training.calibration import Calibration
from training.denoising.beats import beats_of
from training.denoising.denoise import ESTIMATE

SPAN_S = 30.0  # decoded at a time: heart rate is that of its last 10 s, the others give its rhythm
FIRST_S = 5.0  # of an estimate before there is a heart rate
SETTLED_S = 2.0  # behind the end, where beats do not move any more


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat: time of S1 in s from the first sample, and the probability that it is within 60 ms of that."""

    time_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Second:
    """What is known at a second of the signal.

    time_s: of the last sample that came. heart_rate_bpm: of the last 10 s of the estimate, None where it is not
    sure.
    probability: that the most likely heart rate is right within 5 bpm.
    has_signal: whether the channel to denoise has one. beats: that are settled since the second before.
    notes: what was said since the second before.
    """

    time_s: float
    heart_rate_bpm: float | None
    probability: float
    has_signal: bool
    beats: tuple[Beat, ...]
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Return it in words."""
        if not self.has_signal:
            return f"{self.time_s:8.1f} s  no signal"
        rate = "unknown" if self.heart_rate_bpm is None else f"{self.heart_rate_bpm:.0f} bpm"
        return f"{self.time_s:8.1f} s  heart rate {rate}, probability {self.probability:.2f}"

    @property
    def document(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self) | {"beats": [asdict(beat) for beat in self.beats], "notes": list(self.notes)}


class Monitor:
    """The trailing span of an estimate at `rate_hz`."""

    def __init__(self, rate_hz: float, calibration: Calibration) -> None:
        """Prepare. calibration: of the run."""
        self._rate_hz, self._calibration = rate_hz, calibration
        self._span = np.zeros(0, np.float32)
        self._n_samples = 0
        self._settled_s = 0.0

    def add(self, estimate: Signal) -> None:
        """Take the next samples of the estimate."""
        self._n_samples += estimate.size
        n_most = round(SPAN_S * self._rate_hz)
        self._span = np.concatenate([self._span, estimate[-n_most:]])[-n_most:]

    def second(self, time_s: float, has_signal: bool, at_end: bool = False) -> Second:
        """Return what the estimate tells now. at_end: no more is to come, so the last beats are given too."""
        n = self._span.size
        duration_s = n / self._rate_hz
        if duration_s >= RATE_SPAN_S:  # whole parts, so that the last is one of 10 s
            n_parts = math.floor(duration_s / RATE_SPAN_S + 1e-3)  # the span is whole samples, some less than 30 s
            n = min(n, round(n_parts * RATE_SPAN_S * self._rate_hz))
        if duration_s < FIRST_S or not has_signal or not self._span[-n:].any():
            return Second(time_s, None, 0.0, has_signal, ())
        span = self._span[-n:]
        # In units of its own level: the rules of a recording's file know no smaller unit than float32 has.
        scaled = (span / np.abs(span).max()).astype(np.float32)
        recording = Recording(scaled[None], self._rate_hz, (ESTIMATE,), Path("live"))
        found = beats_of(recording, None, replace(self._calibration, evidence="envelope"))
        start_s = (self._n_samples - n) / self._rate_hz
        until_s = self._n_samples / self._rate_hz - (0.0 if at_end else SETTLED_S)
        times_s = found.times_s + start_s
        new = (times_s > self._settled_s) & (times_s <= until_s)
        self._settled_s = max(self._settled_s, until_s)
        beats = tuple(Beat(float(t), float(p)) for t, p in zip(times_s[new], found.probability[new], strict=True))
        last = found.spans[-1]
        return Second(time_s, last.heart_rate_bpm, last.probability, has_signal, beats)
