"""Where and how arithmetic runs: device, threads, determinism, precision; each undone on leaving."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from training.errors import ConfigError, OutOfMemory


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


def check_precision(device: torch.device, precision: str) -> None:
    """Raise ConfigError where `device` cannot train in `precision`."""
    if device.type != "cuda" and precision in ("fp16", "tf32"):
        raise ConfigError(
            f"precision is {precision!r}, which needs a CUDA device, but the run is on the {device.type}; "
            "set fit.precision to fp32 or bf16"
        )


def precision_on(device: torch.device, precision: str) -> str:
    """The precision to estimate in: `precision` where `device` has it, else fp32, which is nearer the truth."""
    return precision if device.type == "cuda" or precision not in ("fp16", "tf32") else "fp32"


@contextlib.contextmanager
def arithmetic(seed: int, device: torch.device, threads: int | None, precision: str = "fp32") -> Iterator[None]:
    """Seeded global generators, deterministic kernels on the CPU and a thread count, for the time of the block.

    Memory is handed out as it is: torch would fill all of it with NaN first, to show reads of what was never written,
    which costs up to a tenth of a step and changes no result.

    On CUDA, products and convolutions use TF32 for precision "tf32" only; torch would let convolutions have it always.
    Not to be held across a `yield` to a caller, who would work under it.
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    warn_only_before = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its property is made behind the type checker's back
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
    """Autocast for "bf16" and "fp16"; nothing for "fp32" and "tf32"."""
    if precision in ("bf16", "fp16"):
        return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise OutOfMemory where the device or the host runs out of memory in the block."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        hint = "a smaller batch_size, a shorter window or another device may help"
        raise OutOfMemory(f"out of memory: {' '.join(str(error).split())[:200]}; {hint}") from error
