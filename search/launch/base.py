"""What a launcher is: N seats, each filled by one process of `drivebeat work`. The launchers are its siblings.

A launcher is a context manager. Entering starts all workers, leaving asks those still at work to stop (SIGTERM, which
keeps their trials for others) and then makes them. In between a seat says whether its worker has ended, and takes
another. When to do that, and how often, is common to all launchers: search.launch.launchers.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from data.files import file_errors, make_folder
from search.errors import LaunchError
from search.queue.slots import LEASE_S

STOP_TIMEOUT_S = 30.0
# What stands for the exit code of a worker whose machine is gone.
LOST = -1


@dataclass(frozen=True, slots=True)
class Launch:
    """Workers of `studies`, one study after the other, logging into `logs`.

    n_workers: None leaves it to the launcher. per_gpu: workers on each GPU. ray_address: of a running Ray cluster.
    slurm: what submitit is to be told, by its own names, and `cluster`.
    """

    studies: tuple[str, ...]
    url: str
    artifacts: str
    n_workers: int | None
    logs: Path
    lease_s: float = LEASE_S
    per_gpu: int | None = None
    ray_address: str | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)


class WorkerHandle(Protocol):
    """One worker's place, and the worker that fills it now."""

    @property
    def name(self) -> str:
        """The name of the seat, and of its log."""

    def exit_code(self) -> int | None:
        """None while a worker is there, or waits for a machine; LOST where its machine is gone."""

    def restart(self) -> None:
        """Fill the seat anew. Only after its worker has ended."""

    def last_line(self) -> str:
        """The last line its worker said, "" where it is not known."""


Launcher = Callable[[Launch], AbstractContextManager[Sequence[WorkerHandle]]]


def work_command(launch: Launch, threads: int) -> list[str]:
    """The command every launcher runs; the storage URL travels in the environment, for it may hold a password."""
    options = ["--artifacts", launch.artifacts, "--threads", str(threads), "--lease", f"{launch.lease_s:g}"]
    # -P: a folder with a models.py or data.py of its own must not hide our packages
    return [sys.executable, "-P", "-m", "drivebeat", "work", *launch.studies, *options]


def start_worker(launch: Launch, log: Path, threads: int, gpu: str | None = None) -> subprocess.Popen[bytes]:
    """Start one worker on this machine. gpu: the one CUDA device it may see; None leaves what is visible now."""
    environment = os.environ | {
        "DRIVEBEAT_STORAGE": launch.url,
        # read when torch is imported, so that they must stand before the worker begins
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    make_folder(log.parent)
    with file_errors(log), log.open("ab") as file:
        # a session of its own: Ctrl-C reaches the launcher alone, which then stops its workers in order
        return subprocess.Popen(
            work_command(launch, threads),
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def stop_workers(processes: Sequence[subprocess.Popen[bytes]], patience_s: float = STOP_TIMEOUT_S) -> None:
    """SIGTERM to those still alive, SIGKILL to those that do not heed it in time."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_line_of(log: Path) -> str:
    """The last line of a log, "" where there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def pairs(options: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE texts as a table. Raises LaunchError for one that is none."""
    found = {}
    for option in options:
        name, is_pair, value = option.partition("=")
        if not (name and is_pair and value):
            raise LaunchError(f"--slurm {option!r}: not NAME=VALUE; write it like --slurm partition=gpu")
        found[name.replace("-", "_")] = value
    return found


def refuse_sqlite(launch: Launch, where: str) -> None:
    """Raises LaunchError for SQLite, whose file only one machine can use."""
    if launch.url.startswith("sqlite"):
        raise LaunchError(
            f"storage is SQLite, which the machines of {where} cannot share; use PostgreSQL "
            "(--storage postgresql://user@host/name), or --launcher local"
        )
