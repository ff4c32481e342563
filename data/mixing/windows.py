"""Windows of recordings, as views of one tensor that holds all recordings one after another.

The power of every possible window is computed once and looked up afterwards.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from data.corpus import Segment
from data.mixing.starts import Runs, Starts, alive_runs, starts_of


@dataclass(frozen=True, slots=True)
class Context:
    """Samples around each window, continued by reflection beyond the ends of its recording.

    before, after: samples of a window before and after its inner part.
    margin: further samples on both sides of each recording, which windows at other tempos reach into.
    """

    before: int = 0
    after: int = 0
    margin: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of `window` samples with their context, identified by their start in the concatenated recordings.

    signals: float32[channel, time], the concatenated recordings with context.
    views: float32[start, channel, time], the window with context at each start, in the memory of `signals`.
    power: float32[time], mean in-band power of channel 0 in the inner window at each start.
    lengths: samples of each recording without context.
    origins: the start of the first window of each recording.
    runs: of each recording, the runs of windows that are not dropouts, from its first window on.
    window: samples of a window without context.
    marks: int64[3, recording], on the device: its origin, its length, and the samples of all before it without context.
    """

    signals: Tensor
    views: Tensor
    power: Tensor
    lengths: tuple[int, ...]
    origins: tuple[int, ...]
    runs: tuple[Runs, ...]
    window: int
    context: Context
    marks: Tensor

    def take(self, starts: Tensor) -> Tensor:
        """Return the windows with context at `starts` as a new tensor float32[window, channel, time]."""
        return self.views.index_select(0, starts)

    def starts(self, stride: int, weights: Sequence[float] = ()) -> Starts:
        """Return a start every `stride` samples of each recording, without dropouts. weights: of each recording."""
        return starts_of(self.runs, self.origins, stride, self.signals.device, weights)

    def times(self, starts: Tensor) -> Tensor:
        """Return the samples int64 at which windows start in the concatenated recordings without context."""
        recording, own = self.places(starts)
        return self.marks[2, recording] + own

    def places(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the recording int64 of each window, and the sample int64 of the recording at which it starts."""
        origins = self.marks[0]
        recording = torch.bucketize(starts, origins, right=True) - 1
        return recording, starts - origins[recording]

    def recordings(self) -> tuple[Tensor, ...]:
        """Return the signals [channel, time] of each recording without context."""
        first = [origin + self.context.before for origin in self.origins]
        return tuple(self.signals[:, at : at + n] for at, n in zip(first, self.lengths, strict=True))

    def replaced(self, recordings: Sequence[Tensor], in_band: Sequence[Tensor]) -> "Windows":
        """Return the same windows of other recordings of the same lengths, with their powers.

        recordings: float32[channel, time] each. in_band: float32[time] each, their channel 0 in band.
        """
        signals = _joined(recordings, self.lengths, self.context)
        power = _powers(in_band, self.lengths, self.window, self.context).to(signals.device)
        return dataclasses.replace(self, signals=signals, views=views(signals, self.views.shape[-1]), power=power)


def cut(
    segments: Sequence[Segment],
    window: int,
    device: torch.device,
    context: Context = Context(),
    n_channels: int | None = None,
) -> Windows:
    """Return the windows of `segments`.

    n_channels: how many channels to keep; None keeps all.
    """
    lengths = tuple(segment.n_samples for segment in segments)
    extra = context.before + context.after + 2 * context.margin
    ends = list(accumulate(n + extra for n in lengths))
    signals = _joined((torch.tensor(segment.signals[:n_channels]) for segment in segments), lengths, context).to(device)
    power = _powers((torch.tensor(segment.in_band) for segment in segments), lengths, window, context)
    origins = tuple(end - n - extra + context.margin for end, n in zip(ends, lengths, strict=True))
    return Windows(
        signals=signals,
        views=views(signals, window + context.before + context.after),
        power=power.to(device),
        lengths=lengths,
        origins=origins,
        runs=tuple(alive_runs(power[at : at + n - window + 1]) for at, n in zip(origins, lengths, strict=True)),
        window=window,
        context=context,
        marks=torch.tensor([origins, lengths, [0, *accumulate(lengths[:-1])]], device=device),
    )


def with_silence(windows: Tensor, n_channels: int) -> Tensor:
    """Return windows [window, channel, time] with silent channels added up to `n_channels`."""
    missing = n_channels - windows.shape[1]
    return torch.nn.functional.pad(windows, (0, 0, 0, missing)) if missing else windows


def views(signals: Tensor, window: int) -> Tensor:
    """Return the window at each start of signals [channel, time] as a view [start, channel, window]."""
    return signals.unfold(-1, window, 1).transpose(0, 1)


def _joined(recordings: Iterable[Tensor], lengths: Sequence[int], context: Context) -> Tensor:
    """Return recordings [channel, time] of the given lengths, each with its context, one after another."""
    before, after = context.before + context.margin, context.after + context.margin
    parts = iter(recordings)
    first = next(parts)
    joined = first.new_empty((len(first), sum(n + before + after for n in lengths)))
    at = 0
    for part, n in zip(chain([first], parts), lengths, strict=True):
        joined[:, at + before : at + before + n] = part
        for side in (slice(0, before), slice(before + n, before + n + after)):
            joined[:, at + side.start : at + side.stop] = part[:, _mirrored(n, before, side, part.device)]
        at += before + n + after
    return joined


def _powers(in_band: Iterable[Tensor], lengths: Sequence[int], window: int, context: Context) -> Tensor:
    """Return the powers of inner windows at the starts of windows with context; 0 where no window starts."""
    around = context.before + context.after + 2 * context.margin
    joined = torch.zeros(sum(n + around for n in lengths))
    at = context.margin
    for part, n in zip(in_band, lengths, strict=True):
        joined[at : at + n] = running_power(part, window)
        at += n + around
    return joined


def _mirrored(n: int, before: int, side: slice, device: torch.device) -> Tensor:
    """Return the samples of n that stand at `side` of n samples after `before`, by reflection as often as needed."""
    at = torch.arange(side.start - before, side.stop - before, device=device).remainder(max(2 * n - 2, 1))
    return torch.minimum(at, 2 * n - 2 - at)


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
