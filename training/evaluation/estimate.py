"""Estimates of a model for windows and held-out mixtures. Windows are scaled for the model and scaled back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.mixing.mixture import HeldOut, window_scale
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
    parts = []
    with torch.no_grad(), autocast(device, precision):
        for start in range(0, len(noisy), batch_size):
            windows = torch.tensor(noisy[start : start + batch_size], device=device)
            scale = window_scale(windows)
            parts.append((model(windows / scale).float() * scale)[:, 0].cpu())
    return torch.cat(parts).numpy()


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
