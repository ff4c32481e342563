"""Checks of an exported model by onnxruntime, against the same windows through PyTorch, and its test vectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.conditioning import band_of
from data.config import DataConfig
from data.files import atomic
from data.filters import bandpass
from data.streaming import forward_bandpass
from models.beats import WithBeats
from training.errors import ConfigError
from training.evaluation.estimate import estimate_and_hear, estimate_windows
from training.onnx.export import ESTIMATE, NOISE, NOISY, SOUNDS, inputs_of
from training.onnx.packages import needed
from training.onnx.path import WholePath

Arrays = Mapping[str, NDArray[np.float32]]

MAX_ERROR = 1e-4  # of fp32, relative to the largest magnitude
SEED = 0
SILENCE = 1e-2  # largest magnitudes below it count as this much
BEAT_S, LEVEL, GRAVITY = 0.8, 0.3, 9.81


def session(model: bytes, threads: int = 1) -> Any:
    """Return an onnxruntime session of a model, on the CPU."""
    _, onnxruntime = needed()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ran(running: Any, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of a session by name."""
    return dict(zip((output.name for output in running.get_outputs()), running.run(None, dict(inputs)), strict=True))


def generated_windows(data: DataConfig, n_windows: int, n_samples: int) -> NDArray[np.float32]:
    """Return float32[window, channel, time] of bursts like heart sounds and noise, on the gravity of a sensor.

    They depend on nothing but the arguments, and hold nobody's heart, so that test vectors can be passed on.
    """
    rng = np.random.default_rng(SEED)
    time_s = np.arange(n_samples) / data.rate_hz
    low_hz, high_hz = band_of(data)
    heart = np.zeros(n_samples)
    for at_s in np.arange(0.2, time_s[-1], BEAT_S):
        for since_s, height in ((time_s - at_s, 1.0), (time_s - at_s - 0.3, 0.7)):
            heart += height * np.exp(-0.5 * (since_s / 0.025) ** 2) * np.cos(np.pi * (low_hz + high_hz) * since_s)
    shared = rng.standard_normal((n_windows, 1, n_samples))
    own = rng.standard_normal((n_windows, data.n_channels, n_samples))
    signals = LEVEL * (shared + own)
    signals[:, 0] += heart
    return (signals + GRAVITY).astype(np.float32)


def by_torch(path: WholePath, noisy: NDArray[np.float32], data: DataConfig) -> dict[str, NDArray[np.float32]]:
    """Return the outputs for windows [window, channel, time] by scipy's band-pass and PyTorch, as `apply` runs them."""
    band = bandpass if data.band_phase == "zero" else forward_bandpass
    signals = noisy if data.band_hz is None else band(noisy, data.rate_hz, *data.band_hz)
    cpu = torch.device("cpu")
    if isinstance(path.model, WithBeats):
        estimate, sounds = estimate_and_hear(path.model, signals, cpu, len(signals))
        return {ESTIMATE: estimate, SOUNDS: sounds}
    return {ESTIMATE: estimate_windows(path.model, signals, cpu, len(signals))}


def inputs_for(path: WholePath, noisy: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the inputs of the exported model for windows [window, channel, time]."""
    values = inputs_of(path, torch.from_numpy(noisy))
    return {name: value.numpy() for name, value in zip((NOISY, NOISE), values, strict=False)}


def relative_error(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return the largest difference over the largest magnitude; infinite for other shapes."""
    if got.shape != wanted.shape:
        return float("inf")
    if not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max() / max(float(np.abs(wanted).max()), SILENCE))


def parity(running: Any, path: WholePath, data: DataConfig, *, fixed: bool) -> float:
    """Return the largest relative error of any output of a session, against PyTorch.

    Batch and length are those of a window of training, and others where the model takes others.
    """
    window = data.window_samples
    shapes = [(1, window)] if fixed else [(2, window)]
    if not fixed and not path.fixed_length:
        shapes.append((1, window + window // 3 + 1))
    worst = 0.0
    # Silence is where a small number that keeps a logarithm or a quotient finite would be missed.
    silence = np.zeros((shapes[0][0], data.n_channels, window), np.float32)
    for noisy in (silence, *(generated_windows(data, *shape) for shape in shapes)):
        wanted = by_torch(path, noisy, data)
        got = ran(running, inputs_for(path, noisy))
        worst = max(worst, *(relative_error(got[name], wanted[name]) for name in wanted))
    return worst


def check_parity(error: float) -> None:
    """Raise ConfigError for an error above MAX_ERROR."""
    if not error <= MAX_ERROR:
        raise ConfigError(
            f"the exported model differs from PyTorch by {error:.1e} of its largest sample, more than {MAX_ERROR:.0e}; "
            "nothing is written; this is worth a report"
        )


def vectors(running: Any, path: WholePath, data: DataConfig) -> dict[str, NDArray[np.float32]]:
    """Return the inputs and outputs of an exported model for a generated window, by name: its test vectors."""
    inputs = inputs_for(path, generated_windows(data, 1, data.window_samples))
    return {**inputs, **ran(running, inputs)}


def write_vectors(arrays: Arrays, path: Path) -> None:
    """Write test vectors as .npz. Raises FileError."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type] # takes arrays by name


def read_vectors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read test vectors."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name], dtype=np.float32) for name in arrays.files}
