"""Windows of recordings as views of one tensor, with the power and the peak of each looked up, not computed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from data.corpus import Segment
from data.errors import DataError

# A window 60 dB below its recording's mean is a dropout: brought to a stated SNR it would be rounding errors.
DEAD_POWER_SHARE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of `window` samples, named by where they start in the recordings laid end to end.

    signals: float32[channel, time]. views: float32[start, channel, window], the same memory. starts: int64, those at
    which a window lies within one recording and is no dropout. power: float32[time], mean in-band power of channel 0
    in the window at each start. lengths: samples of each recording.
    """

    signals: Tensor
    views: Tensor
    power: Tensor
    starts: Tensor
    lengths: tuple[int, ...]
    window: int

    def take(self, starts: Tensor) -> Tensor:
        """float32[window, channel, time] at `starts`: a fresh tensor."""
        return self.views.index_select(0, starts)

    def replaced(self, signals: Tensor, in_band: Tensor) -> "Windows":
        """These windows of other `signals` [channel, time] with channel 0 in band [time], of equal lengths."""
        parts = torch.split(in_band, list(self.lengths))
        power = torch.cat([running_power(part, self.window) for part in parts])
        return dataclasses.replace(self, signals=signals, views=_views(signals, self.window), power=power)


def cut(segments: Sequence[Segment], window: int, stride: int, device: torch.device) -> Windows:
    """The windows of `segments`, a start every `stride` samples."""
    powers = [running_power(torch.tensor(segment.in_band), window) for segment in segments]
    offset, starts = 0, []
    for segment, power in zip(segments, powers, strict=True):
        # A recording's last windows would run into the next one.
        own = power[: segment.signals.shape[1] - window + 1 : stride]
        alive = torch.nonzero(own > DEAD_POWER_SHARE * own.mean())[:, 0]
        starts.append(offset + alive * stride)
        offset += segment.signals.shape[1]
    signals = torch.from_numpy(np.concatenate([s.signals for s in segments], axis=1)).to(device)
    return Windows(
        signals=signals,
        views=_views(signals, window),
        power=torch.cat(powers).to(device),
        starts=torch.cat(starts).to(device),
        lengths=tuple(s.signals.shape[1] for s in segments),
        window=window,
    )


def group_heads(windows: Windows, n_offsets: int, offset: int) -> Tensor:
    """Those of windows.starts from which `n_offsets` windows, `offset` samples apart, lie in one recording.

    None of a group is a dropout. Raises DataError where there is no group.
    """
    alive = torch.cat([_alive(power, windows.window) for power in torch.split(windows.power, list(windows.lengths))])
    span = (n_offsets - 1) * offset
    ends = torch.tensor(windows.lengths, device=alive.device).cumsum(0)
    whole = torch.bucketize(windows.starts, ends, right=True) == torch.bucketize(
        windows.starts + span, ends, right=True
    )
    heads = windows.starts[whole]
    followers = heads[:, None] + offset * torch.arange(n_offsets, device=alive.device)
    heads = heads[alive[followers].all(1)]
    if not len(heads):
        raise DataError(
            f"no recording has {n_offsets} windows {offset} samples apart without a dropout; "
            "lower batch_offsets or offset_samples"
        )
    return heads


def _alive(power: Tensor, window: int) -> Tensor:
    """Bool[time] of one recording: a window begins here and is no dropout."""
    return power > DEAD_POWER_SHARE * power[: len(power) - window + 1].mean()


def widened(windows: Windows, before: int, after: int) -> Windows:
    """`windows` with `before` and `after` samples of context each, recordings continued by their mirror image.

    starts are of the same windows in the same order, power is that of the window without its context.
    """
    parts = torch.split(torch.arange(windows.signals.shape[-1], device=windows.signals.device), list(windows.lengths))
    at = torch.cat([part[_mirrored(len(part), before, after, part.device)] for part in parts])
    signals = windows.signals[:, at]
    inner = torch.split(windows.power, list(windows.lengths))
    power = torch.cat([torch.nn.functional.pad(part, (0, before + after)) for part in inner])
    return dataclasses.replace(
        windows,
        signals=signals,
        views=_views(signals, windows.window + before + after),
        power=power,
        starts=moved(windows, windows.starts, before + after),
        lengths=tuple(n + before + after for n in windows.lengths),
        window=windows.window + before + after,
    )


def moved(windows: Windows, starts: Tensor, by: int) -> Tensor:
    """Where `starts` lie once each recording has become `by` samples longer."""
    ends = torch.tensor(windows.lengths, device=starts.device).cumsum(0)
    return starts + by * torch.bucketize(starts, ends, right=True)


def _mirrored(n: int, before: int, after: int, device: torch.device) -> Tensor:
    """Indices of n samples with their mirror image on both sides, as often as it takes."""
    at = torch.arange(-before, n + after, device=device).remainder(max(2 * n - 2, 1))
    return torch.minimum(at, 2 * n - 2 - at)


def _views(signals: Tensor, window: int) -> Tensor:
    return signals.unfold(-1, window, 1).transpose(0, 1)


def running_power(in_band: Tensor, window: int) -> Tensor:
    """Mean square float32[time] of the window that begins at each sample; 0 where none fits.

    A difference of running sums, in float64, of this recording alone: another's level would cost it digits.
    """
    sums = in_band.new_zeros(len(in_band) + 1, dtype=torch.float64)
    torch.cumsum(in_band.double().square_(), 0, out=sums[1:])
    power = torch.zeros_like(in_band)
    power[: len(in_band) - window + 1] = (sums[window:] - sums[:-window]).div_(window).clamp_min_(0)
    return power


def running_peak(signals: Sequence[NDArray[np.float32]], window: int) -> NDArray[np.float32]:
    """Largest magnitude float32[time] of the window that begins at each sample of the signals laid end to end."""
    magnitude = np.abs(np.concatenate(list(signals)))
    # The filter's window is centred; the origin moves it to begin at its sample.
    return np.asarray(maximum_filter1d(magnitude, window, mode="constant", origin=-(window // 2)), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """Some windows to draw from. n: how many. sums: float64[window], the weights up to and with each; None where all
    weigh alike."""

    n: int
    sums: Tensor | None

    def pick(self, chance: Tensor) -> Tensor:
        """int64: the windows at chances float32 from 0 to 1, a window's share of them being that of its weight."""
        if self.sums is None:
            return (chance * self.n).long().clamp_max(self.n - 1)
        at = chance.double() * self.sums[-1]
        return torch.searchsorted(self.sums, at, right=True).clamp_max(self.n - 1)


def odds_of(segments: Sequence[Segment], starts: Tensor) -> Odds:
    """Odds of the windows that begin at `starts` in `segments` laid end to end, in order."""
    if len({segment.weight for segment in segments}) == 1:
        return Odds(len(starts), None)
    ends = torch.tensor([segment.signals.shape[1] for segment in segments], device=starts.device).cumsum(0)
    weights = torch.tensor([segment.weight for segment in segments], dtype=torch.float64, device=starts.device)
    return Odds(len(starts), weights[torch.bucketize(starts, ends, right=True)].cumsum(0))
