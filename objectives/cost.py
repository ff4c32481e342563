"""Costs of a denoiser: parameters, multiply-accumulates, latency. A search can use them as constraints."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def n_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters; a shared parameter counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode without gradients for the block; restore the mode of every submodule afterwards."""
    was_training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in was_training.items():
            part.training = mode


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Use only kernels whose operations torch can count.

    The fused Transformer layer, fused attention and the recurrent layers of oneDNN and cuDNN are single operators,
    which count as no operations.
    """
    # Any: to type checkers, torch declares this switch as read-only.
    one_dnn: Any = torch.backends.mkldnn
    one_dnn_was = one_dnn.enabled
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    one_dnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        one_dnn.enabled = one_dnn_was


def _window(module: nn.Module, n_channels: int, window_samples: int) -> Tensor:
    """Return a window of noise, float[1, n_channels, window_samples], on the module's device. Raises ValueError."""
    for name, count in (("n_channels", n_channels), ("window_samples", window_samples)):
        if count < 1:
            raise ValueError(f"{name} is {count}; at least 1 is needed")
    weights = next(module.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, n_channels, window_samples, generator=generator)
    return noise.to(weights.device, weights.dtype)


def macs_per_second(module: nn.Module, n_channels: int, window_samples: int, rate_hz: float) -> float:
    """Return the multiply-accumulates per second of signal, for windows [1, n_channels, window_samples] at `rate_hz`.

    They are half the floating-point operations that torch counts in convolutions, matrix products and attention;
    activations, norms, interpolation and FFTs are not counted. Windows do not overlap; for overlapping windows multiply
    by window / hop.

    Raises ValueError for a count below 1 or a rate that is not positive.
    """
    if not 0 < rate_hz < float("inf"):
        raise ValueError(f"rate_hz is {rate_hz}; a positive number is needed")
    noisy = _window(module, n_channels, window_samples)
    counter = FlopCounterMode(display=False)
    with _evaluation(module), plain_kernels(), counter:
        module(noisy)
    return counter.get_total_flops() / 2 * rate_hz / window_samples


def latency_ms(module: nn.Module, n_channels: int, window_samples: int, repeats: int = 20) -> float:
    """Return the median time in ms for one window [1, n_channels, window_samples] on the module's device.

    repeats: timed runs, after three warm-up runs. On a GPU, each run is waited for.

    Raises ValueError for a count below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; at least 1 is needed")
    noisy = _window(module, n_channels, window_samples)
    times_ms = []
    with _evaluation(module):
        for _ in range(3 + repeats):
            _wait_for(noisy)
            start_s = time.perf_counter()
            module(noisy)
            _wait_for(noisy)
            times_ms.append((time.perf_counter() - start_s) * 1000)
    return statistics.median(times_ms[3:])


def _wait_for(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
