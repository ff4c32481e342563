"""Measure the cost of model families with their default parameters."""

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
FIELD_WINDOWS = 2
"""Length of the input, in windows, in which a receptive field is measured. If it fills the input, every sample of the
estimate depends on its whole window."""


@dataclass(frozen=True, slots=True)
class At:
    """The conditions of a measurement: windows [1, n_channels, window_samples] at `rate_hz`, on CPU threads."""

    rate_hz: float = 250.0
    window_samples: int = 1280
    n_channels: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < float("inf"):
            raise ConfigError(f"rate_hz is {self.rate_hz}; a positive number is needed, e.g. 250")
        for name in ("window_samples", "n_channels", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class FamilyCost:
    """The cost of a family with its default parameters.

    latency_ms: of one window (objectives.cost.latency_ms). receptive_field_s: length of the input that an output sample
    depends on; None where that is the whole window. step_ms: forward and backward pass of a training step on
    STEP_WINDOWS windows, with the model's own loss, else SI-SDR, without the data.
    """

    name: str
    n_parameters: int
    macs_per_second: float
    latency_ms: float
    receptive_field_s: float | None
    step_ms: float


def family_costs(names: Sequence[str], at: At) -> tuple[FamilyCost, ...]:
    """Measure the families `names`, in their order. All families together take some seconds on one core."""
    return tuple(_family_cost(DENOISERS[name], at) for name in names)


def cpu_latency_ms(build: Callable[[], nn.Module], at: At) -> float:
    """Return the latency of the module that `build` returns on the CPU, in ms a window."""
    with arithmetic(0, torch.device("cpu"), at.threads):
        return latency_ms(build(), at.n_channels, at.window_samples, LATENCY_REPEATS)


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
    """Return the receptive field in seconds; None where it is the whole window."""
    if any(isinstance(part, nn.RNNBase) for part in module.modules()):
        return None  # unbounded, though its gradient underflows in single precision after some hundred steps
    n_samples = FIELD_WINDOWS * at.window_samples
    field = receptive_field_samples(module, at.n_channels, n_samples)
    return field / at.rate_hz if field < n_samples else None


def _step_ms(module: nn.Module, at: At) -> float:
    """Return the median time of STEP_REPEATS steps after one to warm up. The weights are not changed."""
    module.train()
    noisy = 0.3 * torch.randn(STEP_WINDOWS, at.n_channels, at.window_samples)
    clean = 0.3 * torch.randn(STEP_WINDOWS, 1, at.window_samples)
    own_loss: Callable[[Tensor, Tensor], Tensor] | None = getattr(module, "training_loss", None)
    times_ms = []
    for _ in range(1 + STEP_REPEATS):
        start_s = time.perf_counter()
        loss = own_loss(noisy, clean) if own_loss is not None else negative_si_sdr(module(noisy), clean)
        if loss.requires_grad:  # false for a model without parameters
            loss.backward()  # type: ignore[no-untyped-call]
        times_ms.append((time.perf_counter() - start_s) * 1000)
        module.zero_grad(set_to_none=True)
    return statistics.median(times_ms[1:])
