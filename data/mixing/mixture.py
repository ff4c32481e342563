"""Mixtures: windows of clean + gain x noise, in batches for training and fixed for validation and test.

All recordings lie on the training device. A batch takes one gather from a view of all windows, one batched FFT for the
randomiser, and an addition; no window is made separately, and no data is copied from host to device during training.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import sosfreqz
from torch import Tensor

from data.conditioning import band_of
from data.config import DataConfig, HeldOutConfig
from data.corpus import Segment, Split
from data.ecg import heart_rate_bpm
from data.errors import DataError
from data.filters import bandpass_sections
from data.mixing.augment import augmenter, context_samples
from data.mixing.labels import FrameLabels
from data.mixing.noise import TINY, NoiseSource, analyse, noise_source, surrogate
from data.mixing.response import filtered
from data.mixing.starts import Starts, common_runs, starts_of
from data.mixing.tempo import tempo_windows
from data.mixing.windows import Context, Windows, cut, with_silence

_D = TypeVar("_D", bound=np.generic)

HEADROOM = 1.1
_FINE = 1 << 14  # samples of the FFT that finds the edges of a band


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A training batch.

    noisy: float32[window, channel, time], divided by `scale`.
    clean: float32[window, 1, time], divided by `scale`; |clean| < 1, so that a model with bounded output can reach it.
    scale: float32[window, 1, 1].
    snr_db: float32[window], SNR in the heart's band; infinite without noise, -infinite without a heart.
    labels: float32[window, frame, class], of the clean windows; NaN where unknown; None if there are none.
    """

    noisy: Tensor
    clean: Tensor
    scale: Tensor
    snr_db: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Special:
    """Windows with little noise or none, and of noise alone.

    quiet_share: of windows whose gain is lowered further, by up to `quiet_spread_db`, uniform in dB.
    noiseless_share: of windows without noise. heartless_share: of windows without a heart.
    """

    quiet_share: float = 0.0
    quiet_spread_db: float = 0.0
    noiseless_share: float = 0.0
    heartless_share: float = 0.0

    def draw(self, gains: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return gains float32[window] with these shares of them lowered or 0, and bool[window], which have a heart.

        The latter is None if all have.
        """
        noiseless, quiet = self.noiseless_share, self.noiseless_share + self.quiet_share
        if quiet + self.heartless_share == 0:
            return gains, None
        chance, lower = torch.rand((2, len(gains)), generator=generator, device=gains.device)
        lowered = torch.where(chance < quiet, gains * 10 ** (-lower * self.quiet_spread_db / 20), gains)
        has_heart = chance < 1 - self.heartless_share if self.heartless_share > 0 else None
        return torch.where(chance < noiseless, 0.0, lowered), has_heart


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A fixed mixture: the same pairs of windows at every SNR. Its arrays are read-only.

    snrs_db: in dB; infinity, which comes last, is the clean windows without noise.

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

    def __init__(
        self, split: Split, config: DataConfig, device: torch.device, labels: FrameLabels | None = None
    ) -> None:
        """Prepare the batches of `split`. labels: of its clean recordings, on `device`."""
        window, augment = config.window_samples, config.augment
        self.config = config
        self.device = device
        extra = context_samples(window, config.rate_hz) if augment.active else 0
        around = Context(extra // 2, extra - extra // 2)
        self.noise = cut(split.noise, window, device, around)
        self.noises = self.noise.starts(1, [segment.weight for segment in split.noise])
        cleans = tempo_windows(
            split.clean, window, device, change=augment.tempo, context=around, n_channels=heard(split.clean)
        )
        self.cleans, self.clean, self.labels = cleans, cleans.windows, labels
        self.heads = heads_of(split.clean, self.clean, config)
        self.augmenter = None
        if augment.active:
            gain_of = lambda n_samples: band_gain(n_samples, config).to(device)  # noqa: E731
            self.augmenter = augmenter(cleans, len(self.noise.signals) - 1, config, gain_of, device)
        self.per_epoch = config.randomise_per == "epoch" and config.randomiser != "none"
        self.band_recordings = None
        if config.band_hz is not None and self.per_epoch:
            gain = band_gain(_FINE, config).to(device)
            self.band_recordings = [analyse(part, gain) for part in self.noise.recordings()]
        self.source = None if self.per_epoch else self._source(self.noise, config.randomiser)

    @property
    def n_windows(self) -> int:
        """Return the number of clean windows at the config's stride, which is one pass over the data."""
        return len(self.clean.starts(self.config.stride_samples))

    def epoch(
        self,
        n_steps: int,
        batch_size: int,
        generator: torch.Generator,
        *,
        gain: float,
        spread_db: float = 0.0,
        special: Special = Special(),
        per_window: bool = False,
    ) -> Iterator[Batch]:
        """Yield `n_steps` batches.

        Clean windows are drawn without repetition until all are used, noise windows at any offset. If recordings have
        different weights (data.config.Source), windows are drawn by weight and with repetition. Randomised and varied
        windows keep their in-band power.

        batch_size: rounded down to whole groups of config.batch_offsets, at least one group.
        generator: on the mixture's device.
        gain: of the noise. The gain of each window is lowered by up to `spread_db`, uniform in dB.
        special: windows with less noise, and without noise or heart.
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
        gains, has_heart = special.draw(gains, generator)
        if per_window:
            gains = gains * ratio.sqrt()
        snr_db = 10 * (ratio.clamp_min(TINY).log10() - gains.square().clamp_min(TINY).log10())
        snr_db = torch.where(gains > 0, snr_db, torch.inf)
        if has_heart is not None:
            snr_db = torch.where(has_heart, snr_db, -torch.inf)
        plan = None
        if self.augmenter is not None:
            plan = self.augmenter.plan(starts, noise_starts, self.noises, generator)
        for step in range(n_steps):
            now = slice(step * batch_size, (step + 1) * batch_size)
            # No reference to a batch is kept, so that the next batch reuses memory that is still in the cache.
            labels = None
            if self.augmenter is not None and plan is not None:
                powers, own = (self.clean.power[starts[now]], power[now]), plan.of(now)
                places = self.augmenter.cleans.place(own.clean_starts, own.of_clean[0])
                varied = self.augmenter.draw(places, own, source, *powers, generator)
                clean, noise, peak = varied.clean, varied.noise, varied.peak
                if self.labels is not None:
                    labels = self.labels.take(places, self.config.window_samples)
                del varied
            else:
                clean = self.clean.take(starts[now])
                noise = source.draw(noise_starts[now], power[now], generator)
                peak = clean[:, 0].abs().amax(-1)
                if self.labels is not None:
                    places = self.cleans.place(starts[now], torch.zeros_like(gains[now]))
                    labels = self.labels.take(places, self.config.window_samples)
            if has_heart is not None:
                clean, peak, labels = without_heart(clean, peak, labels, has_heart[now])
            yield mix(clean, noise, gains[now], peak, snr_db[now], labels)
            del clean, noise

    def _starts(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the starts of n clean windows, in groups of config.batch_offsets."""
        heads = self._heads(n // self.config.batch_offsets, generator)
        offsets = self.config.offset_samples * torch.arange(self.config.batch_offsets, device=self.device)
        return (heads[:, None] + offsets).flatten()

    def _heads(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n starts of groups: by weight, or each once per pass."""
        if self.heads.weights is not None:
            return self.heads.pick(torch.rand(n, generator=generator, device=self.device))
        passes = -(-n // len(self.heads))
        drawn = [torch.randperm(len(self.heads), generator=generator, device=self.device)[:n] for _ in range(passes)]
        return self.heads.at(torch.cat(drawn)[:n])

    def _pair(self, starts: Tensor, generator: torch.Generator) -> Tensor:
        """Return the start of a noise window for each clean window."""
        n = len(self.noises)
        if self.config.pairing == "index":
            return self.noises.at(self.clean.times(starts) % n)
        if self.noises.weights is not None:
            return self.noises.pick(torch.rand(len(starts), generator=generator, device=self.device))
        return self.noises.at(torch.randint(n, (len(starts),), generator=generator, device=self.device))

    def _source(self, noise: Windows, kind: str) -> NoiseSource:
        """Return the source of `noise` windows with context, randomised by `kind`."""
        gain = band_gain(noise.views.shape[-1], self.config).to(self.device)
        return noise_source(noise, kind, gain, banded=self.config.band_hz is not None)

    def _surrogate(self, generator: torch.Generator) -> Windows:
        """Draw a surrogate of each noise recording. It is stationary, so the powers of its windows are recomputed."""
        if self.band_recordings is not None:
            drawn = [recording.draw(generator) for recording in self.band_recordings]
            return self.noise.replaced(drawn, [part[0] for part in drawn])
        drawn = [surrogate(part, generator) for part in self.noise.recordings()]
        gains = [band_gain(part.shape[-1], self.config).to(self.device) for part in drawn]
        in_band = [filtered(part[0], gain) for part, gain in zip(drawn, gains, strict=True)]
        return self.noise.replaced(drawn, in_band)


def heard(segments: Sequence[Segment]) -> int | None:
    """Return 1 if the reference channels of all clean recordings are silent, else None, as `cut` takes it."""
    return None if any(segment.signals[1:].any() for segment in segments) else 1


def heads_of(segments: Sequence[Segment], windows: Windows, config: DataConfig) -> Starts:
    """Return the starts from which the windows of a group lie in one recording without dropouts.

    Raises DataError if there are none.
    """
    runs = [common_runs(own, config.batch_offsets, config.offset_samples) for own in windows.runs]
    weights = [segment.weight for segment in segments]
    heads = starts_of(runs, windows.origins, config.stride_samples, windows.signals.device, weights)
    if not len(heads):
        raise DataError(
            f"no recording has {config.batch_offsets} windows {config.offset_samples} samples apart without a dropout; "
            "lower batch_offsets or offset_samples"
        )
    return heads


def without_heart(
    clean: Tensor, peak: Tensor, labels: Tensor | None, has_heart: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return clean windows, their peaks and labels with silence, and the last class in all frames, for some windows.

    has_heart: bool[window].
    """
    kept = has_heart.to(clean.dtype)
    if labels is not None:
        none = torch.zeros_like(labels)
        none[..., -1] = 1.0
        labels = torch.where(has_heart[:, None, None], labels, none)
    return clean * kept[:, None, None], peak * kept, labels


def mix(
    clean: Tensor, noise: Tensor, gains: Tensor, clean_peak: Tensor, snr_db: Tensor, labels: Tensor | None = None
) -> Batch:
    """Return the batch of clean + gains x noise, scaled for a model.

    clean, noise: float32[window, channel, time]; both are overwritten. Channels that `clean` lacks are silent.
    gains: float32[window].
    clean_peak: float32[window], largest magnitude of each clean window's channel 0.
    snr_db, labels: copied to the batch.
    """
    clean = with_silence(clean, noise.shape[1])
    noisy = torch.addcmul(clean, noise, gains[:, None, None], out=noise)
    # If noise cancels the peaks of the clean window, the clean peak determines the scale, so that |clean| < 1.
    scale = torch.maximum(window_scale(noisy), clean_peak[:, None, None] * HEADROOM)
    factor = scale.reciprocal()
    return Batch(noisy.mul_(factor), clean[:, :1].mul_(factor), scale, snr_db, labels)


def band_gain(n_samples: int, config: DataConfig) -> Tensor:
    """Return the gain float32[n_samples // 2 + 1] of data.filters.bandpass, forwards and backwards, at each FFT bin.

    The band is that of the config, or the heart's band if the config has none.
    """
    sos = bandpass_sections(config.rate_hz, *band_of(config))
    _, response = sosfreqz(sos, np.fft.rfftfreq(n_samples, 1 / config.rate_hz), fs=config.rate_hz)
    return torch.from_numpy((np.abs(response) ** 2).astype(np.float32))


def held_out(split: Split, config: DataConfig, plan: HeldOutConfig, *, clean_too: bool = False) -> HeldOut:
    """Return the fixed mixture of `plan`. It depends on the data and the plan only, on nothing that a search samples.

    Clean windows are spread evenly over the split's recordings. Noise windows lie at seeded random offsets and are not
    randomised.

    clean_too: add the clean windows without noise, as the last SNR, which is infinite.
    """
    window = config.window_samples
    rng = np.random.default_rng(plan.seed)
    device = torch.device("cpu")
    cleans, noises = cut(split.clean, window, device, n_channels=heard(split.clean)), cut(split.noise, window, device)
    clean_starts, all_starts = cleans.starts(1), noises.starts(1)
    picks = np.linspace(0, len(clean_starts) - 1, plan.n_windows).round().astype(np.int64)
    starts = clean_starts.at(torch.from_numpy(picks))
    noise_starts = all_starts.at(torch.from_numpy(rng.integers(len(all_starts), size=plan.n_windows)))
    noise = noises.take(noise_starts)
    clean = with_silence(cleans.take(starts), noise.shape[1])
    unit = (cleans.power[starts] / noises.power[noise_starts]).sqrt()[:, None, None] * noise
    scaled = torch.stack([unit * 10 ** (-snr_db / 20) for snr_db in plan.snrs_db])
    if clean_too:
        scaled = torch.cat([scaled, torch.zeros_like(unit)[None]])
    owners, reference_bpm = _references(split.clean, starts.numpy(), window, config.rate_hz)
    return HeldOut(
        noisy=_read_only((clean + scaled).numpy()),
        clean=_read_only(clean[:, 0].contiguous().numpy()),
        noise=_read_only(scaled[:, :, 0].contiguous().numpy()),
        snrs_db=(*plan.snrs_db, *([math.inf] if clean_too else [])),
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
