"""Phase-random surrogates of band-passed noise, at the cost of its band alone.

A window of 5.12 s at 1 kHz has 2,561 FFT bins, and a band-pass of 25-55 Hz leaves something in 473 of them. So every
fourth sample tells the spectrum, phases are drawn for those bins, and one inverse FFT gives the window at full rate.
What lies outside is the leakage of the window's cut ends; it is left out, and the window's level restored.

A whole recording goes the same way; its spectrum is kept from one surrogate to the next.
"""

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from data.mixing.noise import phasors, randomise
from data.mixing.response import filtered
from data.mixing.windows import Windows

# A band-pass that lets less than this through (-80 dB) leaves nothing worth a phase.
LEAST_GAIN = 1e-4
# With fewer bins the leakage is no longer small beside them.
LEAST_BINS = 16


@dataclass(frozen=True, slots=True, eq=False)
class BandNoise:
    """Noise recordings thinned to what their band needs.

    thin: float32[channel, every * row_samples], the samples 0, every, 2 every ... of the recordings laid end to end,
    then the samples 1, 1 + every ..., and so on. bins: those of the window's FFT that the band-pass lets through.
    """

    thin: Tensor
    every: int
    row_samples: int
    window: int
    bins: slice

    def draw(self, starts: Tensor, power: Tensor, generator: Generator) -> Tensor:
        """Surrogates float32[window, channel, time] of the windows at `starts`, of in-band power power[window].

        Magnitudes and cross-spectra of the channels stay in the band, as in data.mixing.noise.randomise.
        """
        at = starts % self.every * self.row_samples + starts // self.every
        windows = self.thin.unfold(-1, self.window // self.every, 1).transpose(0, 1).index_select(0, at)
        inside = torch.fft.rfft(windows)[..., self.bins]
        # Parseval: the mean square of a window is 2 / window^2 times the energy of its positive frequencies.
        energy = torch.view_as_real(inside[:, 0]).square().sum((-2, -1))
        level = self.window * (power / (2 * energy.clamp_min(1e-30))).sqrt()
        turned = inside * phasors((len(starts), 1, inside.shape[-1]), generator, inside.device)
        spectrum = turned.new_zeros((*turned.shape[:-1], self.window // 2 + 1))
        torch.mul(turned, level[:, None, None], out=spectrum[..., self.bins])
        drawn: Tensor = torch.fft.irfft(spectrum, n=self.window)
        return drawn


def passed(gain: Tensor) -> tuple[int, int]:
    """The first and the last FFT bin that a band-pass with `gain` [bin] lets through; (1, 0) where there is none."""
    bins = torch.nonzero(gain[1:] >= LEAST_GAIN)[:, 0] + 1
    return (int(bins[0]), int(bins[-1])) if len(bins) else (1, 0)


def thin_out(noise: Windows, gain: Tensor) -> BandNoise | None:
    """`noise`, whose band-pass has `gain` [window // 2 + 1] over a window's FFT bins; None where too few bins pass."""
    first, last = passed(gain)
    if last - first + 1 < LEAST_BINS or 2 * last >= noise.window:
        return None
    every = next(d for d in range(noise.window // (2 * last + 1), 0, -1) if noise.window % d == 0)
    n_missing = -noise.signals.shape[-1] % every
    padded = torch.nn.functional.pad(noise.signals, (0, n_missing))
    rows = padded.view(len(padded), -1, every)
    return BandNoise(rows.transpose(1, 2).flatten(1), every, rows.shape[1], noise.window, slice(first, last + 1))


@dataclass(frozen=True, slots=True, eq=False)
class BandRecording:
    """A band-passed recording of n_samples: complex64[channel, bin] of an FFT over n_fast samples, from bin `first`."""

    spectrum: Tensor
    first: int
    n_fast: int
    n_samples: int

    def draw(self, generator: Generator) -> Tensor:
        """A surrogate float32[channel, time] of the recording's level; see data.mixing.noise.surrogate."""
        turned = self.spectrum * phasors((1, self.spectrum.shape[-1]), generator, self.spectrum.device)
        whole = turned.new_zeros((len(turned), self.n_fast // 2 + 1))
        whole[:, self.first : self.first + turned.shape[-1]] = turned
        drawn: Tensor = torch.fft.irfft(whole, n=self.n_fast)[:, : self.n_samples]
        return drawn.mul_(math.sqrt(self.n_fast / self.n_samples))


def analyse(signal: Tensor, gain: Tensor) -> BandRecording:
    """A band-passed signal float32[channel, time]; `gain` is its band-pass over any even number of FFT bins."""
    n_samples = signal.shape[-1]
    n_fast = int(next_fast_len(n_samples, real=True))
    per_bin = n_fast / (2 * (len(gain) - 1))
    lowest, highest = passed(gain)
    first, last = max(1, int((lowest - 1) * per_bin)), min(math.ceil((highest + 1) * per_bin), (n_fast - 1) // 2)
    spectrum = torch.fft.rfft(signal, n=n_fast)[:, first : last + 1].clone()
    return BandRecording(spectrum, first, n_fast, n_samples)


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
