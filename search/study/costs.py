"""Every model family's cost at its defaults, measured here and now."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models import DENOISERS, DenoiserConfig
from models.parts.receptive import receptive_field_samples
from objectives.cost import latency_ms, macs_per_second, n_parameters
from objectives.losses import negative_si_sdr
from training.device import arithmetic
from training.errors import ConfigError

LATENCY_REPEATS = 7
STEP_REPEATS = 3
STEP_WINDOWS = 4
REACH_WINDOWS = 2
"""Windows that a receptive field is looked for in, laid end to end: where it fills two, every sample of the estimate
hears all of its window."""


@dataclass(frozen=True, slots=True)
class At:
    """What costs are measured at: windows [1, n_channels, window_samples] at `rate_hz`, on CPU threads."""

    rate_hz: float = 250.0
    window_samples: int = 1280
    n_channels: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < float("inf"):
            raise ConfigError(f"rate_hz is {self.rate_hz}; a positive number is needed, 250 say")
        for name in ("window_samples", "n_channels", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class FamilyCost:
    """One family at its defaults.

    latency_ms: one window, as objectives.cost has it. receptive_field_s: of the input that moves one output sample;
    None where every sample hears its whole window. step_ms: forwards and backwards through STEP_WINDOWS
    windows, under the model's own loss where it brings one, else SI-SDR: what a training step costs beside data.
    """

    name: str
    n_parameters: int
    macs_per_second: float
    latency_ms: float
    receptive_field_s: float | None
    step_ms: float


def family_costs(names: Sequence[str], at: At) -> tuple[FamilyCost, ...]:
    """The cost of each family of `names`, in their order. On one core all families take some seconds."""
    return tuple(_family_cost(DENOISERS[name], at) for name in names)


def cpu_latency_ms(model: DenoiserConfig, at: At) -> float:
    """The latency of a freshly built `model` on the CPU, in ms for a window."""
    with arithmetic(0, torch.device("cpu"), at.threads):
        return latency_ms(model.build(at.n_channels), at.n_channels, at.window_samples, LATENCY_REPEATS)


def _family_cost(family: type[DenoiserConfig], at: At) -> FamilyCost:
    with arithmetic(0, torch.device("cpu"), at.threads):
        module = family().build(at.n_channels)
        return FamilyCost(
            name=family.name,
            n_parameters=n_parameters(module),
            macs_per_second=macs_per_second(module, at.n_channels, at.window_samples, at.rate_hz),
            latency_ms=latency_ms(module, at.n_channels, at.window_samples, LATENCY_REPEATS),
            receptive_field_s=_receptive_field_s(module, at),
            step_ms=_step_ms(module, at),
        )


def _receptive_field_s(module: nn.Module, at: At) -> float | None:
    """The receptive field in seconds, None where it is the whole window."""
    if any(isinstance(part, nn.RNNBase) for part in module.modules()):
        return None  # unbounded, though its gradient fades to zero in single precision after some hundred steps
    longest = REACH_WINDOWS * at.window_samples
    reach = receptive_field_samples(module, at.n_channels, longest)
    return reach / at.rate_hz if reach < longest else None


def _step_ms(module: nn.Module, at: At) -> float:
    """Median of STEP_REPEATS steps, one more to warm up; gradients are dropped, weights stay as they are."""
    module.train()
    noisy = 0.3 * torch.randn(STEP_WINDOWS, at.n_channels, at.window_samples)
    clean = 0.3 * torch.randn(STEP_WINDOWS, 1, at.window_samples)
    own_loss: Callable[[Tensor, Tensor], Tensor] | None = getattr(module, "training_loss", None)
    times_ms = []
    for _ in range(1 + STEP_REPEATS):
        start_s = time.perf_counter()
        loss = own_loss(noisy, clean) if own_loss is not None else negative_si_sdr(module(noisy), clean)
        if loss.requires_grad:  # a model without parameters has nothing to learn
            loss.backward()  # type: ignore[no-untyped-call]
        times_ms.append((time.perf_counter() - start_s) * 1000)
        module.zero_grad(set_to_none=True)
    return statistics.median(times_ms[1:])
