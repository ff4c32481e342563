"""Device, threads, determinism and precision of torch's arithmetic.

`arithmetic` sets torch's global switches for a block and restores them after it.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from training.errors import ConfigError, OutOfMemory


def resolve_device(name: str) -> torch.device:
    """Return the torch device of a name: "auto", "cpu", "cuda" or "cuda:N".

    "auto" is the first CUDA device if there is one, else the CPU. Raises ConfigError for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(f"device {name} is asked for, but torch sees no CUDA device; use auto or cpu")
        index = torch.device(name).index or 0
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device {name} is asked for, but there are {torch.cuda.device_count()}")
    return torch.device(name)


def check_precision(device: torch.device, precision: str) -> None:
    """Raise ConfigError if `device` cannot train in `precision`."""
    if device.type != "cuda" and precision in ("fp16", "tf32"):
        raise ConfigError(
            f"precision is {precision!r}, which needs a CUDA device, but the run is on the {device.type}; "
            "set fit.precision to fp32 or bf16"
        )


def precision_on(device: torch.device, precision: str) -> str:
    """Return the precision to estimate in: `precision` if `device` has it, else fp32, which is more exact."""
    return precision if device.type == "cuda" or precision not in ("fp16", "tf32") else "fp32"


@contextlib.contextmanager
def arithmetic(seed: int, device: torch.device, threads: int | None, precision: str = "fp32") -> Iterator[None]:
    """Seed torch's global generators and set kernels, threads and TF32 for the block; restore all of it afterwards.

    On the CPU, kernels are deterministic. New memory is not filled with NaN, as torch's deterministic mode would do:
    that costs up to a tenth of a step and changes no result. On CUDA, products and convolutions use TF32 for precision
    "tf32" only; by default torch allows it in convolutions.

    threads: CPU threads; None leaves their number as it is.

    Do not hold this context across a `yield` to a caller: the caller's code would run under it.
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    warn_only_before = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # Any: type checkers do not see its property
    fill_before = memory.fill_uninitialized_memory
    tf32_before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            if threads is not None and threads != threads_before:
                torch.set_num_threads(threads)
            if device.type == "cpu":
                torch.use_deterministic_algorithms(True)
                memory.fill_uninitialized_memory = False
            else:
                _allow_tf32(precision == "tf32", precision == "tf32")
            torch.manual_seed(seed)
            yield
        finally:
            memory.fill_uninitialized_memory = fill_before
            torch.use_deterministic_algorithms(deterministic_before, warn_only=warn_only_before)
            if device.type != "cpu":
                _allow_tf32(*tf32_before)
            if torch.get_num_threads() != threads_before:
                torch.set_num_threads(threads_before)


def _allow_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the autocast context for "bf16" and "fp16", and a context that does nothing for "fp32" and "tf32"."""
    if precision in ("bf16", "fp16"):
        return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise OutOfMemory if the device or the host runs out of memory in the block."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        hint = "a smaller batch_size, a shorter window or another device may help"
        raise OutOfMemory(f"out of memory: {' '.join(str(error).split())[:200]}; {hint}") from error


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
