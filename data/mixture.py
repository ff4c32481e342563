"""Windows of clean + gain x noise, made in batches on the device that trains.

Every recording lies on the device once; a batch is a gather through a view of all its windows, one batched FFT for
the randomiser, and an addition. Nothing is made window by window and nothing crosses from host to device per step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.config import DataConfig, HeldOutConfig
from data.corpus import Segment, Split
from data.ecg import heart_rate_bpm
from data.noise import randomise, surrogate

HEADROOM = 1.1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """noisy: float32[window, channel, time]; clean: float32[window, 1, time]; both divided by scale[window, 1, 1].

    |clean| < 1, so that a bounded output can represent it. snr_db[window]: measured in the heart's band.
    """

    noisy: Tensor
    clean: Tensor
    scale: Tensor
    snr_db: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A fixed mixture: the same pairs of windows at every SNR.

    noisy: float32[snr, window, channel, time]; clean, noise (as mixed in, first channel): float32[.., window, time].
    reference_bpm[window]: heart rate from R peaks, NaN where unknown. recording[window]: index of the clean recording.
    in_band: all of it is band-passed.
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
    """What a noisy window [..., channel, time] is divided by before a model sees it: [..., 1, 1], from channel 0."""
    peak = noisy[..., :1, :].abs().amax(dim=-1, keepdim=True)
    return torch.where(peak > 0, peak * HEADROOM, torch.ones_like(peak))


class _Windows:
    """All windows of some segments: one tensor on the device and the starts at which a window lies within one."""

    def __init__(self, segments: tuple[Segment, ...], window: int, stride: int, device: torch.device) -> None:
        self.signals = torch.from_numpy(np.concatenate([s.signals for s in segments], axis=1)).to(device)
        in_band = torch.from_numpy(np.concatenate([s.in_band for s in segments]))
        self.window = window
        self.lengths = [s.n_samples for s in segments]
        offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        starts = [np.arange(o, o + n - window + 1, stride) for o, n in zip(offsets, self.lengths, strict=True)]
        self.starts = torch.from_numpy(np.concatenate(starts)).to(device)
        energy = torch.cat([torch.zeros(1, dtype=torch.float64), in_band.double().square().cumsum(0)]).to(device)
        # mean in-band power of the window at each start: a difference of running sums, so no window is touched
        self.power = ((energy[window:] - energy[:-window]) / window).clamp_min(1e-30).float()

    def take(self, starts: Tensor, signals: Tensor | None = None) -> Tensor:
        """[window, channel, time] at `starts`."""
        views = (self.signals if signals is None else signals).unfold(-1, self.window, 1)
        return views[:, starts].transpose(0, 1)


class Mixture:
    """Training batches of one split. Holds tensors only: what it draws depends on the generator it is given."""

    def __init__(self, split: Split, config: DataConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.clean = _Windows(split.clean, config.window_samples, config.stride_samples, device)
        self.noise = _Windows(split.noise, config.window_samples, 1, device)

    @property
    def n_windows(self) -> int:
        """Clean windows at the config's stride: what one pass over the data has."""
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
        """`n_steps` batches: clean windows without repetition while they last, noise at any offset.

        Each window's gain is `gain` lowered by up to `spread_db` (uniform in dB). With `per_window` the noise window
        is first brought to the clean window's in-band power, so that a gain of g is an SNR of -20 log10 g dB exactly;
        without, levels stay as the recordings have them (the lab's way). `generator` must live on the device.
        """
        long_noise = self._epoch_noise(generator)
        order = self._order(n_steps * batch_size, generator)
        for step in range(n_steps):
            starts = self.clean.starts[order[step * batch_size : (step + 1) * batch_size]]
            noise_starts = self._pair(starts, generator)
            clean = self.clean.take(starts)
            noise = self.noise.take(noise_starts, long_noise)
            if long_noise is None:
                noise = randomise(noise, self.config.randomiser, generator)
            gains = torch.full((len(starts),), gain, device=self.device)
            if spread_db > 0:
                drop_db = torch.rand(len(starts), generator=generator, device=self.device) * spread_db
                gains = gains * 10 ** (-drop_db / 20)
            ratio = self.clean.power[starts] / self.noise.power[noise_starts]
            if per_window:
                gains = gains * ratio.sqrt()
            yield mix(clean, noise, gains, ratio)

    def _order(self, n: int, generator: torch.Generator) -> Tensor:
        passes = -(-n // self.n_windows)
        drawn = [torch.randperm(self.n_windows, generator=generator, device=self.device) for _ in range(passes)]
        return torch.cat(drawn)[:n]

    def _pair(self, starts: Tensor, generator: torch.Generator) -> Tensor:
        n = len(self.noise.starts)
        if self.config.pairing == "index":
            return self.noise.starts[starts % n]
        return self.noise.starts[torch.randint(n, (len(starts),), generator=generator, device=self.device)]

    def _epoch_noise(self, generator: torch.Generator) -> Tensor | None:
        if self.config.randomise_per != "epoch" or self.config.randomiser == "none":
            return None
        parts = torch.split(self.noise.signals, self.noise.lengths, dim=1)
        return torch.cat([surrogate(part, generator) for part in parts], dim=1)


def mix(clean: Tensor, noise: Tensor, gains: Tensor, power_ratio: Tensor) -> Batch:
    """Add noise [window, channel, time] at `gains` [window] to clean and scale both for a model.

    power_ratio[window]: in-band power of the clean window over that of the noise window at gain 1.
    """
    noisy = clean + gains[:, None, None] * noise
    target = clean[:, :1]
    scale = window_scale(noisy)
    # where noise happens to cancel every peak of the clean window its own peak counts, so |target| stays below 1
    scale = torch.maximum(scale, target.abs().amax(dim=-1, keepdim=True) * HEADROOM)
    snr_db = 10 * torch.log10(power_ratio / gains.square().clamp_min(1e-12))
    return Batch(noisy / scale, target / scale, scale, snr_db)


def held_out(split: Split, config: DataConfig, plan: HeldOutConfig) -> HeldOut:
    """The fixed mixture of `plan`: it depends on the data and the plan, on nothing that a search samples.

    Clean windows lie evenly over the split's recordings, noise windows at seeded random offsets, unrandomised.
    """
    window = config.window_samples
    rng = np.random.default_rng(plan.seed)
    device = torch.device("cpu")
    cleans = _Windows(split.clean, window, 1, device)
    noises = _Windows(split.noise, window, 1, device)
    picks = np.linspace(0, len(cleans.starts) - 1, plan.n_windows).round().astype(np.int64)
    starts = cleans.starts[torch.from_numpy(picks)]
    noise_starts = noises.starts[torch.from_numpy(rng.integers(len(noises.starts), size=plan.n_windows))]
    clean, noise = cleans.take(starts), noises.take(noise_starts)
    unit = (cleans.power[starts] / noises.power[noise_starts]).sqrt()[:, None, None] * noise
    scaled = torch.stack([unit * 10 ** (-snr_db / 20) for snr_db in plan.snrs_db])
    owners, reference_bpm = _references(split.clean, starts.numpy(), window, config.rate_hz)
    return HeldOut(
        noisy=(clean + scaled).numpy(),
        clean=clean[:, 0].contiguous().numpy(),
        noise=scaled[:, :, 0].contiguous().numpy(),
        snrs_db=plan.snrs_db,
        reference_bpm=reference_bpm,
        recording=owners,
        rate_hz=config.rate_hz,
        in_band=config.band_hz is not None,
    )


def _references(
    segments: tuple[Segment, ...], starts: NDArray[np.int64], window: int, rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
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
