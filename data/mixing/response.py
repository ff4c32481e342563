"""Frequency responses that a sensor or a vehicle may have: tilts and resonances, of minimum phase as real ones are.

On float32 tensors: one response for each window, complex64[..., bin] over the bins of its rfft.
"""

import math

import torch
from torch import Tensor

OCTAVE_DB = 20 * math.log10(2)
# Beyond half an octave outside the band a tilt is level: there is nothing but the leakage of cut windows.
MARGIN_OCTAVES = 0.5


def tilt_response(octaves: Tensor, slope_db: Tensor) -> Tensor:
    """(j f / f0)^a for octaves [bin] = log2(f / f0) and slopes [...] in dB per octave, a being slope / 6.02 dB.

    The magnitude is a straight line in dB over octaves through 0 dB at f0. A minimum-phase system with a constant
    slope of 20 a dB per decade turns by a constant a * 90 degrees: H. W. Bode, Network Analysis and Feedback
    Amplifier Design (1945), ch. 14. Exact for whole a: a = 2 is the acceleration of a given displacement.
    """
    slope = slope_db[..., None]
    turn = slope * (math.pi / 2 / OCTAVE_DB)
    return torch.exp(slope * octaves * (math.log(10) / 20)) * torch.complex(turn.cos(), turn.sin())


def resonance_response(frequency_hz: Tensor, centre_hz: Tensor, quality: Tensor, gain_db: Tensor) -> Tensor:
    """A direct path and one mode beside it: 1 + (g - 1) B, of frequencies [bin] and modes [...].

    B = 1 / (1 + j Q (f / f0 - f0 / f)) is the response of a two-pole resonance, 1 at its centre f0, so the whole is g
    there and 1 far away: (s^2 + g s w0 / Q + w0^2) / (s^2 + s w0 / Q + w0^2), whose poles and zeros lie in the left
    half-plane. Modal superposition as in D. J. Ewins, Modal Testing (2nd ed. 2000), ch. 2; the same transfer function
    as the peaking equaliser of R. Bristow-Johnson, Cookbook formulae for audio EQ biquad filter coefficients.
    """
    ratio = frequency_hz.clamp_min(1e-3) / centre_hz[..., None]
    detuning = quality[..., None] * (ratio - 1 / ratio)
    share = (10 ** (gain_db / 20) - 1)[..., None] / (1 + detuning.square())
    return torch.complex(1 + share, -share * detuning)


def octaves_from_centre(frequency_hz: Tensor, band_hz: tuple[float, float]) -> Tensor:
    """log2(f / f0) [bin] of the band's centre f0 = sqrt(low * high), kept within the band and half an octave around."""
    low, high = (math.log2(edge_hz) for edge_hz in band_hz)
    octaves = frequency_hz.clamp_min(1e-3).log2().clamp(low - MARGIN_OCTAVES, high + MARGIN_OCTAVES)
    return octaves - (low + high) / 2


def filtered(x: Tensor, response: Tensor) -> Tensor:
    """x [..., time] through `response` [..., bin], by the FFT: as if each window followed on itself."""
    out: Tensor = torch.fft.irfft(torch.fft.rfft(x) * response, n=x.shape[-1])
    return out
