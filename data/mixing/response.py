"""Frequency responses of sensors and vehicles: tilts and resonances, of minimum phase like real ones.

A response is complex64[..., bin] over the bins of a window's rfft; each window has its own.
"""

import math

import torch
from torch import Tensor

OCTAVE_DB = 20 * math.log10(2)
# More than half an octave outside the band a tilt is constant, because only the leakage of cut windows lies there.
MARGIN_OCTAVES = 0.5


def tilt_response(octaves: Tensor, slope_db: Tensor) -> Tensor:
    """Return (j f / f0)^a with a = slope / 6.02 dB.

    The magnitude in dB is linear over octaves, with 0 dB at f0. A minimum-phase system with a constant slope of 20 a dB
    per decade has a constant phase of a * 90 degrees (H. W. Bode, Network Analysis and Feedback Amplifier Design, 1945,
    ch. 14). For example, a = 2 turns a displacement into its acceleration.

    octaves: float32[bin], log2(f / f0). slope_db: float32[...], in dB per octave.
    """
    slope = slope_db[..., None]
    turn = slope * (math.pi / 2 / OCTAVE_DB)
    return torch.exp(slope * octaves * (math.log(10) / 20)) * torch.complex(turn.cos(), turn.sin())


def resonance_response(frequency_hz: Tensor, centre_hz: Tensor, quality: Tensor, gain_db: Tensor) -> Tensor:
    """Return 1 + (g - 1) B, the response of a direct path and one mode.

    B = 1 / (1 + j Q (f / f0 - f0 / f)) is a two-pole resonance that is 1 at its centre f0. The response is g there and
    1 far away: (s^2 + g s w0 / Q + w0^2) / (s^2 + s w0 / Q + w0^2), with poles and zeros in the left half-plane. (Modal
    superposition: D. J. Ewins, Modal Testing, 2nd ed. 2000, ch. 2. The same transfer function is the peaking equaliser
    of R. Bristow-Johnson, Cookbook formulae for audio EQ biquad filter coefficients.)

    frequency_hz: float32[bin]. centre_hz, quality, gain_db: float32[...], f0, Q and g in dB of each mode.
    """
    ratio = frequency_hz.clamp_min(1e-3) / centre_hz[..., None]
    detuning = quality[..., None] * (ratio - 1 / ratio)
    share = (10 ** (gain_db / 20) - 1)[..., None] / (1 + detuning.square())
    return torch.complex(1 + share, -share * detuning)


def octaves_from_centre(frequency_hz: Tensor, band_hz: tuple[float, float]) -> Tensor:
    """Return log2(f / f0) [bin] with f0 = sqrt(low * high), limited to the band and half an octave around it."""
    low, high = (math.log2(edge_hz) for edge_hz in band_hz)
    octaves = frequency_hz.clamp_min(1e-3).log2().clamp(low - MARGIN_OCTAVES, high + MARGIN_OCTAVES)
    return octaves - (low + high) / 2


def filtered(x: Tensor, response: Tensor) -> Tensor:
    """Filter x [..., time] by `response` [..., bin] with the FFT, which continues each window periodically."""
    out: Tensor = torch.fft.irfft(torch.fft.rfft(x) * response, n=x.shape[-1])
    return out
