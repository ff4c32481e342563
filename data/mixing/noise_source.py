"""Noise windows as training draws them: as recorded or randomised, of the in-band power that they had."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.mixing.band_noise import BandNoise, thin_out
from data.mixing.noise import randomise
from data.mixing.response import filtered
from data.mixing.windows import Windows

TINY = 1e-30
# Randomisers that keep each window's magnitude spectrum, and with it the power of a band-passed window.
POWER_KEPT = ("none", "half_phase_shuffle", "phase_random")


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSource:
    """Windows to draw from. gain: of the band-pass, float32[bin] of a window's FFT; banded: they have passed it."""

    windows: Windows
    kind: str
    gain: Tensor
    banded: bool
    band_noise: BandNoise | None

    def draw(self, starts: Tensor, power: Tensor, generator: torch.Generator) -> Tensor:
        """Windows float32[window, channel, time] at `starts`, of in-band power power[window] wherever it changed."""
        if self.band_noise is not None:
            return self.band_noise.draw(starts, power, generator)
        noise = randomise(self.windows.take(starts), self.kind, generator)
        if self.kind == "none" or (self.kind in POWER_KEPT and self.banded):
            return noise
        in_band = filtered(noise, self.gain)
        if self.banded:
            noise = in_band
        level = (power / in_band[:, 0].square().mean(-1).clamp_min(TINY)).sqrt()
        return noise * level[:, None, None]


def noise_source(windows: Windows, kind: str, gain: Tensor, *, banded: bool) -> NoiseSource:
    """The source of `windows` randomised by `kind`."""
    band_noise = thin_out(windows, gain) if banded and kind == "phase_random" else None
    return NoiseSource(windows, kind, gain, banded, band_noise)
