"""The section `live` of a run: whether its model is causal, so that it can estimate a signal as it arrives."""

import math
from dataclasses import dataclass
from typing import Annotated

from optuna.distributions import FloatDistribution

from models.base import DenoiserConfig
from models.front import FrontConfig
from models.parts.streaming import CausalDenoiser, Reach

LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """How far a causal model sees.

    causal: build the causal form of the model (DenoiserConfig.build_causal) and of the front end. `data.band_phase`
        must be "minimum" for it.
    lookahead_s: how far after a sound the model looks, beyond what its frames need. Rounded down to whole hops.
    past_s: how far before it each layer with attention, running statistics or filters looks.
    max_delay_s: the longest algorithmic delay of the whole path that is allowed: resampling, band-pass, frames and
        lookahead.
    """

    causal: bool = False
    lookahead_s: Annotated[float, FloatDistribution(0.0, 0.15)] = 0.064
    past_s: Annotated[float, FloatDistribution(1.0, 8.0)] = 4.0
    max_delay_s: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("lookahead_s", 0.0), ("past_s", 0.1), ("max_delay_s", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and least <= value <= LONGEST_S):
                raise ValueError(f"{name} is {value}; {least:g} to {LONGEST_S:g} s is allowed")

    def build(self, denoiser: DenoiserConfig, front: FrontConfig, n_channels: int, rate_hz: float) -> CausalDenoiser:
        """Build the causal form of `denoiser`, with that of the front end before it.

        Raises ValueError for a family without one.
        """
        reach = Reach(round(self.lookahead_s * rate_hz), round(self.past_s * rate_hz))
        return front.build_causal(denoiser, n_channels, reach)
