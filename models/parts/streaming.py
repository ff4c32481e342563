"""Causal models: a signal in blocks of any size, with all that is kept between them as an explicit value.

A core takes whole blocks of `block` samples. What a layer needs of earlier blocks it gets from Carry, so training on
whole windows and running as the signal arrives are the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.parts.layers import SameConv, check_input

# Added to a power before it divides. Far below that of any recording, whatever its unit.
LEVEL_FLOOR = 1e-20


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a causal model sees around a sample, in samples.

    lookahead_samples: after it, beyond those that the frames of the model need anyway.
    past_samples: before it, in each layer with attention or statistics over time.
    """

    lookahead_samples: int
    past_samples: int

    def lookahead(self, hop: int) -> int:
        """Return the lookahead in whole hops, rounded down."""
        return self.lookahead_samples // hop

    def past(self, hop: int) -> int:
        """Return the past in whole hops, at least one."""
        return max(1, self.past_samples // hop)


class Carry:
    """What the layers of a core keep from one call to the next.

    A layer takes and gives by `extend` and `overlap`; the order of these calls must be the same in every call of a
    core, as it names the entries.
    """

    def __init__(self, kept: Sequence[Tensor] | None = None) -> None:
        """Begin a call with what the last one kept; None begins a signal."""
        self._before = None if kept is None else iter(kept)
        self._kept: list[Tensor] = []

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """Return what the next call needs."""
        return tuple(self._kept)

    def extend(self, x: Tensor, n: int, *, silence: bool = True) -> Tensor:
        """Return x [..., time] with the last `n` steps before it, and keep the last `n` of both.

        silence: whether the steps before the signal's start are zeros; else there are none.
        """
        started = x.new_zeros((*x.shape[:-1], n if silence else 0))
        before = started if self._before is None else next(self._before)
        both = torch.cat((before, x), dim=-1)
        self._kept.append((both[..., -n:] if n else both[..., :0]).detach())
        return both

    def overlap(self, x: Tensor, n: int) -> Tensor:
        """Return x [..., time] without its last `n` steps, which are kept and added to the first of the next call."""
        before = x.new_zeros((*x.shape[:-1], n)) if self._before is None else next(self._before)
        whole = x + functional.pad(before, (0, x.shape[-1] - n))
        self._kept.append(whole[..., whole.shape[-1] - n :].detach())
        return whole[..., : whole.shape[-1] - n]


class Core(Protocol):
    """A module that runs on whole blocks.

    block: samples of a block. delay: samples by which its output lags behind its input.
    """

    block: int
    delay: int

    def run_blocks(self, noisy: Tensor, carry: Carry) -> Tensor:
        """Return [batch, 1, time] for noisy [batch, channel, time], where time is a multiple of `block`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """All that a causal model knows of the signal so far. It is a value: a step makes a new one.

    waiting: float32[batch, channel, time], samples that do not fill a block yet.
    ready: float32[batch, 1, time], of the estimate, not returned yet.
    kept: of the layers; None at the start.
    """

    waiting: Tensor
    ready: Tensor
    kept: tuple[Tensor, ...] | None


class CausalDenoiser(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time], where a sample depends on `delay_samples` after it at most.

    `forward` returns the estimate of a whole signal in place; after its end it is taken to be silent. `step` returns
    the same as the signal arrives, `delay_samples` later.
    """

    def __init__(self, core: nn.Module) -> None:
        """Wrap a module that is a Core."""
        super().__init__()
        self.core = core

    @property
    def _blocks(self) -> Core:
        return cast(Core, self.core)

    @property
    def delay_samples(self) -> int:
        """Return the algorithmic delay: a sample of the estimate needs so many samples after it."""
        return self._blocks.delay + self._blocks.block - 1

    def forward(self, noisy: Tensor) -> Tensor:
        check_input(noisy)
        core, n_samples = self._blocks, noisy.shape[-1]
        # Rounded up to whole blocks, by sums that an exported model computes for any length.
        n_blocks = (n_samples + core.delay + core.block - 1) // core.block
        padded = functional.pad(noisy, (0, n_blocks * core.block - n_samples))
        return core.run_blocks(padded, Carry())[..., core.delay : core.delay + n_samples]

    def initial(self, n_channels: int, batch: int = 1, device: torch.device | None = None) -> StreamState:
        """Return the state before the first sample."""
        zeros = torch.zeros((batch, n_channels, 0), device=device)
        return StreamState(zeros, torch.zeros((batch, 1, self._blocks.block - 1), device=device), None)

    def step(self, chunk: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Return the next samples of the estimate, as many as in `chunk`, and the state after it.

        The first `delay_samples` of a signal are of the time before it.

        chunk: float32[batch, n_channels, time], of any length, also 0.
        """
        core = self._blocks
        waiting = torch.cat((state.waiting, chunk), dim=-1)
        n_whole = waiting.shape[-1] // core.block * core.block
        ready, kept = state.ready, state.kept
        if n_whole:
            carry = Carry(kept)
            ready = torch.cat((ready, core.run_blocks(waiting[..., :n_whole], carry).float()), dim=-1)
            kept = carry.kept
        n = chunk.shape[-1]
        # Copies, for views would keep the memory of what they are views of.
        return ready[..., :n], StreamState(waiting[..., n_whole:].clone(), ready[..., n:].clone(), kept)


def moving_mean(x: Tensor, past: int, carry: Carry) -> Tensor:
    """Return the mean of x [batch, channel, time] over each step and the `past` before it, fewer at the start."""
    held = carry.extend(x.float(), past, silence=False)
    n_steps, n_before = x.shape[-1], held.shape[-1] - x.shape[-1]
    padded = functional.pad(held, (past - n_before, 0))
    total = functional.avg_pool1d(padded, past + 1, 1) * (past + 1)
    count = torch.arange(n_before + 1, n_before + n_steps + 1, device=x.device).clamp(max=past + 1)
    return total / count


def moving_norm(norm: nn.GroupNorm, x: Tensor, past: int, carry: Carry) -> Tensor:
    """Normalise x [batch, channel, time] by its statistics over the steps of `moving_mean`, in the groups of `norm`.

    The causal form of a norm over an item, with its weights (cumulative layer normalisation, Luo & Mesgarani 2019,
    arXiv:1809.07454, over a bounded past).
    """
    n_items, n_channels, n_steps = x.shape
    with torch.autocast(x.device.type, enabled=False):
        groups = x.float().view(n_items, norm.num_groups, -1, n_steps)
        mean, square = moving_mean(
            torch.cat((groups.mean(dim=2), groups.square().mean(dim=2)), dim=1), past, carry
        ).chunk(2, dim=1)
        spread = (square - mean.square()).clamp(min=0.0).add(norm.eps).rsqrt()
        normalised = ((groups - mean[:, :, None]) * spread[:, :, None]).reshape(n_items, n_channels, n_steps)
        return normalised * norm.weight[:, None] + norm.bias[:, None]


def causal_conv(conv: nn.Conv1d, x: Tensor, carry: Carry) -> Tensor:
    """Return the convolution of x [batch, channel, time] without stride, with all of its kernel in the past."""
    reach = (conv.kernel_size[0] - 1) * conv.dilation[0]
    held = carry.extend(x, reach)
    return functional.conv1d(held, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups)


def run_causal(module: nn.Module, x: Tensor, past: int, carry: Carry) -> Tensor:
    """Run a network on [batch, channel, time] with the causal form of each layer.

    Batch norms keep their running statistics. A module with a shortcut has a method `run_causal` of its own.
    """
    if isinstance(module, nn.Sequential):
        for layer in module:
            x = run_causal(layer, x, past, carry)
        return x
    if isinstance(module, SameConv):
        return causal_conv(module.conv, x, carry)
    if isinstance(module, nn.GroupNorm):
        return moving_norm(module, x, past, carry)
    own = getattr(module, "run_causal", None)
    found: Tensor = module(x) if own is None else own(x, past, carry)
    return found
