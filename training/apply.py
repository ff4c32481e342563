"""A whole recording of any length and rate through a trained model: windows by overlap-add, in chunks."""

import math
from pathlib import Path

import numpy as np
import scipy.io
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn

from data.config import DataConfig
from data.corpus import condition
from data.files import atomic
from data.filters import resample
from data.recording import DataError, Recording
from training.decode import ConfigError
from training.estimate import estimate_windows

OVERLAP = 0.25
FORMATS = (".wav", ".mat", ".npz")


def apply(
    model: nn.Module, recording: Recording, data: DataConfig, device: torch.device, batch_size: int = 16
) -> NDArray[np.float32]:
    """The estimate of a recording: float32[time] at the recording's own rate and length, in its own amplitude.

    The signal is conditioned as in training, cut into windows that overlap by a quarter, estimated `batch_size`
    windows at a time and cross-faded; outside the overlaps the output is exactly the window's estimate.
    """
    if recording.duration_s * data.rate_hz < 2:
        raise DataError(f"{recording.source}: {recording.duration_s:.4f} s is too short to be cleaned")
    signals = condition(recording, data)
    estimate = overlap_add(model, signals, data.window_samples, device, batch_size)
    n_samples = recording.signals.shape[1]
    back = resample(estimate[None], data.rate_hz, recording.rate_hz)[0]
    if len(back) < n_samples:
        back = np.pad(back, (0, n_samples - len(back)))
    return np.ascontiguousarray(back[:n_samples])


def overlap_add(
    model: nn.Module, signals: NDArray[np.float32], window: int, device: torch.device, batch_size: int
) -> NDArray[np.float32]:
    """Estimate float32[time] of signals float32[channel, time], at the rate the model was trained at."""
    n_samples = signals.shape[1]
    starts, fade = window_starts(n_samples, window)
    # a recording shorter than a window is mirrored up to one, as any filter would see its edges
    padded = signals if n_samples >= window else np.pad(signals, ((0, 0), (0, window - n_samples)), mode="symmetric")
    output = np.zeros(padded.shape[1], dtype=np.float32)
    for first in range(0, len(starts), batch_size):
        chunk = starts[first : first + batch_size]
        windows = np.stack([padded[:, start : start + window] for start in chunk])
        for start, estimate in zip(chunk, estimate_windows(model, windows, device, batch_size), strict=True):
            output[start : start + window] += estimate * _weights(start, starts, window, fade)
    return output[:n_samples]


def window_starts(n_samples: int, window: int) -> tuple[list[int], int]:
    """Where windows begin so that they cover n_samples with equal overlaps of at least a quarter; and the overlap."""
    if n_samples <= window:
        return [0], 0
    overlap = int(window * OVERLAP)
    n_windows = math.ceil((n_samples - overlap) / (window - overlap))
    starts = [round(i * (n_samples - window) / (n_windows - 1)) for i in range(n_windows)]
    return starts, overlap


def _weights(start: int, starts: list[int], window: int, overlap: int) -> NDArray[np.float32]:
    """1 in the middle; a cross-fade of `overlap` samples, centred in the shared stretch, towards each neighbour."""
    weights = np.ones(window, dtype=np.float32)
    i = starts.index(start)
    if i > 0:
        seam = _seam(starts[i - 1], start, window, overlap)
        weights[:seam] = 0
        weights[seam : seam + overlap] = _rise(overlap)
    if i + 1 < len(starts):
        seam = _seam(start, starts[i + 1], window, overlap) + starts[i + 1] - start
        weights[seam : seam + overlap] *= 1 - _rise(overlap)
        weights[seam + overlap :] = 0
    return weights


def _seam(left: int, right: int, window: int, overlap: int) -> int:
    """Where the cross-fade begins, counted from the right window's start."""
    return (left + window - right - overlap) // 2


def _rise(n: int) -> NDArray[np.float32]:
    return ((np.arange(n) + 0.5) / n).astype(np.float32)


def write_estimate(estimate: NDArray[np.float32], recording: Recording, path: Path) -> None:
    """Write the estimate as .wav (float), .mat or .npz. Raises ConfigError for another ending."""
    if path.suffix not in FORMATS:
        raise ConfigError(
            f"{path}: an estimate is written as {', '.join(FORMATS)}, not {path.suffix or 'without ending'!r}"
        )
    with atomic(path) as temporary:
        if path.suffix == ".wav":
            soundfile.write(temporary, estimate, round(recording.rate_hz), subtype="FLOAT", format="WAV")
        elif path.suffix == ".mat":
            scipy.io.savemat(temporary, {"estimate": estimate[:, None], "fs": float(recording.rate_hz)})
        else:
            np.savez_compressed(
                temporary, signals=estimate[None], rate_hz=recording.rate_hz, channels=np.array(["estimate"])
            )
