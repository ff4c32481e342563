"""Mixtures: windows of clean + gain x noise, in batches for training and fixed for validation and test.

All recordings lie on the training device. A batch takes one gather from a view of all windows, one batched FFT for the
randomiser, and an addition; no window is made separately, and no data is copied from host to device during training.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfreqz
from torch import Tensor

from data.config import DataConfig, HeldOutConfig
from data.corpus import HEART_BAND_HZ, Segment, Split
from data.ecg import heart_rate_bpm
from data.mixing.augment import augmenter
from data.mixing.noise import TINY, NoiseSource, analyse, noise_source, surrogate
from data.mixing.response import filtered
from data.mixing.windows import Windows, cut, group_heads, odds_of, running_peak, widened

_D = TypeVar("_D", bound=np.generic)

HEADROOM = 1.1
_FINE = 1 << 14  # samples of the FFT that finds the edges of a band


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A training batch.

    noisy: float32[window, channel, time], divided by `scale`.
    clean: float32[window, 1, time], divided by `scale`; |clean| < 1, so that a model with bounded output can reach it.
    scale: float32[window, 1, 1].
    snr_db: float32[window], SNR in the heart's band.
    """

    noisy: Tensor
    clean: Tensor
    scale: Tensor
    snr_db: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A fixed mixture: the same pairs of windows at every SNR. Its arrays are read-only.

    noisy: float32[snr, window, channel, time].
    clean: float32[window, time].
    noise: float32[snr, window, time], as mixed into channel 0.
    reference_bpm: float64[window], heart rate from R peaks; NaN if unknown.
    recording: int64[window], index of the clean recording.
    in_band: whether all signals are band-passed.
    """

    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    noise: NDArray[np.float32]
    snrs_db: tuple[float, ...]
    reference_bpm: NDArray[np.float64]
    recording: NDArray[np.int64]
    rate_hz: float
    in_band: bool


def window_scale(noisy: Tensor) -> Tensor:
    """Return the scale [..., 1, 1] of noisy windows [..., channel, time] for a model, from channel 0."""
    peak = _peak(noisy[..., :1, :])
    return torch.where(peak > 0, peak * HEADROOM, 1.0)


def _peak(x: Tensor) -> Tensor:
    """Return the largest magnitude over time."""
    return torch.maximum(x.amax(dim=-1, keepdim=True), -x.amin(dim=-1, keepdim=True))


class Mixture:
    """Training batches of one split. A mixture has no random state: draws depend on the generator that is passed in."""

    def __init__(self, split: Split, config: DataConfig, device: torch.device) -> None:
        window = config.window_samples
        self.config = config
        self.device = device
        self.clean = cut(split.clean, window, config.stride_samples, device)
        self.noise = cut(split.noise, window, 1, device)
        self.heads = self.clean.starts
        if config.batch_offsets > 1:
            self.heads = group_heads(self.clean, config.batch_offsets, config.offset_samples)
        self.head_odds = odds_of(split.clean, self.heads)
        self.noise_odds = odds_of(split.noise, self.noise.starts)
        self.clean_peak = torch.from_numpy(running_peak([s.signals[0] for s in split.clean], window)).to(device)
        gain = band_gain(window, config).to(device)
        self.augmenter = augmenter(split, config, gain, device) if config.augment.active else None
        self.per_epoch = config.randomise_per == "epoch" and config.randomiser != "none"
        self.band_recordings = None
        if config.band_hz is not None and self.per_epoch:
            gain = band_gain(_FINE, config).to(device)
            self.band_recordings = [analyse(part, gain) for part in self._recordings()]
        self.source = None if self.per_epoch else self._source(self.noise, config.randomiser)

    @property
    def n_windows(self) -> int:
        """Return the number of clean windows at the config's stride, which is one pass over the data."""
        return len(self.clean.starts)

    def epoch(
        self,
        n_steps: int,
        batch_size: int,
        generator: torch.Generator,
        *,
        gain: float,
        spread_db: float = 0.0,
        per_window: bool = False,
    ) -> Iterator[Batch]:
        """Yield `n_steps` batches.

        Clean windows are drawn without repetition until all are used, noise windows at any offset. If recordings have
        different weights (data.config.Source), windows are drawn by weight and with repetition. Randomised and varied
        windows keep their in-band power.

        batch_size: rounded down to whole groups of config.batch_offsets, at least one group.
        generator: on the mixture's device.
        gain: of the noise. The gain of each window is lowered by up to `spread_db`, uniform in dB.
        per_window: first scale each noise window to the in-band power of its clean window, so that a gain of g is an
            SNR of exactly -20 log10 g dB. False leaves the levels as recorded, as the lab did.
        """
        noises = self._surrogate(generator) if self.per_epoch else self.noise
        source = self.source or self._source(noises, "none")
        # Drawn for the whole epoch at once, which is faster than drawing in each step.
        batch_size = self.config.batch_windows(batch_size)
        n = n_steps * batch_size
        starts = self._starts(n, generator)
        noise_starts = self._pair(starts, generator)
        power = noises.power[noise_starts]
        ratio = self.clean.power[starts] / power.clamp_min(TINY)
        gains = torch.full((n,), gain, device=self.device)
        if spread_db > 0:
            drop_db = torch.rand(n, generator=generator, device=self.device) * spread_db
            gains = gains * 10 ** (-drop_db / 20)
        if per_window:
            gains = gains * ratio.sqrt()
        snr_db = 10 * (ratio.clamp_min(TINY).log10() - gains.square().clamp_min(TINY).log10())
        plan = None
        if self.augmenter is not None:
            plan = self.augmenter.plan(starts, self.noise, noise_starts, self.noise_odds, generator)
        for step in range(n_steps):
            now = slice(step * batch_size, (step + 1) * batch_size)
            # No reference to a batch is kept, so that the next batch reuses memory that is still in the cache.
            if self.augmenter is not None and plan is not None:
                powers = self.clean.power[starts[now]], power[now]
                varied = self.augmenter.draw(plan.of(now), source, *powers, generator)
                yield mix(varied.clean, varied.noise, gains[now], varied.peak, snr_db[now])
                del varied
            else:
                yield mix(
                    self.clean.take(starts[now]),
                    source.draw(noise_starts[now], power[now], generator),
                    gains[now],
                    self.clean_peak[starts[now]],
                    snr_db[now],
                )

    def _starts(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the starts of n clean windows, in groups of config.batch_offsets."""
        heads = self.heads[self._order(n // self.config.batch_offsets, generator)]
        offsets = self.config.offset_samples * torch.arange(self.config.batch_offsets, device=self.device)
        return (heads[:, None] + offsets).flatten()

    def _order(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n indices of group heads: by weight, or each once per pass."""
        if self.head_odds.sums is not None:
            return self.head_odds.pick(torch.rand(n, generator=generator, device=self.device))
        passes = -(-n // len(self.heads))
        drawn = [torch.randperm(len(self.heads), generator=generator, device=self.device) for _ in range(passes)]
        return torch.cat(drawn)[:n]

    def _pair(self, starts: Tensor, generator: torch.Generator) -> Tensor:
        """Return the start of a noise window for each clean window."""
        n = len(self.noise.starts)
        if self.config.pairing == "index":
            return self.noise.starts[starts % n]
        if self.noise_odds.sums is not None:
            return self.noise.starts[
                self.noise_odds.pick(torch.rand(len(starts), generator=generator, device=self.device))
            ]
        return self.noise.starts[torch.randint(n, (len(starts),), generator=generator, device=self.device)]

    def _source(self, noise: Windows, kind: str) -> NoiseSource:
        """Return the source of `noise` windows randomised by `kind`; with context if windows are varied."""
        if self.augmenter is not None:
            before = self.augmenter.before
            noise = widened(noise, before, self.augmenter.extra - before)
        gain = band_gain(noise.window, self.config).to(self.device)
        return noise_source(noise, kind, gain, banded=self.config.band_hz is not None)

    def _recordings(self) -> tuple[Tensor, ...]:
        """Return the signals [channel, time] of each noise recording."""
        return torch.split(self.noise.signals, list(self.noise.lengths), dim=1)

    def _surrogate(self, generator: torch.Generator) -> Windows:
        """Draw a surrogate of each noise recording. It is stationary, so the powers of its windows are recomputed."""
        if self.band_recordings is not None:
            signals = torch.cat([recording.draw(generator) for recording in self.band_recordings], dim=1)
            return self.noise.replaced(signals, signals[0])
        drawn = [surrogate(part, generator) for part in self._recordings()]
        gains = [band_gain(part.shape[-1], self.config).to(self.device) for part in drawn]
        in_band = [filtered(part[0], gain) for part, gain in zip(drawn, gains, strict=True)]
        return self.noise.replaced(torch.cat(drawn, dim=1), torch.cat(in_band))


def mix(clean: Tensor, noise: Tensor, gains: Tensor, clean_peak: Tensor, snr_db: Tensor) -> Batch:
    """Return the batch of clean + gains x noise, scaled for a model.

    clean, noise: float32[window, channel, time]; both are overwritten.
    gains: float32[window].
    clean_peak: float32[window], largest magnitude of each clean window's channel 0.
    snr_db: float32[window], copied to the batch.
    """
    noisy = torch.addcmul(clean, noise, gains[:, None, None], out=noise)
    # If noise cancels the peaks of the clean window, the clean peak determines the scale, so that |clean| < 1.
    scale = torch.maximum(window_scale(noisy), clean_peak[:, None, None] * HEADROOM)
    factor = scale.reciprocal()
    return Batch(noisy.mul_(factor), clean[:, :1].mul_(factor), scale, snr_db)


def band_gain(n_samples: int, config: DataConfig) -> Tensor:
    """Return the gain float32[n_samples // 2 + 1] of data.filters.bandpass, forwards and backwards, at each FFT bin.

    The band is that of the config, or the heart's band if the config has none.
    """
    sos = butter(4, config.band_hz or HEART_BAND_HZ, btype="bandpass", fs=config.rate_hz, output="sos")
    _, response = sosfreqz(sos, np.fft.rfftfreq(n_samples, 1 / config.rate_hz), fs=config.rate_hz)
    return torch.from_numpy((np.abs(response) ** 2).astype(np.float32))


def held_out(split: Split, config: DataConfig, plan: HeldOutConfig) -> HeldOut:
    """Return the fixed mixture of `plan`. It depends on the data and the plan only, on nothing that a search samples.

    Clean windows are spread evenly over the split's recordings. Noise windows lie at seeded random offsets and are not
    randomised.
    """
    window = config.window_samples
    rng = np.random.default_rng(plan.seed)
    device = torch.device("cpu")
    cleans = cut(split.clean, window, 1, device)
    noises = cut(split.noise, window, 1, device)
    picks = np.linspace(0, len(cleans.starts) - 1, plan.n_windows).round().astype(np.int64)
    starts = cleans.starts[torch.from_numpy(picks)]
    noise_starts = noises.starts[torch.from_numpy(rng.integers(len(noises.starts), size=plan.n_windows))]
    clean, noise = cleans.take(starts), noises.take(noise_starts)
    unit = (cleans.power[starts] / noises.power[noise_starts]).sqrt()[:, None, None] * noise
    scaled = torch.stack([unit * 10 ** (-snr_db / 20) for snr_db in plan.snrs_db])
    owners, reference_bpm = _references(split.clean, starts.numpy(), window, config.rate_hz)
    return HeldOut(
        noisy=_read_only((clean + scaled).numpy()),
        clean=_read_only(clean[:, 0].contiguous().numpy()),
        noise=_read_only(scaled[:, :, 0].contiguous().numpy()),
        snrs_db=plan.snrs_db,
        reference_bpm=_read_only(reference_bpm),
        recording=_read_only(owners),
        rate_hz=config.rate_hz,
        in_band=config.band_hz is not None,
    )


def _read_only(values: NDArray[_D]) -> NDArray[_D]:
    """Make an array read-only and return it."""
    values.setflags(write=False)
    return values


def _references(
    segments: tuple[Segment, ...], starts: NDArray[np.int64], window: int, rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the recording's index and the heart rate in bpm (NaN if unknown) of the windows at `starts`."""
    ends = np.cumsum([segment.n_samples for segment in segments])
    owners = np.searchsorted(ends, starts, side="right")
    bpm = np.full(len(starts), np.nan)
    for i, (owner, start) in enumerate(zip(owners, starts, strict=True)):
        peaks = segments[owner].r_peaks_s
        if peaks is None:
            continue
        first_s = (start - (ends[owner] - segments[owner].n_samples)) / rate_hz
        bpm[i] = heart_rate_bpm(peaks[(peaks >= first_s) & (peaks < first_s + window / rate_hz)])
    return owners.astype(np.int64), bpm
