"""Apply a trained model to a whole recording of any length and rate.

The recording is cut into overlapping windows, estimated in batches, and joined by overlap-add (training.overlap).
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import scipy.io
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn

from data.conditioning import check_carried, condition
from data.config import DataConfig
from data.errors import DataError
from data.files import atomic
from data.filters import resample
from data.recording import Recording
from models.parts.streaming import CausalDenoiser
from training.channels import check_channels
from training.errors import ConfigError
from training.live.path import estimate_all, path_of
from training.passes import estimate_recording
from training.sounds import SoundFrames

ROWS_AT_ONCE = 100_000
FORMATS = (".wav", ".csv", ".mat", ".npz")


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """The estimate of a recording, and the heart sounds in it.

    estimate: float32[time] at the recording's own rate, length and amplitude.
    sounds: of the model's network for beats; None for a model without it.
    """

    estimate: NDArray[np.float32]
    sounds: SoundFrames | None


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
    return hear(model, recording, data, device, batch_size, window_s, progress).estimate


def hear(
    model: nn.Module,
    recording: Recording,
    data: DataConfig,
    device: torch.device,
    batch_size: int = 16,
    window_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Heard:
    """Return the estimate of `apply`, and the heart sounds that the model's network for beats finds in it.

    The network reads the estimate of each window, and its probabilities are joined as the estimates are. A model with
    more than one pass gets the beats of the whole recording in between (training.passes).

    A causal model has no windows: it runs through the recording as it would arrive, so that `live` gives the same.

    The arguments and errors are those of `apply`; a window for a causal model is a ConfigError.
    """
    if isinstance(model, CausalDenoiser):
        if window_s is not None:
            raise ConfigError(f"window_s is {window_s:g}; a causal model has no windows: leave it out")
        check_channels(data, recording)
        check_carried(recording, data)
        path = path_of(model, data, data.n_channels, recording.rate_hz, device)
        return Heard(estimate_all(path, _with_silence(recording.signals, data.n_channels), progress), None)
    window = window_of(data, window_s)
    signals = conditioned(recording, data)
    estimate, sounds = estimate_recording(model, signals, data.rate_hz, window, device, batch_size, progress)
    n_samples = recording.signals.shape[1]
    back = resample(estimate[None], data.rate_hz, recording.rate_hz)[0]
    # Resampling twice rounds the length twice; up to half a sample of the lower rate may be missing at the end.
    back = np.pad(back, (0, max(0, n_samples - len(back))), mode="edge")
    return Heard(np.ascontiguousarray(back[:n_samples]), sounds)


def conditioned(recording: Recording, data: DataConfig) -> NDArray[np.float32]:
    """Return the signals of a recording as the model takes them, float32[channel, time] at the rate of `data`.

    References that the recording lacks are silent. Raises ConfigError for a recording without the model's channels
    (training.channels.check_channels), DataError, which names the recording.
    """
    check_channels(data, recording)
    try:
        signals = condition(recording, data)
    except DataError as error:
        if str(recording.source) in str(error):
            raise
        raise DataError(f"{recording.source}: {recording.duration_s:.4f} s cannot be conditioned ({error})") from error
    return _with_silence(signals, data.n_channels)


def _with_silence(signals: NDArray[np.float32], n_channels: int) -> NDArray[np.float32]:
    """Return signals [channel, time] with silent channels added up to `n_channels`."""
    return np.pad(signals, ((0, n_channels - len(signals)), (0, 0)))


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
    # Opened and written here, so that a folder or a disk that refuses the file is an OSError whatever a library says.
    with atomic(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".wav":
            sound = io.BytesIO()
            soundfile.write(sound, estimate, round(recording.rate_hz), subtype="FLOAT", format="WAV")
            file.write(sound.getbuffer())
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
