"""Clean windows at any tempo: windows are interpolated when they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data.corpus import Segment
from data.mixing.starts import alive_runs
from data.mixing.windows import Context, Windows, cut, running_power

# Taps of the interpolation, and places between two samples that it knows. For frequencies up to 0.3 of the rate, its
# error is 70 dB below the signal.
TAPS, PHASES = 16, 4096


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where windows are played from: sample n of a window is at (1 + longer) * n samples after its start.

    starts: int64[window], among the windows. recording: int64[window]. own: int64[window], the sample of the recording
    that the window without context starts at. longer: float32[window], the tempo less 1.
    """

    starts: Tensor
    recording: Tensor
    own: Tensor
    longer: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TempoWindows:
    """Clean windows that are played faster or slower, with their pitch changed too.

    windows: with context.
    change: largest relative change of the tempo.
    alive: int64[edge], where runs of stretches without dropouts begin and end, ascending, as starts of windows. A
        stretch has the length of a window at the slowest tempo.
    weights: float32[phase, tap], of the interpolation.
    """

    windows: Windows
    change: float
    alive: Tensor
    weights: Tensor

    def place(self, starts: Tensor, chance: Tensor) -> Places:
        """Return where the windows at `starts` are played from, and their tempos.

        A window that would reach beyond its recording starts earlier. It keeps tempo 1 if its recording is too short,
        or if it could be a dropout.

        chance: float32[window], uniform from 0 to 1; the tempo is between 1 - change and 1 + change.
        """
        recording, own = self.windows.places(starts)
        if self.change == 0:
            return Places(starts, recording, own, torch.zeros_like(chance))
        longer = (2 * chance - 1) * self.change
        lengths = self.windows.marks[1]
        latest = (lengths[recording] - 1 - (self.windows.window - 1) * (1 + longer)).floor().long()
        moved = torch.minimum(own, latest)
        is_alive = torch.searchsorted(self.alive, starts - own + moved, right=True) % 2 == 1
        fits = (latest >= 0) & is_alive
        back = torch.where(fits, own - moved, 0)
        return Places(starts - back, recording, own - back, torch.where(fits, longer, 0.0))

    def play(self, places: Places) -> Tensor:
        """Return the windows with context float32[window, channel, time] at `places`."""
        if self.change == 0:
            return self.windows.take(places.starts)
        starts, longer, signals = places.starts, places.longer, self.windows.signals
        n = torch.arange(self.windows.views.shape[-1], device=starts.device)
        late = longer[:, None] * (n - self.windows.context.before)
        whole = late.floor()
        first = (starts[:, None] + n + whole.long() - (TAPS // 2 - 1)).flatten()
        weights = self.weights.index_select(0, ((late - whole) * PHASES).round_().long().flatten())
        # Channel by channel, because the samples under all taps take TAPS times the memory of the windows.
        played = [channel.unfold(-1, TAPS, 1).index_select(0, first).mul_(weights).sum(-1) for channel in signals]
        return torch.stack(played, dim=1).view(len(starts), -1, len(signals)).transpose(1, 2)


def tempo_windows(
    segments: Sequence[Segment],
    window: int,
    device: torch.device,
    *,
    change: float,
    context: Context,
    n_channels: int | None = None,
) -> TempoWindows:
    """Return the windows of `segments` at tempos within `change` of 1.

    context: of the windows; its margin is set here. n_channels: see data.mixing.windows.cut.
    """
    if change > 0:
        context = replace(context, margin=math.ceil(max(context.before, context.after) * change) + TAPS // 2 + 1)
    windows = cut(segments, window, device, context, n_channels)
    shortest = min(math.floor((window - 1) * (1 - change)) + 1, window)
    edges = []
    for segment, origin in zip(segments, windows.origins, strict=True):
        power = running_power(torch.tensor(segment.in_band), shortest)[: segment.n_samples - shortest + 1]
        edges.append((alive_runs(power) + np.array([0, 1]) + origin).ravel())
    alive = torch.from_numpy(np.concatenate(edges)).to(device)
    return TempoWindows(windows, change, alive, interpolation().to(device))


def interpolation() -> Tensor:
    """Return the weights float32[phase, tap] of samples for a value between the two in the middle.

    They are a sinc under a Blackman window (band-limited interpolation: J. O. Smith, Digital Audio Resampling, 2002).
    phase: 0 to PHASES, from the sample before to the sample after.
    """
    part = torch.arange(PHASES + 1, dtype=torch.float64)[:, None] / PHASES
    away = part - torch.arange(1 - TAPS // 2, TAPS // 2 + 1)
    turn = away * (2 * math.pi / TAPS)
    return (torch.sinc(away) * (0.42 + 0.5 * turn.cos() + 0.08 * (2 * turn).cos())).float()
