"""Vary training windows in batches on the training device: other sensors, other vehicles, other tempos.

A window is drawn with context on both sides, varied with it, and cut back, so that the edge effects of filters lie
outside the window.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from data.conditioning import band_of
from data.config import AugmentConfig, DataConfig
from data.mixing.coupling import heard_by_references
from data.mixing.disturbance import (
    FLUTTER_KNOT_S,
    bumps,
    engine_lines,
    flat_noise,
    mixed_with_next,
    reference_gains,
    uniform,
    wander,
    wander_basis,
)
from data.mixing.noise import TINY, NoiseSource
from data.mixing.response import filtered, octaves_from_centre, resonance_response, tilt_response
from data.mixing.starts import Starts
from data.mixing.tempo import Places, TempoWindows
from data.mixing.windows import with_silence

CONTEXT_S = 0.25
MIX_DB = 6.0
RESONANCE_BEYOND = 2**0.25  # how far outside the band a resonance may lie
LEAST_Q, MOST_Q = 1.0, 6.0
# Random numbers per clean window and per reference channel, equal for all windows of a group, and per noise window.
N_CLEAN, N_REFERENCE, N_NOISE = 6, 2, 12


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The random numbers of an epoch, drawn at once.

    clean_starts, noise_starts, second_starts: int64[window].
    of_clean, of_noise: float32[draw, window], from 0 to 1.
    of_references: float32[draw, reference, window], from 0 to 1.
    """

    clean_starts: Tensor
    noise_starts: Tensor
    second_starts: Tensor
    of_clean: Tensor
    of_noise: Tensor
    of_references: Tensor

    def of(self, now: slice) -> "Plan":
        """Return the plan of the windows `now`."""
        return Plan(*(getattr(self, field.name)[..., now] for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Varied:
    """Varied windows.

    clean, noise: float32[window, channel, time].
    peak: float32[window], largest magnitude of channel 0 of `clean`.
    """

    clean: Tensor
    noise: Tensor
    peak: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Augmenter:
    """Draws varied windows. It has no random state: draws depend on the generator that is passed in.

    cleans: clean windows with context, at any tempo.
    n_references: number of reference channels of noise windows.
    before: samples of context before a window.
    group: clean windows of a group, see data.config.DataConfig.
    frequency_hz, octaves: float32[bin], of the FFT of a window with context.
    band_gain: float32[bin], of a window's own FFT; None if the recordings are band-passed.
    tempo_gain: float32[bin], of the FFT of a window with context: the band-pass of what another tempo moves out of the
        band; None if the recordings are not band-passed or keep their tempo.
    knots, fast_knots: float32[knot, time], bases of swell and flutter, see wander_basis.
    """

    config: AugmentConfig
    cleans: TempoWindows
    n_references: int
    window: int
    before: int
    group: int
    rate_hz: float
    band_hz: tuple[float, float]
    frequency_hz: Tensor
    octaves: Tensor
    band_gain: Tensor | None
    tempo_gain: Tensor | None
    knots: Tensor
    fast_knots: Tensor

    def plan(self, clean_starts: Tensor, noise_starts: Tensor, noises: Starts, generator: Generator) -> Plan:
        """Draw the plan of clean and noise windows, given their starts.

        Clean windows of a group get the same sensor and tempo.

        noises: the starts of all noise windows.
        """
        n, device, n_references = len(clean_starts), clean_starts.device, self.n_references
        of_group = uniform((N_CLEAN + N_REFERENCE * n_references, n // self.group), generator, device)
        of_sensor = of_group.repeat_interleave(self.group, dim=1)
        of_noise = uniform((N_NOISE, n), generator, device)
        return Plan(
            clean_starts,
            noise_starts,
            noises.pick(of_noise[0]),
            of_sensor[:N_CLEAN],
            of_noise,
            of_sensor[N_CLEAN:].view(N_REFERENCE, n_references, n),
        )

    def draw(
        self,
        places: Places,
        plan: Plan,
        source: NoiseSource,
        clean_power: Tensor,
        noise_power: Tensor,
        generator: Generator,
    ) -> Varied:
        """Return varied windows without context.

        places: of the clean windows.
        plan: of these windows.
        source: of noise windows with context.
        clean_power, noise_power: float32[window], in-band power that channel 0 gets.
        """
        clean, noise = self._clean(places, plan), self._noise(plan, source, generator)
        if self.config.band_again > 0 and source.banded:
            is_again = uniform((len(clean), 1, 1), generator, clean.device) < self.config.band_again
            clean, noise = (torch.where(is_again, filtered(x, source.gain), x) for x in (clean, noise))
        if self.config.reference_heart > 0 and noise.shape[1] > 1:
            clean = self._with_hearts_in_references(clean, noise.shape[1], generator)
        clean = self._levelled(clean, clean_power, self._sign(plan.of_clean[1]))
        noise = self._levelled(noise, noise_power, self._sign(plan.of_noise[1]))
        if self.config.reference_foreign > 0 and noise.shape[1] > 1:
            noise[:, 1:] = mixed_with_next(noise[:, 1:], plan.of_noise[10] * self.config.reference_foreign)
        clean = with_silence(clean, noise.shape[1])
        dropout = self.config.reference_dropout
        if dropout > 0 and noise.shape[1] > 1:
            is_on = (dropout <= plan.of_references[1].T).float()[..., None]
            noise[:, 1:].mul_(is_on)
            clean[:, 1:].mul_(is_on)
        return Varied(clean, noise, clean[:, 0].abs().amax(-1))

    def _clean(self, places: Places, plan: Plan) -> Tensor:
        """Return clean windows with context, filtered by their sensors."""
        config = self.config
        clean = self.cleans.play(places)
        response = self._sensor(plan.of_clean[2:6], config.clean_tilt_db_per_octave, config.clean_resonance_db)
        if self.tempo_gain is not None:
            kept = torch.where(places.longer[:, None, None] == 0, 1.0, self.tempo_gain)
            response = kept if response is None else response * kept
        return self._through(clean, response, plan)

    def _with_hearts_in_references(self, clean: Tensor, n_channels: int, generator: Generator) -> Tensor:
        """Return clean windows with context whose references hear the heart, with the probability of the config."""
        clean = with_silence(clean, n_channels)
        share, heart = self.config.reference_heart, clean[:, :1]
        heard = heard_by_references(heart, n_channels - 1, share, self.frequency_hz, self.octaves, generator)
        return torch.cat([heart, clean[:, 1:] + heard], dim=1)

    def _noise(self, plan: Plan, source: NoiseSource, generator: Generator) -> Tensor:
        """Return noise windows with context, mixed, disturbed and filtered."""
        config, chance = self.config, plan.of_noise
        power = source.windows.power[plan.noise_starts]
        noise = source.draw(plan.noise_starts, power, generator)
        if config.noise_flat > 0:
            noise = self._some_flat(noise, source, power, generator)
        if config.noise_mix > 0:
            second_power = source.windows.power[plan.second_starts]
            level = (power / second_power.clamp_min(TINY)).sqrt() * 10 ** (_either(chance[6], MIX_DB) / 20)
            level = torch.where(chance[7] < config.noise_mix, level, 0.0)
            noise.addcmul_(source.draw(plan.second_starts, second_power, generator), level[:, None, None])
        for most_db, drawn, basis in (
            (config.noise_swell_db, chance[8], self.knots),
            (config.noise_flutter_db, chance[11], self.fast_knots),
        ):
            if most_db > 0:
                spread = drawn[:, None] * (most_db * math.log(10) / 20)
                noise.mul_(torch.exp(wander((len(noise),), basis, generator) * spread)[:, None])
        if config.engine_lines_db > 0 or config.bumps_per_minute > 0:
            self._disturb(noise, source, chance[9], generator)
        response = self._sensor(chance[2:6], config.noise_tilt_db_per_octave, config.noise_resonance_db)
        return self._through(noise, response, plan)

    def _some_flat(self, noise: Tensor, source: NoiseSource, power: Tensor, generator: Generator) -> Tensor:
        """Replace noise windows by flat noise, with the probability of the config; each keeps its in-band power."""
        flat = flat_noise((noise.shape[0], noise.shape[1], noise.shape[2]), generator, noise.device)
        in_band = filtered(flat, source.gain)
        level = (power / in_band[:, 0].square().mean(-1).clamp_min(TINY)).sqrt()
        is_flat = uniform((len(noise), 1, 1), generator, noise.device) < self.config.noise_flat
        return torch.where(is_flat, (in_band if source.banded else flat) * level[:, None, None], noise)

    def _disturb(self, noise: Tensor, source: NoiseSource, chance: Tensor, generator: Generator) -> None:
        """Add engine lines and bumps to noise windows, relative to the in-band level of each channel."""
        config, (n_windows, n_channels, n_samples) = self.config, noise.shape
        in_band = noise if self.band_gain is None else filtered(noise, source.gain)
        rms = in_band.square().mean(-1, keepdim=True).sqrt()
        if config.engine_lines_db > 0:
            lines = engine_lines((n_windows, n_channels), self.knots, self.rate_hz, self.band_hz, generator)
            raised = (10 ** (chance * config.engine_lines_db / 10) - 1).sqrt()
            noise.addcmul_(lines, rms * raised[:, None, None])
        if config.bumps_per_minute > 0:
            made = bumps(
                n_windows, n_samples, self.rate_hz, self.band_hz, source.gain, config.bumps_per_minute, generator
            )
            noise.addcmul_(made[:, None], rms * reference_gains((n_windows, n_channels), generator, noise.device))

    def _through(self, windows: Tensor, response: Tensor | None, plan: Plan) -> Tensor:
        """Filter windows by the response of their sensor, and reference channels by a further tilt of their own."""
        tilt_db, n_references = self.config.reference_tilt_db_per_octave, windows.shape[1] - 1
        if tilt_db > 0 and n_references > 0:
            own = tilt_response(self.octaves, _either(plan.of_references[0].T, tilt_db))
            own = torch.cat([torch.ones_like(own[:, :1]), own], dim=1)
            response = own if response is None else response * own
        return windows if response is None else filtered(windows, response)

    def _sensor(self, chance: Tensor, tilt_db: float, resonance_db: float) -> Tensor | None:
        """Return the sensor's response for each window, complex64[window, 1, bin]; None if it changes nothing."""
        tilt = tilt_response(self.octaves, _either(chance[0], tilt_db)) if tilt_db > 0 else None
        if resonance_db == 0:
            return None if tilt is None else tilt[:, None]
        low_hz, high_hz = self.band_hz[0] / RESONANCE_BEYOND, self.band_hz[1] * RESONANCE_BEYOND
        centre_hz = low_hz * (high_hz / low_hz) ** chance[1]
        quality = LEAST_Q * (MOST_Q / LEAST_Q) ** chance[2]
        resonance = resonance_response(self.frequency_hz, centre_hz, quality, chance[3] * resonance_db)
        return (resonance if tilt is None else resonance * tilt)[:, None]

    def _sign(self, chance: Tensor) -> Tensor:
        """Return the polarity of each window, 1 or -1."""
        return torch.where(chance < self.config.polarity, -1.0, 1.0)

    def _levelled(self, windows: Tensor, power: Tensor, sign: Tensor) -> Tensor:
        """Return the windows without context, scaled to in-band power power[window] in channel 0, with `sign`."""
        inner = windows[..., self.before : self.before + self.window]
        in_band = inner[:, 0] if self.band_gain is None else filtered(inner[:, 0], self.band_gain)
        level = sign * (power / in_band.square().mean(-1).clamp_min(TINY)).sqrt()
        return inner * level[:, None, None]


def augmenter(
    cleans: TempoWindows,
    n_references: int,
    config: DataConfig,
    band_gain: Callable[[int], Tensor],
    device: torch.device,
) -> Augmenter:
    """Build the augmenter of clean windows with context, as config.augment says.

    band_gain: returns the gain float32[bin] of the band-pass over the bins of an FFT of so many samples.
    """
    window, band_hz = config.window_samples, band_of(config)
    context = cleans.windows.context
    extra = context.before + context.after
    is_moved = config.band_hz is not None and cleans.change > 0
    frequency_hz = torch.fft.rfftfreq(window + extra, 1 / config.rate_hz, device=device)
    return Augmenter(
        config=config.augment,
        cleans=cleans,
        n_references=n_references,
        window=window,
        before=context.before,
        group=config.batch_offsets,
        rate_hz=config.rate_hz,
        band_hz=band_hz,
        frequency_hz=frequency_hz,
        octaves=octaves_from_centre(frequency_hz, band_hz),
        band_gain=None if config.band_hz is not None else band_gain(window),
        tempo_gain=band_gain(window + extra) if is_moved else None,
        knots=wander_basis(window + extra, config.rate_hz).to(device),
        fast_knots=wander_basis(window + extra, config.rate_hz, FLUTTER_KNOT_S).to(device),
    )


def context_samples(window: int, rate_hz: float) -> int:
    """Return the samples of context: CONTEXT_S on both sides, and more to give the FFT a fast, even length."""
    n = window + math.ceil(2 * CONTEXT_S * rate_hz)
    while n % 8 or next_fast_len(n, real=True) != n:
        n += 1
    return n - window


def _either(chance: Tensor, most: float) -> Tensor:
    """Return random numbers from 0 to 1 scaled to -most to most."""
    return (2 * chance - 1) * most
