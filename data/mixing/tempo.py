"""Clean windows at several tempos: each recording is resampled once per tempo."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data.config import DataConfig
from data.corpus import HEART_BAND_HZ, Segment
from data.filters import bandpass, resample
from data.mixing.windows import Windows, cut, widened

# Tempos are at most 2 % apart up to a change of 16 %. Beyond it they are further apart, because each tempo needs a copy
# of the clean recordings.
STEP = 0.02
MOST_STEPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class TempoWindows:
    """Clean windows at several tempos.

    tempos: float32[tempo], the first is 1.
    windows: with context, of the concatenated copies of all recordings.
    first, n_starts: int64[tempo, recording], start of a copy and number of windows in it; 0 if the copy is too short.
    alive: bool[time], whether the window that starts there lies in one recording and is not a dropout.
    ends: int64[recording], ends of the concatenated recordings at tempo 1.
    """

    tempos: Tensor
    windows: Windows
    first: Tensor
    n_starts: Tensor
    alive: Tensor
    ends: Tensor

    def at(self, starts: Tensor, choice: Tensor) -> Tensor:
        """Return the starts of the windows at `starts` of the recordings, at tempo number choice[window].

        A window that would reach beyond its recording starts earlier. If the copy is too short, or the window is a
        dropout, the window at tempo 1 is taken.
        """
        recording = torch.bucketize(starts, self.ends, right=True)
        own = starts - torch.where(recording > 0, self.ends[recording - 1], 0)
        most = self.n_starts[choice, recording] - 1
        moved = torch.minimum((own / self.tempos[choice]).round().long(), most).clamp_min(0)
        wanted = self.first[choice, recording] + moved
        fits = (most >= 0) & self.alive[wanted]
        return torch.where(fits, wanted, self.first[0, recording] + own)


def tempos_within(change: float) -> tuple[float, ...]:
    """Return tempos from 1 - change to 1 + change, 1 first; whole hundredths, so that resampling is exact and fast."""
    n_steps = min(math.ceil(change / STEP), MOST_STEPS)
    others = {round(1 + sign * change * step / n_steps, 2) for step in range(1, n_steps + 1) for sign in (-1, 1)}
    return (1.0, *sorted(others - {1.0}))


def tempo_windows(
    segments: Sequence[Segment],
    tempos: Sequence[float],
    config: DataConfig,
    context: tuple[int, int],
    device: torch.device,
) -> TempoWindows:
    """Return the windows of `segments` at each of `tempos`, one per sample, with `context` samples before and after."""
    copies = [
        (t, r, at_tempo(segment, tempo, config))
        for t, tempo in enumerate(tempos)
        for r, segment in enumerate(segments)
        if tempo == 1 or segment.n_samples / tempo > _shortest(config)
    ]
    first = torch.zeros(len(tempos), len(segments), dtype=torch.int64)
    n_starts = torch.zeros_like(first)
    offset = 0
    for t, r, copy in copies:
        first[t, r], n_starts[t, r] = offset, copy.n_samples - config.window_samples + 1
        offset += copy.n_samples + sum(context)
    windows = widened(cut([copy for _, _, copy in copies], config.window_samples, 1, device), *context)
    alive = torch.zeros(offset, dtype=torch.bool, device=device)
    alive[windows.starts] = True
    ends = torch.tensor([s.n_samples for s in segments]).cumsum(0)
    return TempoWindows(
        torch.tensor(tempos).to(device), windows, first.to(device), n_starts.to(device), alive, ends.to(device)
    )


def _shortest(config: DataConfig) -> float:
    """Return the samples that a copy must exceed: a window, and the padding of the band-pass (see data.filters)."""
    low_hz, high_hz = config.band_hz or HEART_BAND_HZ
    return max(config.window_samples, math.ceil(3 * config.rate_hz / (high_hz - low_hz)) + 1)


def at_tempo(segment: Segment, tempo: float, config: DataConfig) -> Segment:
    """Return `segment` played `tempo` times as fast, with its pitch changed too, filtered to the config's band."""
    if tempo == 1:
        return segment
    signals = resample(segment.signals, round(tempo * 100), 100)
    if config.band_hz is not None:
        signals = bandpass(signals, config.rate_hz, *config.band_hz)
    in_band = signals[0] if config.band_hz is not None else bandpass(signals[0], config.rate_hz, *HEART_BAND_HZ)
    peaks = None if segment.r_peaks_s is None else segment.r_peaks_s / tempo
    return replace(segment, signals=signals, in_band=in_band, r_peaks_s=peaks)
