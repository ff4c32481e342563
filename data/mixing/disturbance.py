"""Variations of vehicle noise, in batches: a changing level, engine lines, bumps, independent references, flat noise.

All numbers are drawn on the generator's device, so a CPU generator gives equal results on every device.
"""

import math

import torch
from torch import Generator, Tensor

from data.mixing.noise import TINY

SWELL_KNOT_S = 1.0
FLUTTER_KNOT_S = 0.1
N_LINES = 3
LEAST_WANDER, MOST_WANDER = 0.01, 0.03
LINE_SPREAD_DB = 12.0
LINE_SWELL = 0.3
REFERENCE_DB = 6.0
LEAST_COHERENCE, MOST_COHERENCE = 0.3, 0.7
LEAST_AXLE_S, MOST_AXLE_S = 0.2, 0.4
LEAST_DECAY_S, MOST_DECAY_S = 0.03, 0.08
LEAST_BUMP_DB, MOST_BUMP_DB = 6.0, 18.0
PATH_TAPS, PATH_DECAY_TAPS = 15, 3.0  # of the path between two sensors, 60 ms at 250 Hz


def uniform(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Draw uniform float32 numbers from 0 to 1."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def wander_basis(n_samples: int, rate_hz: float, knot_s: float = SWELL_KNOT_S) -> Tensor:
    """Return triangular functions float32[knot, time], knot_s apart, as a basis for `wander`.

    They are scaled so that their sum with standard normal weights has variance 1 at every sample.
    """
    at = torch.arange(n_samples, dtype=torch.float64) / (knot_s * rate_hz)
    knots = torch.arange(math.ceil(float(at[-1])) + 1, dtype=torch.float64)
    hats = (1 - (at - knots[:, None]).abs()).clamp_min(0)
    return (hats / hats.square().sum(0).sqrt()).float()


def wander(shape: tuple[int, ...], basis: Tensor, generator: Generator) -> Tensor:
    """Draw normal processes float32[*shape, time] of variance 1 that change from knot to knot of `basis`."""
    knots = torch.randn((*shape, len(basis)), generator=generator, device=generator.device)
    return knots.to(basis.device) @ basis


def reference_gains(shape: tuple[int, int], generator: Generator, device: torch.device) -> Tensor:
    """Draw gains float32[window, channel, 1]: 1 for channel 0, within REFERENCE_DB of 1 for the reference channels."""
    gains = 10 ** (REFERENCE_DB / 20 * (2 * uniform((*shape, 1), generator, device) - 1))
    gains[:, 0] = 1
    return gains


def engine_lines(
    shape: tuple[int, int], basis: Tensor, rate_hz: float, band_hz: tuple[float, float], generator: Generator
) -> Tensor:
    """Draw engine lines float32[window, channel, time] of power 1 in channel 0, for a shape (windows, channels).

    The lines are up to N_LINES neighbouring orders of one shaft that lie in the band; zeros if none does. The speed of
    the shaft varies by 1 to 3 %, and the amplitude of each line varies separately.

    A reference channel has a gain within 6 dB of 1, and a separate phase for each line. Its path varies by a phase of
    variance -ln k, so that its coherence with channel 0 is k, drawn from 0.3 to 0.7.

    basis: see `wander_basis`. band_hz: edges of the band.
    """
    n_windows, n_channels = shape
    device = basis.device
    low_hz, high_hz = band_hz[0] * (1 + MOST_WANDER), band_hz[1] / (1 + MOST_WANDER)
    chance = uniform((2, n_windows, 1), generator, device)
    shaft_hz = band_hz[0] / N_LINES * (high_hz * N_LINES / band_hz[0]) ** chance[0]
    orders = (low_hz / shaft_hz).ceil() + torch.arange(N_LINES, device=device)
    level = 10 ** (-LINE_SPREAD_DB * uniform((n_windows, N_LINES), generator, device) / 20)
    level = torch.where(orders * shaft_hz <= high_hz, level, 0.0)
    most = LEAST_WANDER + (MOST_WANDER - LEAST_WANDER) * chance[1]
    speed_hz = shaft_hz * (1 + most * wander((n_windows,), basis, generator).tanh())
    # In float64, because a float32 phase would be inexact in long windows.
    cycles = speed_hz.double().cumsum(-1) / rate_hz
    turn = (orders[..., None] * cycles[:, None]).frac().float() + uniform((n_windows, N_LINES, 1), generator, device)
    angle = turn.mul_(math.tau)
    swell = level[..., None] * torch.exp(LINE_SWELL * wander((n_windows, N_LINES), basis, generator))
    # Each line and its quadrature, [window, 2 line, time]; each channel is a linear combination of them.
    lines = torch.cat([swell * angle.cos(), swell * angle.sin()], dim=1)
    first = lines[:, :N_LINES].sum(1, keepdim=True)
    unit = first.square().mean(-1, keepdim=True).clamp_min(1e-30).rsqrt()
    if n_channels == 1:
        return first * unit
    references = (n_windows, n_channels - 1)
    gain = reference_gains(shape, generator, device)[:, 1:]
    phase = math.tau * uniform((*references, N_LINES), generator, device)
    in_phase, quadrature = gain * phase.cos(), gain * phase.sin()
    coherence = LEAST_COHERENCE + (MOST_COHERENCE - LEAST_COHERENCE) * uniform((*references, 1), generator, device)
    path = wander(references, basis, generator) * (-coherence.log()).sqrt()
    received = torch.cat([in_phase, -quadrature], dim=-1) @ lines * path.cos()
    received -= torch.cat([quadrature, in_phase], dim=-1) @ lines * path.sin()
    return torch.cat([first, received], dim=1) * unit


def bumps(
    n_windows: int,
    n_samples: int,
    rate_hz: float,
    band_hz: tuple[float, float],
    band_gain: Tensor,
    per_minute: float,
    generator: Generator,
) -> Tensor:
    """Draw bumps float32[window, time], `per_minute` of them on average, for noise of RMS 1.

    A bump is a pair of ringing bursts exp(-t / T) sin(2 pi f t). The second is weaker and follows after 200 to 400 ms
    (the wheelbase over the speed, equal for all bumps of a window). f lies in the band, T is 30 to 80 ms, and the peak
    of a burst is 6 to 18 dB above 1. The bursts are made from their spectra and filtered by band_gain [bin]; a burst
    that reaches beyond the end of the window continues at its start.
    """
    device = band_gain.device
    expected = per_minute / 60 * n_samples / rate_hz
    n_slots = max(1, math.ceil(2 * expected))
    chance = uniform((7, n_windows, n_slots, 1), generator, device)
    there = chance[0] < expected / n_slots
    start_s = chance[1] * (n_samples / rate_hz)
    axle_s = LEAST_AXLE_S + (MOST_AXLE_S - LEAST_AXLE_S) * chance[2, :, :1]
    ring = math.tau * band_hz[0] * (band_hz[1] / band_hz[0]) ** chance[3]
    decay_s = LEAST_DECAY_S * (MOST_DECAY_S / LEAST_DECAY_S) ** chance[4]
    peak = torch.where(there, 10 ** ((LEAST_BUMP_DB + (MOST_BUMP_DB - LEAST_BUMP_DB) * chance[5]) / 20), 0.0)
    second = 0.5 + 0.5 * chance[6]
    angular = math.tau * torch.fft.rfftfreq(n_samples, 1 / rate_hz, device=device)
    burst = burst_spectrum(angular, ring, decay_s) * peak
    pair = _phasor(-angular * start_s) * (1 + second * _phasor(-angular * axle_s))
    made: Tensor = torch.fft.irfft((burst * pair).sum(1) * (band_gain * rate_hz), n=n_samples)
    return made


def burst_spectrum(angular: Tensor, ring: Tensor, decay_s: Tensor) -> Tensor:
    """Return the Fourier transform of exp(-t / T) sin(w t), t >= 0, at angular frequencies in rad/s.

    ring: w in rad/s. decay_s: T.
    """
    pole = 1 / decay_s
    return ring / torch.complex(pole**2 + ring**2 - angular.square(), 2 * pole * angular)


def _phasor(phase: Tensor) -> Tensor:
    """Return exp(j phase)."""
    # torch.polar takes five times as long.
    return torch.complex(phase.cos(), phase.sin())


def mixed_with_next(references: Tensor, share: Tensor) -> Tensor:
    """Replace `share` [window] of the power of references [window, reference, time] by those of the next window.

    The last window takes those of the first; a single window stays unchanged. Each reference keeps its power.
    """
    if len(references) == 1:
        return references
    other = references.roll(-1, dims=0)
    power, other_power = (x.square().mean(-1, keepdim=True) for x in (references, other))
    other = other * (power / other_power.clamp_min(TINY)).sqrt()
    return references * (1 - share).sqrt()[:, None, None] + other * share.sqrt()[:, None, None]


def flat_noise(shape: tuple[int, int, int], generator: Generator, device: torch.device) -> Tensor:
    """Draw Gaussian noise float32[window, channel, time] with a flat spectrum and variance 1 in channel 0.

    A reference channel is the sum of channel 0 through a random path and of noise of its own. Its coherence with
    channel 0 is drawn uniformly from 0 to 1, and its gain is within REFERENCE_DB of 1. The taps of a path are normal
    and decay from the middle one.
    """
    n_windows, n_channels, n_samples = shape
    drawn = torch.randn(shape, generator=generator, device=generator.device).to(device)
    if n_channels == 1:
        return drawn
    n_references = n_channels - 1
    coherence = uniform((n_windows, n_references, 1), generator, device)
    taps = torch.randn((n_windows * n_references, 1, PATH_TAPS), generator=generator, device=generator.device).to(
        device
    )
    middle = PATH_TAPS // 2
    taps = taps * torch.exp(-(torch.arange(PATH_TAPS, device=device) - middle).abs() / PATH_DECAY_TAPS)
    taps = taps / taps.square().sum(-1, keepdim=True).clamp_min(TINY).sqrt()
    through = torch.nn.functional.conv1d(drawn[:, 0][None], taps, padding=middle, groups=n_windows)
    heard = through.view(n_windows, n_references, n_samples)
    references = coherence.sqrt() * heard + (1 - coherence).sqrt() * drawn[:, 1:]
    return torch.cat([drawn[:, :1], references], dim=1) * reference_gains((n_windows, n_channels), generator, device)
