"""The optimiser with its learning rate over the steps, and the ramps of gain and peak_weight over the epochs.

Learning rate, gain and peak_weight are pure functions of the config and the step or epoch, so a resumed run needs no
state for them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import nn

from data.config import ADDED


@dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), with warm-up, decay and gradient clipping.

    warmup_share: share of all steps over which the learning rate rises linearly from near 0 to its value.
    decay: "cosine" lets the learning rate fall to a hundredth at the last step, along half a cosine (SGDR, Loshchilov
        & Hutter 2017); "none" keeps it constant.
    clip_norm: largest norm of the gradient; 0 does not clip.

    Raises ValueError for a value out of range.
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
        """Build the torch optimiser of `parameters`, with fused kernels where torch has them.

        A fused step takes one kernel per tensor on the CPU and one for all tensors on CUDA. The checkpoint records
        the choice, so a resumed run continues with the same kernels.
        """
        trained = list(parameters)
        cls = torch.optim.AdamW if self.algorithm == "adamw" else torch.optim.Adam
        fused = all(p.is_floating_point() for p in trained)  # torch has no fused kernel for complex weights
        return cls(trained, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused or None)


def learning_rate_at(config: OptimiserConfig, step: int, n_steps: int) -> float:
    """Return the learning rate of step `step` (from 0) of `n_steps`."""
    warmup = round(config.warmup_share * n_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.decay == "none":
        return config.learning_rate
    share = (step - warmup) / max(1, n_steps - warmup - 1)
    return config.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * share)))


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """The gain of training mixtures (clean + gain x noise) and its ramp, and the ramp of the loss's peak_weight.

    gain: at the end of the ramp.
    gain_spread_db: the gain of each window is lowered by a random amount up to this.
    gain_ramp: how the gain rises from gain_start x gain to gain: at once ("none"), linearly ("linear"), in gain_steps
        equal steps ("steps"), or along half a cosine ("smooth").
    gain_ramp_share: share of the epochs that the rise takes.
    gain_start: share of the gain before the ramp; 0 pretrains on clean signals.
    gain_hold_share: share of the epochs before the ramp begins.
    quiet_share: share of windows whose gain is lowered further, by a random amount up to quiet_spread_db, so that the
        model also learns to leave clear recordings as they are.
    noiseless_share: share of windows to which no noise is added.
    heartless_share: share of windows of noise alone, so that the model makes no beats where there are none.
    peak_ramp_share: share of the epochs over which peak_weight rises linearly from 0 to its value.
    mixing: "gain" leaves the levels as recorded; "snr" first brings each pair of windows to equal in-band power, so
        that the SNR is exactly -20 log10(gain) dB.

    For example, 20 epochs at gain 0, a ramp of 20 and 40 at full gain are gain_start 0, gain_hold_share 0.25 and
    gain_ramp_share 0.25 of 80 epochs. The last epoch always has the full gain and peak_weight.

    Raises ValueError for a value out of range.
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
    quiet_share: Annotated[float, FloatDistribution(0.0, 0.5)] = field(default=0.0, metadata={ADDED: True})
    quiet_spread_db: float = field(default=24.0, metadata={ADDED: True})
    noiseless_share: Annotated[float, FloatDistribution(0.0, 0.3)] = field(default=0.0, metadata={ADDED: True})
    heartless_share: Annotated[float, FloatDistribution(0.0, 0.3)] = field(default=0.0, metadata={ADDED: True})

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
        shares = {name: getattr(self, name) for name in ("quiet_share", "noiseless_share", "heartless_share")}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; a share from 0 to 1 is needed")
        if sum(shares.values()) > 1:
            given = ", ".join(f"{name} is {share}" for name, share in shares.items())
            raise ValueError(f"{given}; together they may be 1 at most")
        if not 0 <= self.quiet_spread_db < math.inf:
            raise ValueError(f"quiet_spread_db is {self.quiet_spread_db}; a number from 0 up is needed")
        if self.gain_steps < 1:
            raise ValueError(f"gain_steps is {self.gain_steps}; at least 1 is needed")


def gain_at(schedule: ScheduleConfig, epoch: int, n_epochs: int) -> float:
    """Return the gain of epoch `epoch` (from 0) of `n_epochs`; the full gain from the end of the ramp on."""
    start, end = _gain_ramp_epochs(schedule, n_epochs)
    if epoch >= end:
        return schedule.gain
    share = max(0, epoch - start) / max(1, end - start)
    if schedule.gain_ramp == "smooth":
        share = 0.5 - 0.5 * math.cos(math.pi * share)
    elif schedule.gain_ramp == "steps":
        share = math.floor(share * schedule.gain_steps) / schedule.gain_steps
    return schedule.gain * (schedule.gain_start + (1 - schedule.gain_start) * share)


def peak_share_at(schedule: ScheduleConfig, epoch: int, n_epochs: int) -> float:
    """Return the share of peak_weight used in epoch `epoch` (from 0) of `n_epochs`: from 0 to 1 over the ramp."""
    ramp = _ramp_epochs(schedule.peak_ramp_share, n_epochs)
    return 1.0 if epoch >= ramp else epoch / ramp


def ramps_end(schedule: ScheduleConfig, n_epochs: int) -> int:
    """Return the first epoch at full gain and full peak_weight. From it on, weights may become the best weights."""
    return max(_gain_ramp_epochs(schedule, n_epochs)[1], _ramp_epochs(schedule.peak_ramp_share, n_epochs))


def _gain_ramp_epochs(schedule: ScheduleConfig, n_epochs: int) -> tuple[int, int]:
    """Return the first epoch of the gain's ramp and the first epoch after it."""
    hold = schedule.gain_hold_share
    ramp = 0.0 if schedule.gain_ramp == "none" else schedule.gain_ramp_share
    return _ramp_epochs(hold, n_epochs), _ramp_epochs(hold + ramp, n_epochs)


def _ramp_epochs(share: float, n_epochs: int) -> int:
    """Return a share of the epochs as a whole number, at most n_epochs - 1."""
    return min(round(share * n_epochs), n_epochs - 1)
