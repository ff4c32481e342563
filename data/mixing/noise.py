"""Randomisers: new noise with the old spectrum (or the old histogram), in batches on the input's device.

All of them leave the input as it was, and draw once per window for all its channels, so what the channels
have in common stays in common. The numbers are drawn on the generator's device: a CPU generator gives the
same windows on every device.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from data.mixing.response import filtered
from data.mixing.windows import Windows


def randomise(windows: Tensor, kind: str, generator: Generator) -> Tensor:
    """Randomise float[batch, channel, time] by one of RANDOMISERS; same shape, dtype and device come out.

    none                the input itself.
    sample_shuffle      samples permuted in time: the histogram stays, the spectrum becomes white.
    phase_shuffle       the phases of all FFT bins, negative frequencies too, are permuted and the real part
                        is taken. Mirror bins no longer match, so a bin of magnitude m comes out as m |cos d|
                        with d half the mismatch, and about half the power is lost.
    half_phase_shuffle  the phases of the positive frequencies are permuted and mirrored (conjugate symmetry):
                        the magnitude spectrum stays.
    phase_random        one uniform phase per bin is added, the same for all channels: magnitudes and
                        cross-spectra stay. The surrogate of Theiler et al., Physica D 58 (1992) 77; for
                        several channels Prichard & Theiler, Phys. Rev. Lett. 73 (1994) 951.

    The bins at 0 Hz and (even lengths) at half the rate keep their value in the last three.

    Raises ValueError for an unknown kind, windows that are not floating [batch, channel, time], or fewer than
    two samples.
    """
    if kind not in RANDOMISERS:
        raise ValueError(f"randomiser is {kind!r}; known: {', '.join(RANDOMISERS)}")
    if windows.ndim != 3 or not windows.is_floating_point() or windows.shape[-1] < 2:
        raise ValueError(
            f"randomise: windows are {windows.dtype}{list(windows.shape)}; "
            "floating [batch, channel, time] with at least 2 samples is needed"
        )
    return RANDOMISERS[kind](windows, generator)


def phase_random_from(spectrum: Tensor, n_samples: int, generator: Generator) -> Tensor:
    """Draw phase-random surrogates [batch, channel, n_samples] from rfft spectra [batch, channel, bin].

    `spectrum` may be complex (cross-spectra between channels stay) or real magnitudes (only magnitudes stay).
    With it computed once, a draw costs one inverse FFT instead of two FFTs.

    Raises ValueError where the bins are not n_samples // 2 + 1.
    """
    if spectrum.ndim != 3 or spectrum.shape[-1] != n_samples // 2 + 1:
        raise ValueError(
            f"phase_random_from: spectrum is {list(spectrum.shape)} for {n_samples} samples; "
            f"[batch, channel, {n_samples // 2 + 1}] is needed"
        )
    turn = _turn(spectrum, n_samples, generator)
    drawn: Tensor = torch.fft.irfft(spectrum * turn, n=n_samples)
    return drawn


def surrogate(signal: Tensor, generator: Generator) -> Tensor:
    """One phase-random surrogate of a long recording, float[channel, time]; mean, level and spectrum stay.

    The FFT runs at the next fast length; the surrogate is cut back to `time` with its level restored. Where
    `time` is a fast length itself (as 2, 3, 5-smooth numbers are) the magnitude spectrum is kept exactly,
    elsewhere up to smoothing over neighbouring bins.

    Raises ValueError where the signal is not floating [channel, time] with at least two samples.
    """
    if signal.ndim != 2 or not signal.is_floating_point() or signal.shape[-1] < 2:
        raise ValueError(
            f"surrogate: signal is {signal.dtype}{list(signal.shape)}; "
            "floating [channel, time] with at least 2 samples is needed"
        )
    n_samples = signal.shape[-1]
    n_fast = int(next_fast_len(n_samples, real=True))
    mean = signal.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(_wide(signal - mean), n=n_fast)
    spectrum.mul_(_turn(spectrum[None], n_fast, generator)[0])
    drawn: Tensor = torch.fft.irfft(spectrum, n=n_fast)[:, :n_samples]
    return drawn.mul_(math.sqrt(n_fast / n_samples)).to(signal.dtype).add_(mean)


def _none(windows: Tensor, generator: Generator) -> Tensor:
    return windows


def _sample_shuffle(windows: Tensor, generator: Generator) -> Tensor:
    batch, _, time = windows.shape
    return windows.gather(-1, _permutation(batch, time, generator, windows.device).expand_as(windows))


def _phase_shuffle(windows: Tensor, generator: Generator) -> Tensor:
    magnitude, phase, inner = _polar(windows)
    both = torch.cat([phase[..., inner], -phase[..., inner]], dim=-1)
    order = _permutation(both.shape[0], both.shape[-1], generator, both.device)
    positive, negative = both.gather(-1, order.expand_as(both)).chunk(2, dim=-1)
    # The real part of the inverse FFT is the inverse of the spectrum's conjugate-symmetric part.
    one = torch.ones_like(positive)
    mixed = (torch.polar(one, positive) + torch.polar(one, -negative)) / 2
    turn = torch.polar(torch.ones_like(phase), phase)
    turn[..., inner] = mixed
    drawn: Tensor = torch.fft.irfft(magnitude * turn, n=windows.shape[-1])
    return drawn.to(windows.dtype)


def _half_phase_shuffle(windows: Tensor, generator: Generator) -> Tensor:
    magnitude, phase, inner = _polar(windows)
    positive = phase[..., inner]
    order = _permutation(positive.shape[0], positive.shape[-1], generator, positive.device)
    phase[..., inner] = positive.gather(-1, order.expand_as(positive))
    drawn: Tensor = torch.fft.irfft(torch.polar(magnitude, phase), n=windows.shape[-1])
    return drawn.to(windows.dtype)


def _phase_random(windows: Tensor, generator: Generator) -> Tensor:
    n_samples = windows.shape[-1]
    spectrum = torch.fft.rfft(_wide(windows))
    # In place: the spectra of a batch are as large as a core's cache.
    spectrum.mul_(_turn(spectrum, n_samples, generator))
    drawn: Tensor = torch.fft.irfft(spectrum, n=n_samples)
    return drawn.to(windows.dtype)


def _polar(windows: Tensor) -> tuple[Tensor, Tensor, slice]:
    """Magnitude and phase [batch, channel, bin], and the bins that are free to turn."""
    spectrum = torch.fft.rfft(_wide(windows))
    return spectrum.abs(), spectrum.angle(), slice(1, (windows.shape[-1] + 1) // 2)


def _turn(spectrum: Tensor, n_samples: int, generator: Generator) -> Tensor:
    """Complex64[batch, 1, bin] to turn rfft spectra by: phasors, and 1 where a bin must stay real."""
    turn = phasors((spectrum.shape[0], 1, spectrum.shape[-1]), generator, spectrum.device)
    turn[..., 0] = 1
    turn[..., (n_samples + 1) // 2 :] = 1
    return turn


def phasors(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Complex64 numbers of magnitude 1 and uniform random phase, one of 256 evenly spaced ones.

    The moments of such a number up to the 255th are those of a continuous phase, and eight are looked up with each
    64-bit draw: five times as fast as a float, a sine and a cosine for each.
    """
    n = math.prod(shape)
    bits = torch.empty(-(-n // 8), dtype=torch.int64, device=generator.device)
    bits.random_(-(2**63), None, generator=generator)
    steps = bits.view(torch.uint8)[:n].to(device, torch.int32)
    phase = torch.arange(256, device=device) * (math.tau / 256)
    return torch.complex(phase.cos(), phase.sin()).index_select(0, steps).view(shape)


def _wide(windows: Tensor) -> Tensor:
    """Half precision has no FFT on every device."""
    return windows if windows.dtype == torch.float64 else windows.float()


def _draw(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _permutation(batch: int, n: int, generator: Generator, device: torch.device) -> Tensor:
    """Int64[batch, 1, n]: one permutation of 0 .. n-1 per window."""
    return _draw((batch, 1, n), generator, device).argsort(dim=-1)


RANDOMISERS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = MappingProxyType(
    {
        "none": _none,
        "sample_shuffle": _sample_shuffle,
        "phase_shuffle": _phase_shuffle,
        "half_phase_shuffle": _half_phase_shuffle,
        "phase_random": _phase_random,
    }
)


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
