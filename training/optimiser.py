"""The optimiser and its learning rate over the steps of a run."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from optuna.distributions import FloatDistribution
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
