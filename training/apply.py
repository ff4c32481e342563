"""Apply a trained model to a whole recording of any length and rate.

The recording is cut into overlapping windows, estimated in batches, and joined by overlap-add.
"""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.io
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn

from data.config import DataConfig
from data.corpus import condition
from data.errors import DataError
from data.files import atomic
from data.filters import resample
from data.recording import Recording
from training.errors import ConfigError
from training.evaluation.estimate import estimate_windows

OVERLAP = 0.25
ROWS_AT_ONCE = 100_000
FORMATS = (".wav", ".csv", ".mat", ".npz")


def apply(
    model: nn.Module,
    recording: Recording,
    data: DataConfig,
    device: torch.device,
    batch_size: int = 16,
    window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the estimate of a recording: float32[time] at the recording's own rate, length and amplitude.

    The signal is conditioned as in training, cut into windows that overlap by a quarter, and cross-faded. Outside the
    cross-fades the output is exactly the estimate of one window.

    model: moved to `device` by the caller.
    batch_size: windows estimated at a time.
    window_s: length of a window in seconds; None takes that of training. A model whose attention depends on distances
        only (conformer) gains from longer windows.
    progress: called after each batch with the number of windows done and the number of all.

    Raises ConfigError for windows shorter than those of training or of no finite length, DataError for a recording
    too short to be resampled or band-passed (about 0.1 s).
    """
    window = window_of(data, window_s)
    try:
        signals = condition(recording, data)
    except DataError as error:
        if str(recording.source) in str(error):
            raise
        raise DataError(f"{recording.source}: {recording.duration_s:.4f} s cannot be conditioned ({error})") from error
    estimate = overlap_add(model, signals, window, device, batch_size, progress)
    n_samples = recording.signals.shape[1]
    back = resample(estimate[None], data.rate_hz, recording.rate_hz)[0]
    # Resampling twice rounds the length twice; up to half a sample of the lower rate may be missing at the end.
    back = np.pad(back, (0, max(0, n_samples - len(back))), mode="edge")
    return np.ascontiguousarray(back[:n_samples])


def window_of(data: DataConfig, window_s: float | None) -> int:
    """Return the samples of a window of `window_s` seconds; None takes the windows of training.

    Raises ConfigError for windows shorter than those of training or of no finite length.
    """
    if window_s is None:
        return data.window_samples
    trained_s = data.window_samples / data.rate_hz
    return samples_of(window_s, data, data.window_samples, f"the {trained_s:g} s of training are needed")


def samples_of(window_s: float, data: DataConfig, least: int, needed: str) -> int:
    """Return the number of samples in a window of `window_s` seconds at the rate of `data`.

    Raises ConfigError for fewer samples than `least` and for a length that is not finite. `needed` ends the message.
    """
    exact = window_s * data.rate_hz
    if not math.isfinite(exact) or round(exact) < least:
        raise ConfigError(f"window_s is {window_s:g}; at least {needed}")
    return round(exact)


def overlap_add(
    model: nn.Module,
    signals: NDArray[np.float32],
    window: int,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the estimate float32[time] of signals float32[channel, time] at the model's rate.

    window: samples of a window. progress: see `apply`.
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
        for i, estimate in zip(chunk, estimate_windows(model, windows, device, batch_size), strict=True):
            output[starts[i] : starts[i] + window] += estimate * window_weights(i, starts, window, fade)
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


def check_output(path: Path, recording: Recording) -> None:
    """Check that the estimate of `recording` can be written to `path`, before hours of work.

    Raises ConfigError for an unknown suffix, the recording's own file, or a rate that a .wav cannot hold.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(
            f"{path}: an estimate is written as {', '.join(FORMATS)}, not {path.suffix or 'without ending'!r}"
        )
    if path.resolve() == recording.source.resolve():
        raise ConfigError(f"{path}: is the recording itself, which is never written; name another file")
    if path.suffix == ".wav" and recording.rate_hz != round(recording.rate_hz):
        raise ConfigError(
            f"{path}: a .wav holds whole rates, the recording has {recording.rate_hz:g} Hz; write .csv, .mat or .npz"
        )


def write_estimate(estimate: NDArray[np.float32], recording: Recording, path: Path) -> None:
    """Write the estimate float32[time] as .wav (float samples), .csv (time_s, estimate), .mat or .npz.

    data.readers.read reads all of them, with the same samples and rate.

    Raises ConfigError as check_output does.
    """
    check_output(path, recording)
    # Opened here, so that a folder or a disk that refuses the file is an OSError whatever the library says of it.
    with atomic(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".wav":
            soundfile.write(file, estimate, round(recording.rate_hz), subtype="FLOAT", format="WAV")
        elif path.suffix == ".csv":
            _write_table(estimate, recording.rate_hz, file)
        elif path.suffix == ".mat":
            held = io.BytesIO()
            variables = {"estimate": estimate[:, None], "fs": float(recording.rate_hz)}
            scipy.io.savemat(held, variables)  # type: ignore[arg-type] # takes files too
            file.write(held.getvalue())
        else:
            np.savez_compressed(
                file, signals=estimate[None], rate_hz=recording.rate_hz, channels=np.array(["estimate"])
            )


def _write_table(estimate: NDArray[np.float32], rate_hz: float, file: BinaryIO) -> None:
    """Write the columns time_s and estimate. Digits are those that float32 and the rate need to be read back."""
    file.write(b"time_s,estimate\r\n")
    for first in range(0, len(estimate), ROWS_AT_ONCE):
        samples = estimate[first : first + ROWS_AT_ONCE]
        time_s = (first + np.arange(len(samples))) / rate_hz
        file.writelines(map(b"%.9f,%.8e\r\n".__mod__, zip(time_s.tolist(), samples.tolist(), strict=True)))
