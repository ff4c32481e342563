"""Where and how arithmetic runs: device, threads, determinism, precision; each undone on leaving."""

import contextlib
from collections.abc import Iterator

import torch

from training.decode import ConfigError


def resolve_device(name: str) -> torch.device:
    """ "auto" is the first CUDA device where there is one, else the CPU. Raises ConfigError for one that is absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(f"device {name} is asked for, but torch sees no CUDA device; use auto or cpu")
        index = torch.device(name).index or 0
        if index >= torch.cuda.device_count():
            raise ConfigError(f"device {name} is asked for, but there are {torch.cuda.device_count()}")
    return torch.device(name)


@contextlib.contextmanager
def arithmetic(seed: int, device: torch.device, threads: int | None) -> Iterator[None]:
    """Seeded global generators, deterministic kernels on the CPU and a thread count, for the time of the block.

    Not to be held across a `yield` to a caller, who would work under it.
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    warn_only_before = torch.is_deterministic_algorithms_warn_only_enabled()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            if threads is not None and threads != threads_before:
                torch.set_num_threads(threads)
            if device.type == "cpu":
                torch.use_deterministic_algorithms(True)
            torch.manual_seed(seed)
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic_before, warn_only=warn_only_before)
            if torch.get_num_threads() != threads_before:
                torch.set_num_threads(threads_before)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast for "bf16", nothing for "fp32"."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
