"""Estimates of whole recordings, in the passes that the model has.

A window of training has few beats, a recording has many. So between two passes the beats of the whole recording are
decoded, and the means of its sounds are taken over a minute or two.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.beats import N_MORE, OnePass, WithBeats
from models.parts.streaming import CausalDenoiser
from training.live.path import estimate_conditioned
from training.overlap import overlap_add
from training.sounds import JoinedFrames, SoundFrames, rhythm_of

# Sounds of this length are averaged together with those of the same length before and after.
SPAN_S = 40.0


def estimate_recording(
    model: nn.Module,
    signals: NDArray[np.float32],
    rate_hz: float,
    window: int,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], SoundFrames | None]:
    """Return the estimate float32[time] of signals float32[channel, time] at the model's rate, and the sounds in it.

    The sounds are None for a model without a network for beats.

    window: samples of a window; a causal model has none.
    progress: called after each batch with the number of windows done and of all, in all passes.
    """
    if isinstance(model, CausalDenoiser):
        return estimate_conditioned(model, signals, rate_hz, device), None
    if not isinstance(model, WithBeats):
        return overlap_add(model, signals, window, device, batch_size, progress), None
    n_passes = model.n_passes
    one = model if n_passes == 1 else OnePass(model)
    seen = signals
    if n_passes > 1:
        seen = np.concatenate([signals, np.zeros((N_MORE, signals.shape[1]), np.float32)])
    for i in range(n_passes):

        def shown(done: int, total: int, i: int = i) -> None:
            if progress is not None:
                progress(i * total + done, n_passes * total)

        frames = JoinedFrames(model, signals.shape[1], rate_hz)
        estimate = overlap_add(one, seen, window, device, batch_size, shown, frames)
        sounds = frames.joined()
        if i + 1 < n_passes:
            seen[-N_MORE:] = known(model, estimate, signals, rate_hz, sounds)
    return estimate, sounds


def known(
    model: WithBeats, estimate: NDArray[np.float32], signals: NDArray[np.float32], rate_hz: float, sounds: SoundFrames
) -> NDArray[np.float32]:
    """Return what the next pass is given of a whole recording, float32[N_MORE, time]; see WithBeats.known.

    It is zero where the estimate is not finite.
    """
    if not np.isfinite(estimate).all():
        return np.zeros((N_MORE, estimate.size), np.float32)
    probability = _decoded(model, estimate, rate_hz, sounds)
    n_samples, span = estimate.size, round(SPAN_S * rate_hz / model.frame) * model.frame
    parts = []
    for start in range(0, n_samples, span):
        first, last = max(0, start - span), min(n_samples, start + 2 * span)
        own = model.known(
            torch.from_numpy(estimate[None, None, first:last]),
            torch.from_numpy(signals[None, :, first:last]),
            torch.from_numpy(probability[None, first // model.frame : last // model.frame]),
        )
        parts.append(own[0, :, start - first : min(start + span, n_samples) - first].numpy())
    return np.concatenate(parts, axis=1)


def _decoded(
    model: WithBeats, estimate: NDArray[np.float32], rate_hz: float, sounds: SoundFrames
) -> NDArray[np.float32]:
    """Return the probability of S1, S2 and none in each frame of the model, given the whole recording."""
    frames = rhythm_of(estimate, rate_hz, sounds, n_paths=1).frames
    every = sounds.frame_hz / rate_hz * model.frame
    at = every * np.arange(estimate.size // model.frame)
    own = np.arange(len(frames))
    return np.stack([np.interp(at, own, column) for column in frames.T], axis=1).astype(np.float32)
