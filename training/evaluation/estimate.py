"""Estimates of a model for windows and held-out mixtures. Windows are scaled for the model and scaled back."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.mixing.mixture import HeldOut, window_scale
from models.beats import OnePass, WithBeats
from training.config import RunConfig
from training.device import arithmetic, autocast, precision_on, resolve_device


def estimate_windows(
    model: nn.Module,
    noisy: NDArray[np.float32],
    device: torch.device,
    batch_size: int,
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """Return estimates float32[window, time] of noisy float32[window, channel, time], in the amplitude of `noisy`.

    model: on `device`; it is left in evaluation mode.
    batch_size: windows estimated at a time.
    """
    model.eval()
    with torch.no_grad(), autocast(device, precision):
        parts = [_unscaled(model(scaled), scale) for scaled, scale in _batches(noisy, device, batch_size)]
    return torch.cat(parts).numpy()


def estimate_and_hear(
    model: WithBeats | OnePass, noisy: NDArray[np.float32], device: torch.device, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the estimates of estimate_windows, to the bit, and the sounds that the network for beats finds in them.

    The sounds are probabilities of S1, S2 and none, float32[window, frame, 3]. The arguments are those of
    estimate_windows.
    """
    model.eval()
    estimates, sounds = [], []
    with torch.no_grad():
        for scaled, scale in _batches(noisy, device, batch_size):
            estimate = model(scaled)
            estimates.append(_unscaled(estimate, scale))
            sounds.append(model.sounds(estimate, scaled).softmax(dim=-1).cpu())
    return torch.cat(estimates).numpy(), torch.cat(sounds).numpy()


def _batches(noisy: NDArray[np.float32], device: torch.device, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield windows on `device` as a model takes them, float32[window, channel, time], and their scales."""
    for start in range(0, len(noisy), batch_size):
        windows = torch.tensor(noisy[start : start + batch_size], device=device)
        scale = window_scale(windows)
        yield windows / scale, scale


def _unscaled(estimate: Tensor, scale: Tensor) -> Tensor:
    return (estimate.float() * scale)[:, 0].cpu()


def estimate_held_out(
    model: nn.Module, mixture: HeldOut, device: torch.device, batch_size: int, precision: str = "fp32"
) -> NDArray[np.float32]:
    """Return estimates float32[snr, window, time] of a held-out mixture; arguments as in estimate_windows."""
    n_snrs, n_windows, n_channels, n_samples = mixture.noisy.shape
    flat = mixture.noisy.reshape(n_snrs * n_windows, n_channels, n_samples)
    return estimate_windows(model, flat, device, batch_size, precision).reshape(n_snrs, n_windows, n_samples)


def estimate_mixture(model: nn.Module, run: RunConfig, mixture: HeldOut, threads: int | None) -> NDArray[np.float32]:
    """Return estimates float32[snr, window, time] of a held-out mixture by the model of `run`, on the run's device.

    The precision is that of the run if the device has it, else fp32. `model` is moved to the device.
    """
    device = resolve_device(run.fit.device)
    precision = precision_on(device, run.fit.precision)
    with arithmetic(run.fit.seed, device, threads, precision):
        return estimate_held_out(model.to(device), mixture, device, run.fit.batch_size, precision)
