"""The algorithmic delay of a causal model's whole path, part by part."""

from dataclasses import dataclass

from data.config import DataConfig
from data.streaming import REACH, forward_band, resampler
from models.parts.streaming import CausalDenoiser


@dataclass(frozen=True, slots=True)
class Delay:
    """How long after a sound its estimate is known, in s. What the computer takes to compute comes on top.

    resampling_s: to the model's rate and back. band_s: of the band-pass. model_s: of frames and lookahead.
    """

    resampling_s: float
    band_s: float
    model_s: float

    @property
    def total_s(self) -> float:
        """Return the delay of all parts."""
        return self.resampling_s + self.band_s + self.model_s

    @property
    def described(self) -> str:
        """Return the delay in words."""
        return (
            f"delay at most {self.total_s:.3f} s: {self.model_s:.3f} s of frames and lookahead, {self.band_s:.3f} s of "
            f"the band-pass, {self.resampling_s:.3f} s of resampling"
        )


def delay_of(model: CausalDenoiser, data: DataConfig, rate_hz: float | None = None) -> Delay:
    """Return the delay of a model of `data` for signals at `rate_hz`; None takes any rate above that of the model.

    Raises DataError for a rate that cannot be resampled.
    """
    band = forward_band(data.rate_hz, *data.band_hz).delay_samples if data.band_hz is not None else 0
    if rate_hz is None:
        resampling_s = 2 * REACH / data.rate_hz
    else:
        there, back = resampler(rate_hz, data.rate_hz), resampler(data.rate_hz, rate_hz)
        resampling_s = there.delay / rate_hz + back.delay / data.rate_hz
    return Delay(resampling_s, band / data.rate_hz, model.delay_samples / data.rate_hz)
