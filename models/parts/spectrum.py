"""Short-time spectra by framing and overlap-add, from operations with a deterministic gradient on any device.

Analysis and synthesis use Hann windows that overlap by three quarters (Griffin & Lim 1984, IEEE Trans. ASSP 32:236).
The squared windows sum to 3/2 wherever four frames overlap.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from models.parts.exporting import Parts, exporting, frames_of, spectra_of

HOPS = 4
"""Hops to a window."""

_TINY = 1e-8


def short_time(x: Tensor, window_samples: int) -> Tensor:
    """Return spectra complex[..., n_frames, window_samples / 2 + 1] of float[..., n * hop], hop = window_samples / 4.

    Frame i starts at sample i * hop; n_frames = n - 3. Computed in float32 also under autocast.
    """
    hop = window_samples // HOPS
    steps = x.float().reshape(*x.shape[:-1], -1, hop)
    n_frames = steps.shape[-2] - HOPS + 1
    frames = torch.cat([steps[..., i : i + n_frames, :] for i in range(HOPS)], dim=-1)
    if exporting():
        return cast(Tensor, spectra_of(frames, _hann(window_samples, x)))
    spectra: Tensor = torch.fft.rfft(frames * _hann(window_samples, x), dim=-1)
    return spectra


def overlap_add(spectra: Tensor, window_samples: int) -> Tensor:
    """Return float[..., n * hop], the inverse of `short_time`; inexact in the first and last three hops."""
    hop = window_samples // HOPS
    if exporting():
        frames = frames_of(cast(Parts, spectra), window_samples)
    else:
        frames = torch.fft.irfft(spectra, window_samples, dim=-1)
    frames = frames * _hann(window_samples, spectra.real) / 1.5
    parts = frames.reshape(*frames.shape[:-1], HOPS, hop)
    pad = functional.pad
    total = sum(
        (pad(parts[..., i, :], (0, 0, i, HOPS - 1 - i)) for i in range(1, HOPS)),
        start=pad(parts[..., 0, :], (0, 0, 0, HOPS - 1)),
    )
    return total.flatten(-2)


def complex_of(real: Tensor, imag: Tensor) -> Tensor:
    """Return the complex tensor of two parts."""
    return cast(Tensor, Parts(real, imag)) if exporting() else torch.complex(real, imag)


def placed(in_band: Tensor, bins: slice, like: Tensor) -> Tensor:
    """Return spectra complex[..., bin] that are `in_band` in `bins` and zero elsewhere, with the bins of `like`."""
    if exporting():
        around = (bins.start, like.real.shape[-1] - bins.stop)
        return cast(Tensor, Parts(*(functional.pad(part, around) for part in (in_band.real, in_band.imag))))
    whole = like.new_zeros((*in_band.shape[:-1], like.shape[-1]))
    whole[..., bins] = in_band
    return whole


def _hann(window_samples: int, like: Tensor) -> Tensor:
    return torch.hann_window(window_samples, device=like.device, dtype=torch.float32)


def spectral_features(spectra: Tensor) -> Tensor:
    """Return features float[batch, 3 * channel, frame, bin] of spectra complex[batch, channel, frame, bin].

    They are, for each channel, the log power, scaled to about unit size, and real and imaginary part of the spectrum
    with its magnitude raised to the power 0.3 (Ephrat et al. 2018, arXiv:1804.03619).
    """
    power = spectra.real.square() + spectra.imag.square() + _TINY
    # |X|^0.3 times the phasor X / |X| is X |X|^-0.7, and |X|^-0.7 is the power raised to -0.35.
    compressed = power.pow(-0.35)
    return torch.cat((0.1 * power.log(), spectra.real * compressed, spectra.imag * compressed), dim=1)


def check_frames(model: str, window_samples: int) -> None:
    """Raise ValueError unless a window consists of whole hops of at least two samples."""
    if window_samples < 2 * HOPS or window_samples % HOPS:
        raise ValueError(
            f"{model}: window_samples = {window_samples}, must be a multiple of {HOPS} and at least {2 * HOPS}: "
            f"try {max(2 * HOPS, HOPS * round(window_samples / HOPS))}"
        )
