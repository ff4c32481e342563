"""Training noise: windows of noise recordings, randomised in batches on their device.

A randomiser makes new noise that keeps the spectrum (or the histogram) of a window. RANDOMISERS, at the end of the
file, holds them by name. All draw the same random numbers for all channels of a window, so that the channels keep what
they have in common. Numbers are drawn on the generator's device; a CPU generator gives equal windows on every device.

`NoiseSource` is what a mixture draws its noise from. Two shortcuts compute phase-random noise of a narrow band from
fewer samples: `BandNoise` for windows and `BandRecording` for whole recordings.
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

TINY = 1e-30  # smallest power that is divided by
# Bins whose gain is below this (-80 dB) hold no noise worth randomising.
MIN_GAIN = 1e-4
# With fewer bins in the band, the leakage outside it is no longer small.
MIN_BINS = 16
# Randomisers that keep each window's magnitude spectrum, and with it the power of a band-passed window.
POWER_KEPT = ("none", "half_phase_shuffle", "phase_random")


@dataclass(frozen=True, slots=True, eq=False)
class BandNoise:
    """Band-passed noise recordings at a lower rate, for phase-random windows.

    A window's band needs only every `every`-th of its samples.

    thin: float32[channel, every * row_samples]: the samples 0, every, 2 every ... of the concatenated recordings, then
        the samples 1, 1 + every ..., and so on.
    window: samples of a window at the full rate.
    bins: bins of a window's FFT that the band-pass passes.
    """

    thin: Tensor
    every: int
    row_samples: int
    window: int
    bins: slice

    def draw(self, starts: Tensor, power: Tensor, generator: Generator) -> Tensor:
        """Draw phase-random surrogates float32[window, channel, time] of the windows at `starts`.

        Magnitudes and cross-spectra of the channels stay the same in the band, as in `randomise`.

        starts: int64[window], in the concatenated recordings.
        power: float32[window], in-band power that channel 0 gets.
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


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSource:
    """Noise windows, randomised when they are drawn.

    kind: of randomiser.
    gain: float32[bin], of the band-pass over the bins of a window's FFT.
    banded: whether the windows are already band-passed.
    band_noise: the shortcut for phase-random noise, if it can be used.
    """

    windows: Windows
    kind: str
    gain: Tensor
    banded: bool
    band_noise: BandNoise | None

    def draw(self, starts: Tensor, power: Tensor, generator: torch.Generator) -> Tensor:
        """Draw windows float32[window, channel, time] at `starts`.

        If the randomiser changes their in-band power, they are scaled to power[window].
        """
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
    """Return the source of noise `windows` randomised by `kind`; arguments as in NoiseSource."""
    band_noise = thin_out(windows, gain) if banded and kind == "phase_random" else None
    return NoiseSource(windows, kind, gain, banded, band_noise)


def randomise(windows: Tensor, kind: str, generator: Generator) -> Tensor:
    """Randomise windows float[batch, channel, time]; shape, dtype and device stay the same.

    kind: a name in RANDOMISERS:

    none                returns the input.
    sample_shuffle      permutes the samples in time. The histogram stays, the spectrum becomes white.
    phase_shuffle       permutes the phases of all FFT bins, including negative frequencies, and takes the real part.
                        Mirror bins no longer match, so a bin of magnitude m gets m |cos d|, with d half the mismatch,
                        and about half the power is lost.
    half_phase_shuffle  permutes the phases of the positive frequencies and mirrors them (conjugate symmetry). The
                        magnitude spectrum stays.
    phase_random        adds a uniform random phase to each bin, equal for all channels. Magnitudes and cross-spectra
                        stay. (Theiler et al., Physica D 58 (1992) 77; for several channels Prichard & Theiler, Phys.
                        Rev. Lett. 73 (1994) 951.)

    The last three do not change the bins at 0 Hz and, for even lengths, at half the rate.

    Raises ValueError for an unknown kind, windows that are not floating [batch, channel, time], or fewer than two
    samples.
    """
    if kind not in RANDOMISERS:
        raise ValueError(f"randomiser is {kind!r}; known: {', '.join(RANDOMISERS)}")
    if windows.ndim != 3 or not windows.is_floating_point() or windows.shape[-1] < 2:
        raise ValueError(
            f"randomise: windows are {windows.dtype}{list(windows.shape)}; "
            "floating [batch, channel, time] with at least 2 samples is needed"
        )
    return RANDOMISERS[kind](windows, generator)


def surrogate(signal: Tensor, generator: Generator) -> Tensor:
    """Return a phase-random surrogate of a long recording float[channel, time]; mean, level and spectrum stay.

    The FFT has the next fast length; the surrogate is cut back to `time` and its level restored. The magnitude spectrum
    stays exactly the same if `time` is a fast length (a product of 2, 3 and 5), else up to smoothing over neighbouring
    bins.

    Raises ValueError if the signal is not floating [channel, time] with at least two samples.
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


@dataclass(frozen=True, slots=True, eq=False)
class BandRecording:
    """The spectrum of a band-passed recording, for phase-random surrogates.

    spectrum: complex64[channel, bin], the bins from `first` on of an FFT over n_fast samples.
    n_samples: of the recording.
    """

    spectrum: Tensor
    first: int
    n_fast: int
    n_samples: int

    def draw(self, generator: Generator) -> Tensor:
        """Draw a surrogate float32[channel, time] of the recording with its level, as `surrogate` does."""
        turned = self.spectrum * phasors((1, self.spectrum.shape[-1]), generator, self.spectrum.device)
        whole = turned.new_zeros((len(turned), self.n_fast // 2 + 1))
        whole[:, self.first : self.first + turned.shape[-1]] = turned
        drawn: Tensor = torch.fft.irfft(whole, n=self.n_fast)[:, : self.n_samples]
        return drawn.mul_(math.sqrt(self.n_fast / self.n_samples))


def analyse(signal: Tensor, gain: Tensor) -> BandRecording:
    """Return the in-band spectrum of a band-passed signal float32[channel, time].

    gain: float32[bin], of its band-pass over the bins of an FFT of any even length.
    """
    n_samples = signal.shape[-1]
    n_fast = int(next_fast_len(n_samples, real=True))
    per_bin = n_fast / (2 * (len(gain) - 1))
    lowest, highest = passed(gain)
    first, last = max(1, int((lowest - 1) * per_bin)), min(math.ceil((highest + 1) * per_bin), (n_fast - 1) // 2)
    spectrum = torch.fft.rfft(signal, n=n_fast)[:, first : last + 1].clone()
    return BandRecording(spectrum, first, n_fast, n_samples)


def thin_out(noise: Windows, gain: Tensor) -> BandNoise | None:
    """Return the noise at a lower rate; None if too few bins pass or the band is too wide.

    gain: float32[window // 2 + 1], of the noise's band-pass over the bins of a window's FFT.
    """
    window, (first, last) = noise.views.shape[-1], passed(gain)
    if last - first + 1 < MIN_BINS or 2 * last >= window:
        return None
    every = next(d for d in range(window // (2 * last + 1), 0, -1) if window % d == 0)
    n_missing = -noise.signals.shape[-1] % every
    padded = torch.nn.functional.pad(noise.signals, (0, n_missing))
    rows = padded.view(len(padded), -1, every)
    return BandNoise(rows.transpose(1, 2).flatten(1), every, rows.shape[1], window, slice(first, last + 1))


def passed(gain: Tensor) -> tuple[int, int]:
    """Return the first and last FFT bin that a band-pass with `gain` [bin] passes; (1, 0) if there is none."""
    bins = torch.nonzero(gain[1:] >= MIN_GAIN)[:, 0] + 1
    return (int(bins[0]), int(bins[-1])) if len(bins) else (1, 0)


def phasors(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Draw complex64 numbers of magnitude 1 whose phase is uniform over 256 evenly spaced phases.

    Their moments up to the 255th equal those of a continuous phase. One 64-bit draw gives eight of them by table
    look-up, which is five times as fast as drawing a float and computing its sine and cosine.
    """
    n = math.prod(shape)
    bits = torch.empty(-(-n // 8), dtype=torch.int64, device=generator.device)
    bits.random_(-(2**63), None, generator=generator)
    steps = bits.view(torch.uint8)[:n].to(device, torch.int32)
    phase = torch.arange(256, device=device) * (math.tau / 256)
    return torch.complex(phase.cos(), phase.sin()).index_select(0, steps).view(shape)


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
    # In place, because the spectra of a batch are as large as a core's cache.
    spectrum.mul_(_turn(spectrum, n_samples, generator))
    drawn: Tensor = torch.fft.irfft(spectrum, n=n_samples)
    return drawn.to(windows.dtype)


def _polar(windows: Tensor) -> tuple[Tensor, Tensor, slice]:
    """Return magnitude and phase [batch, channel, bin], and the bins whose phase may change."""
    spectrum = torch.fft.rfft(_wide(windows))
    return spectrum.abs(), spectrum.angle(), slice(1, (windows.shape[-1] + 1) // 2)


def _turn(spectrum: Tensor, n_samples: int, generator: Generator) -> Tensor:
    """Return complex64[batch, 1, bin] to multiply rfft spectra by: phasors, and 1 for bins that must stay real."""
    turn = phasors((spectrum.shape[0], 1, spectrum.shape[-1]), generator, spectrum.device)
    turn[..., 0] = 1
    turn[..., (n_samples + 1) // 2 :] = 1
    return turn


def _wide(windows: Tensor) -> Tensor:
    """Return windows in float32 or float64, because not every device has an FFT in half precision."""
    return windows if windows.dtype == torch.float64 else windows.float()


def _draw(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Draw float32 numbers from 0 to 1."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _permutation(batch: int, n: int, generator: Generator, device: torch.device) -> Tensor:
    """Draw int64[batch, 1, n], a permutation of 0 ... n-1 per window."""
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
