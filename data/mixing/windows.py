"""Windows of recordings, as views of one tensor that holds all recordings one after another.

The power and the peak of every possible window are computed once and looked up afterwards.
"""

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

# A window 60 dB below the mean power of its recording is a dropout: scaled to an SNR, it would be rounding errors.
DEAD_POWER_SHARE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of `window` samples, identified by their start in the concatenated recordings.

    signals: float32[channel, time], the concatenated recordings.
    views: float32[start, channel, window], the window at each start, in the memory of `signals`.
    power: float32[time], mean in-band power of channel 0 in the window at each start.
    starts: int64, starts of the windows that lie within one recording and are not dropouts.
    lengths: samples of each recording.
    """

    signals: Tensor
    views: Tensor
    power: Tensor
    starts: Tensor
    lengths: tuple[int, ...]
    window: int

    def take(self, starts: Tensor) -> Tensor:
        """Return the windows at `starts` as a new tensor float32[window, channel, time]."""
        return self.views.index_select(0, starts)

    def replaced(self, signals: Tensor, in_band: Tensor) -> "Windows":
        """Return the same windows of other signals, with their powers.

        signals: float32[channel, time], of the same lengths. in_band: float32[time], their channel 0 in band.
        """
        parts = torch.split(in_band, list(self.lengths))
        power = torch.cat([running_power(part, self.window) for part in parts])
        return dataclasses.replace(self, signals=signals, views=_views(signals, self.window), power=power)


def cut(segments: Sequence[Segment], window: int, stride: int, device: torch.device) -> Windows:
    """Return the windows of `segments`, with a start every `stride` samples."""
    powers = [running_power(torch.tensor(segment.in_band), window) for segment in segments]
    offset, starts = 0, []
    for segment, power in zip(segments, powers, strict=True):
        # Later starts would give windows that reach into the next recording.
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
    """Return the starts from which `n_offsets` windows, `offset` samples apart, lie in one recording without dropouts.

    Raises DataError if there are none.
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
    """Return bool[time] for one recording: whether the window that starts there is not a dropout."""
    return power > DEAD_POWER_SHARE * power[: len(power) - window + 1].mean()


def widened(windows: Windows, before: int, after: int) -> Windows:
    """Return `windows` extended by `before` and `after` samples of context; recordings are continued by reflection.

    The starts stand for the same windows in the same order, and the power is that of the window without context.
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
    """Return the positions of `starts` after each recording has been extended by `by` samples."""
    ends = torch.tensor(windows.lengths, device=starts.device).cumsum(0)
    return starts + by * torch.bucketize(starts, ends, right=True)


def _mirrored(n: int, before: int, after: int, device: torch.device) -> Tensor:
    """Return the indices of n samples, continued by reflection on both sides as often as needed."""
    at = torch.arange(-before, n + after, device=device).remainder(max(2 * n - 2, 1))
    return torch.minimum(at, 2 * n - 2 - at)


def _views(signals: Tensor, window: int) -> Tensor:
    """Return the window at each start of signals [channel, time] as a view [start, channel, window]."""
    return signals.unfold(-1, window, 1).transpose(0, 1)


def running_power(in_band: Tensor, window: int) -> Tensor:
    """Return the mean square float32[time] of the window that starts at each sample; 0 if no window fits.

    It is the difference of running sums in float64 over this recording alone: the level of another recording in the
    sums would cost precision.
    """
    sums = in_band.new_zeros(len(in_band) + 1, dtype=torch.float64)
    torch.cumsum(in_band.double().square_(), 0, out=sums[1:])
    power = torch.zeros_like(in_band)
    power[: len(in_band) - window + 1] = (sums[window:] - sums[:-window]).div_(window).clamp_min_(0)
    return power


def running_peak(signals: Sequence[NDArray[np.float32]], window: int) -> NDArray[np.float32]:
    """Return the largest magnitude float32[time] of the window at each start in the concatenated signals."""
    magnitude = np.abs(np.concatenate(list(signals)))
    # The filter's window is centred; the origin shifts it to start at its sample.
    return np.asarray(maximum_filter1d(magnitude, window, mode="constant", origin=-(window // 2)), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """The weights of windows to draw from.

    n: number of windows.
    sums: float64[window], cumulative sums of the weights; None if all weights are equal.
    """

    n: int
    sums: Tensor | None

    def pick(self, chance: Tensor) -> Tensor:
        """Return the indices int64 of the windows that uniform random numbers float32 from 0 to 1 select."""
        if self.sums is None:
            return (chance * self.n).long().clamp_max(self.n - 1)
        at = chance.double() * self.sums[-1]
        return torch.searchsorted(self.sums, at, right=True).clamp_max(self.n - 1)


def odds_of(segments: Sequence[Segment], starts: Tensor) -> Odds:
    """Return the weights of the windows that start at `starts` in the concatenated `segments`."""
    if len({segment.weight for segment in segments}) == 1:
        return Odds(len(starts), None)
    ends = torch.tensor([segment.signals.shape[1] for segment in segments], device=starts.device).cumsum(0)
    weights = torch.tensor([segment.weight for segment in segments], dtype=torch.float64, device=starts.device)
    return Odds(len(starts), weights[torch.bucketize(starts, ends, right=True)].cumsum(0))
