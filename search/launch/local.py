"""Run workers as processes on this machine, each with a GPU or none and an equal share of the CPU threads."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.errors import LaunchError
from search.launch.base import Launch, last_line_of, open_log, start_worker, stop_workers
from training.device import cores

N_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one worker.

    gpu: the GPU it sees, as in CUDA_VISIBLE_DEVICES; None leaves that variable as it is.
    threads: CPU threads.
    """

    gpu: str | None
    threads: int


@dataclass(slots=True, eq=False)
class LocalWorker:
    """The handle of a worker process on this machine."""

    launch: Launch
    resources: Resources
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return self.log.stem

    def exit_code(self) -> int | None:
        return self.process.poll()

    def restart(self) -> None:
        self.process = start_worker(self.launch, self.log, self.resources.threads, self.resources.gpu)

    def last_line(self) -> str:
        return last_line_of(self.log)


def resources_of(
    n_workers: int | None, gpus: Sequence[str], per_gpu: int | None, n_cores: int, threads: int | None = None
) -> tuple[Resources, ...]:
    """Return the resources of each worker.

    Workers are dealt out to the GPUs in turn. The CPU threads are divided equally, at least one for each worker:
    workers that all use every core run several times slower.

    n_workers: how many; None for per_gpu (or one) on each GPU, and N_WORKERS where there is no GPU.
    gpus: names of the GPUs.
    per_gpu: most workers on a GPU; None for any number.
    n_cores: CPU cores to divide.
    threads: of each worker, instead of an equal share of the cores.

    Raises LaunchError for more workers than per_gpu allows, and for per_gpu without a GPU.
    """
    if per_gpu is not None and not gpus:
        raise LaunchError(f"--per-gpu {per_gpu}: no GPU is visible here; leave it out, or check nvidia-smi")
    if n_workers is None:
        n_workers = len(gpus) * (per_gpu or 1) or N_WORKERS
    if per_gpu is not None and n_workers > len(gpus) * per_gpu:
        raise LaunchError(
            f"--workers {n_workers}: {len(gpus)} GPUs with --per-gpu {per_gpu} hold {len(gpus) * per_gpu}; "
            f"use --per-gpu {-(-n_workers // len(gpus))}"
        )
    threads = threads or max(1, n_cores // n_workers)
    return tuple(Resources(gpus[i % len(gpus)] if gpus else None, threads) for i in range(n_workers))


def visible_gpus(environment: Mapping[str, str], n_devices: int) -> tuple[str, ...]:
    """Return the names of the `n_devices` GPUs that CUDA sees, as CUDA_VISIBLE_DEVICES takes them."""
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:n_devices]) if named else tuple(str(i) for i in range(n_devices))


@contextmanager
def local_workers(launch: Launch) -> Iterator[Sequence[LocalWorker]]:
    """Run workers on this machine while the context is entered. Raises LaunchError as `resources_of` does."""
    import torch

    # device_count asks NVML and makes no CUDA context, which would cost this process GPU memory
    gpus = visible_gpus(os.environ, torch.cuda.device_count())
    chosen = resources_of(launch.n_workers, gpus, launch.per_gpu, cores(), launch.threads)
    workers: list[LocalWorker] = []
    try:
        for i, resources in enumerate(chosen):
            log = open_log(launch.logs, i)
            workers.append(
                LocalWorker(launch, resources, log, start_worker(launch, log, resources.threads, resources.gpu))
            )
        yield workers
    finally:
        stop_workers([worker.process for worker in workers])
