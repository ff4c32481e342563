"""The whole path of a causal model: resampling, band-pass, network, resampling back.

Each stage gives its samples in place, from the first on, as soon as they are known. So the estimate of a recording is
the same in chunks of any size, and `apply` uses this path too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.config import DataConfig
from data.streaming import BandState, ForwardBand, Resampler, ResamplerState, forward_band, resampler
from models.parts.streaming import CausalDenoiser, StreamState

CHUNK_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class PathState:
    """All that a path knows of a signal so far.

    offset: float64[channel, 1], of the sensors: the first sample of each channel; None before it.
    n_skipped_band, n_skipped_model: late samples of the time before the signal that were left out.
    """

    offset: NDArray[np.float64] | None
    there: ResamplerState
    band: BandState | None
    model: StreamState
    back: ResamplerState
    n_skipped_band: int
    n_skipped_model: int


@dataclass(frozen=True, slots=True, eq=False)
class CausalPath:
    """The path from samples of a sensor at one rate to the estimate at the same rate.

    model: on `device`, in evaluation mode.
    """

    model: CausalDenoiser
    n_channels: int
    device: torch.device
    there: Resampler
    band: ForwardBand | None
    back: Resampler
    rate_hz: float
    model_hz: float

    def initial(self) -> PathState:
        """Return the state before the first sample."""
        return PathState(
            offset=None,
            there=self.there.initial(self.n_channels),
            band=None if self.band is None else self.band.initial(self.n_channels),
            model=self.model.initial(self.n_channels, device=self.device),
            back=self.back.initial(1),
            n_skipped_band=0,
            n_skipped_model=0,
        )

    def step(self, chunk: NDArray[np.floating], state: PathState) -> tuple[NDArray[np.float32], PathState]:
        """Return the samples of the estimate that are known now, float32[time], and the state after the chunk.

        The samples of all steps together are the estimate from the first sample on.

        chunk: float[channel, time], finite, of any length.
        """
        if not chunk.shape[1]:
            return np.zeros(0, np.float32), state
        offset = np.asarray(chunk[:, :1], np.float64) if state.offset is None else state.offset
        signals: NDArray[np.floating]
        signals, there = self.there.step(chunk - offset, state.there)
        band, n_band = state.band, state.n_skipped_band
        if self.band is not None and band is not None:
            signals, band = self.band.step(signals, band)
            signals, n_band = _without_first(signals, self.band.delay_samples, n_band)
        with torch.no_grad():
            chunk_at = torch.from_numpy(signals.astype(np.float32)).unsqueeze(0).to(self.device)
            found, model = self.model.step(chunk_at, state.model)
        estimate, n_model = _without_first(found[0].cpu().numpy(), self.model.delay_samples, state.n_skipped_model)
        out, back = self.back.step(estimate, state.back)
        return out[0].astype(np.float32), PathState(offset, there, band, model, back, n_band, n_model)

    @property
    def n_late(self) -> int:
        """Return for how many samples of the sensor the estimate may lag behind."""
        late_hz = (self.model.delay_samples + (0 if self.band is None else self.band.delay_samples)) / self.model_hz
        late = self.there.delay + self.back.delay * self.rate_hz / self.model_hz + late_hz * self.rate_hz
        # A sample of the lower rate may begin anywhere, in both resamplers.
        return int(np.ceil(late + 2 * max(1.0, self.rate_hz / self.model_hz))) + 1


def path_of(
    model: CausalDenoiser, data: DataConfig, n_channels: int, rate_hz: float, device: torch.device
) -> CausalPath:
    """Return the path of a model of `data` for signals at `rate_hz`. Raises DataError for a rate it cannot take."""
    return CausalPath(
        model=model.to(device).eval(),
        n_channels=n_channels,
        device=device,
        there=resampler(rate_hz, data.rate_hz),
        band=None if data.band_hz is None else forward_band(data.rate_hz, *data.band_hz),
        back=resampler(data.rate_hz, rate_hz),
        rate_hz=rate_hz,
        model_hz=data.rate_hz,
    )


def estimate_all(
    path: CausalPath, signals: NDArray[np.float32], progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Return the estimate float32[time] of a whole recording float32[channel, time]; after its end it stays constant.

    progress: called after each chunk with the number of chunks done and of all.
    """
    n_samples = signals.shape[1]
    n_chunk = max(1, round(CHUNK_S * path.rate_hz))
    starts = range(0, n_samples, n_chunk)
    state, parts = path.initial(), []
    for i, start in enumerate(starts):
        part, state = path.step(signals[:, start : start + n_chunk], state)
        parts.append(part)
        if progress is not None:
            progress(i + 1, len(starts))
    parts.append(path.step(np.repeat(signals[:, -1:], path.n_late, axis=1), state)[0])
    return np.concatenate(parts)[:n_samples]


def estimate_conditioned(
    model: CausalDenoiser, signals: NDArray[np.float32], rate_hz: float, device: torch.device
) -> NDArray[np.float32]:
    """Return the estimate float32[time] of signals that are at the model's rate and in its band already."""
    n_samples, n_chunk = signals.shape[1], max(1, round(CHUNK_S * rate_hz))
    state, parts = model.to(device).eval().initial(len(signals), device=device), []
    silence = np.zeros((len(signals), model.delay_samples), np.float32)
    with torch.no_grad():
        for start in range(0, n_samples, n_chunk):
            chunk = signals[:, start : start + n_chunk]
            chunk = np.concatenate([chunk, silence], axis=1) if start + n_chunk >= n_samples else chunk
            part, state = model.step(torch.from_numpy(np.ascontiguousarray(chunk))[None].to(device), state)
            parts.append(part[0, 0].cpu().numpy())
    return np.concatenate(parts)[model.delay_samples :]


def _without_first(samples: NDArray[np.floating], n_late: int, n_skipped: int) -> tuple[NDArray[np.floating], int]:
    """Return samples [channel, time] without the first `n_late` of all steps; and how many are left out so far."""
    n = min(n_late - n_skipped, samples.shape[1])
    return samples[:, n:], n_skipped + n
