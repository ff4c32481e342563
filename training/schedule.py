"""How training hardens over epochs: progressive gain and progressive peak_weight."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import nn


@dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), with warm-up, decay and gradient clipping.

    warmup_share: share of all steps over which the learning rate rises to its value, in a line from near 0. decay:
    "cosine" falls to a hundredth at the last step (half a cosine: SGDR, Loshchilov & Hutter 2017), "none" stays.
    clip_norm: the gradient's norm is cut to it; 0 leaves it.
    """

    algorithm: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, FloatDistribution(1e-4, 1e-2, log=True)] = 1e-3
    weight_decay: Annotated[float, FloatDistribution(1e-6, 1e-1, log=True)] = 1e-2
    warmup_share: float = 0.05
    decay: Literal["cosine", "none"] = "cosine"
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; a positive number is needed")
        if self.weight_decay < 0 or self.clip_norm < 0:
            raise ValueError(
                f"weight_decay is {self.weight_decay} and clip_norm {self.clip_norm}; neither may be negative"
            )
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share is {self.warmup_share}; a share from 0 to below 1 is needed")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser over `parameters`: one kernel a tensor on the CPU and one for all on CUDA.

        A resumed run keeps the kernels it began with, for its checkpoint names them.
        """
        of = list(parameters)
        cls = torch.optim.AdamW if self.algorithm == "adamw" else torch.optim.Adam
        fused = all(p.is_floating_point() for p in of)  # torch has no such kernel for complex weights
        return cls(of, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused or None)


def learning_rate_at(config: OptimiserConfig, step: int, n_steps: int) -> float:
    """The learning rate of step `step` (from 0) of `n_steps`: a pure function, so a resumed run needs no state."""
    warmup = round(config.warmup_share * n_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.decay == "none":
        return config.learning_rate
    share = (step - warmup) / max(1, n_steps - warmup - 1)
    return config.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * share)))


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """The gain of training mixtures (clean + gain x noise) and its ramp; the ramp of the loss's peak_weight.

    gain: at the end of the ramp. mixing "gain" leaves levels as recorded, "snr" brings each pair to equal in-band
    power first, so that the SNR is -20 log10(gain) dB exactly. gain_spread_db: each window's gain is lowered by up
    to this. gain_hold_share: share of the epochs that stay at gain_start x gain (at 0: pretraining on clean signals)
    before the ramp. gain_ramp: how the gain rises from there over the next gain_ramp_share of the epochs: at once
    ("none"), in a line, in gain_steps equal steps, or along half a cosine. So 20 epochs at 0, 20 of ramp and 40 at
    full gain are gain_start 0, gain_hold_share 0.25 and gain_ramp_share 0.25 of 80 epochs. peak_ramp_share: share of
    the epochs over which peak_weight rises from 0 to its value. The last epoch has the full gain and peak_weight
    whatever the shares.
    """

    gain: Annotated[float, FloatDistribution(0.25, 4.0, log=True)] = 2.0
    gain_spread_db: Annotated[float, FloatDistribution(0.0, 20.0)] = 12.0
    gain_ramp: Annotated[str, CategoricalDistribution(("none", "linear", "steps", "smooth"))] = "linear"
    gain_ramp_share: Annotated[float, FloatDistribution(0.1, 0.6)] = 0.4
    gain_start: float = 0.1
    gain_steps: int = 4
    peak_ramp_share: Annotated[float, FloatDistribution(0.0, 0.6)] = 0.0
    mixing: Literal["gain", "snr"] = "snr"
    gain_hold_share: float = 0.0

    def __post_init__(self) -> None:
        if self.gain < 0 or self.gain_spread_db < 0:
            raise ValueError(f"gain is {self.gain} and gain_spread_db {self.gain_spread_db}; neither may be negative")
        if self.gain_ramp not in ("none", "linear", "steps", "smooth"):
            raise ValueError(f"gain_ramp is {self.gain_ramp!r}; none, linear, steps or smooth is needed")
        for name in ("gain_ramp_share", "gain_start", "peak_ramp_share", "gain_hold_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a share from 0 to 1 is needed")
        if self.gain_ramp != "none" and self.gain_hold_share + self.gain_ramp_share > 1:
            raise ValueError(
                f"gain_hold_share is {self.gain_hold_share} and gain_ramp_share {self.gain_ramp_share}; "
                "together they may be 1 at most"
            )
        if self.gain_steps < 1:
            raise ValueError(f"gain_steps is {self.gain_steps}; at least 1 is needed")


def gain_at(schedule: ScheduleConfig, epoch: int, n_epochs: int) -> float:
    """The gain of epoch `epoch` (from 0) of `n_epochs`; the full gain from the end of the ramp on."""
    begin, end = _gain_ramp_epochs(schedule, n_epochs)
    if epoch >= end:
        return schedule.gain
    share = max(0, epoch - begin) / max(1, end - begin)
    if schedule.gain_ramp == "smooth":
        share = 0.5 - 0.5 * math.cos(math.pi * share)
    elif schedule.gain_ramp == "steps":
        share = math.floor(share * schedule.gain_steps) / schedule.gain_steps
    return schedule.gain * (schedule.gain_start + (1 - schedule.gain_start) * share)


def peak_share_at(schedule: ScheduleConfig, epoch: int, n_epochs: int) -> float:
    """The share of peak_weight in force in `epoch` (from 0) of `n_epochs`: 0 at the ramp's begin, 1 from its end."""
    ramp = _ramp_epochs(schedule.peak_ramp_share, n_epochs)
    return 1.0 if epoch >= ramp else epoch / ramp


def ramps_end(schedule: ScheduleConfig, n_epochs: int) -> int:
    """The first epoch at full gain and full peak_weight: from here on weights may be chosen as the best."""
    return max(_gain_ramp_epochs(schedule, n_epochs)[1], _ramp_epochs(schedule.peak_ramp_share, n_epochs))


def _gain_ramp_epochs(schedule: ScheduleConfig, n_epochs: int) -> tuple[int, int]:
    """The first epoch of the ramp and the first one after it."""
    hold = schedule.gain_hold_share
    ramp = 0.0 if schedule.gain_ramp == "none" else schedule.gain_ramp_share
    return _ramp_epochs(hold, n_epochs), _ramp_epochs(hold + ramp, n_epochs)


def _ramp_epochs(share: float, n_epochs: int) -> int:
    return min(round(share * n_epochs), n_epochs - 1)
