"""Estimates of whole recordings from overlapping windows."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.beats import OnePass, WithBeats
from training.evaluation.estimate import estimate_and_hear, estimate_windows
from training.sounds import JoinedFrames

OVERLAP = 0.25


def overlap_add(
    model: nn.Module,
    signals: NDArray[np.float32],
    window: int,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
    frames: JoinedFrames | None = None,
) -> NDArray[np.float32]:
    """Return the estimate float32[time] of signals float32[channel, time] at the model's rate.

    window: samples of a window. progress: see `apply`.
    frames: gets the sounds of each window; for a model with a network for beats.
    """
    n_samples = signals.shape[1]
    # A recording shorter than a window is estimated as one shorter window. Padding it by reflection would reverse the
    # heart sounds, and references would come after the noise that they cause.
    window = min(window, n_samples)
    starts, fade = window_starts(n_samples, window)
    output = np.zeros(n_samples, dtype=np.float32)
    for first in range(0, len(starts), batch_size):
        chunk = range(first, min(first + batch_size, len(starts)))
        windows = np.stack([signals[:, starts[i] : starts[i] + window] for i in chunk])
        weights = [window_weights(i, starts, window, fade) for i in chunk]
        if frames is None:
            estimates = estimate_windows(model, windows, device, batch_size)
        else:
            assert isinstance(model, WithBeats | OnePass)
            estimates, sounds = estimate_and_hear(model, windows, device, batch_size)
            for own, i, weight in zip(sounds, chunk, weights, strict=True):
                frames.add(own, starts[i], weight)
        for estimate, i, weight in zip(estimates, chunk, weights, strict=True):
            output[starts[i] : starts[i] + window] += estimate * weight
        if progress is not None:
            progress(chunk.stop, len(starts))
    return output


def window_starts(n_samples: int, window: int) -> tuple[list[int], int]:
    """Return the starts of windows that cover n_samples and overlap by a quarter or more, and the cross-fade's length.

    Both are in samples.
    """
    if n_samples <= window:
        return [0], 0
    overlap = int(window * OVERLAP)
    n_windows = math.ceil((n_samples - overlap) / (window - overlap))
    starts = [round(i * (n_samples - window) / (n_windows - 1)) for i in range(n_windows)]
    return starts, overlap


def window_weights(i: int, starts: list[int], window: int, fade: int) -> NDArray[np.float32]:
    """Return the weights float32[window] of window `i`: 1, with a cross-fade of `fade` samples to each neighbour.

    A cross-fade lies in the middle of the samples that two windows share, as far from both ends as possible. The
    weights of all windows sum to 1 at every sample.
    """
    weights = np.ones(window, dtype=np.float32)
    if i > 0:
        seam = _seam(starts[i - 1], starts[i], window, fade)
        weights[:seam] = 0
        weights[seam : seam + fade] = _rise(fade)
    if i + 1 < len(starts):
        seam = _seam(starts[i], starts[i + 1], window, fade) + starts[i + 1] - starts[i]
        weights[seam : seam + fade] = 1 - _rise(fade)
        weights[seam + fade :] = 0
    return weights


def _seam(left: int, right: int, window: int, fade: int) -> int:
    """Return where the cross-fade begins, in samples from the right window's start."""
    return (left + window - right - fade) // 2


def _rise(n: int) -> NDArray[np.float32]:
    """Return a line float32[n] from 0 to 1."""
    return ((np.arange(n) + 0.5) / n).astype(np.float32)
