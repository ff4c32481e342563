"""Start workers and watch over them: processes on this machine, which share its CPU threads fairly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalLaunch:
    """n_workers processes of `drivebeat work` on `studies`, one study after the other, logging into `logs`."""

    studies: tuple[str, ...]
    url: str
    artifacts: Path
    n_workers: int
    logs: Path


def fair_threads(n_workers: int) -> int:
    """CPU threads for each of n_workers; torch with all cores in each runs several times slower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // n_workers)


def work_command(studies: tuple[str, ...], artifacts: Path, threads: int) -> list[str]:
    """The command every launcher runs; the storage URL travels in the environment, for it may hold a password."""
    options = ["--artifacts", str(artifacts), "--threads", str(threads)]
    return [sys.executable, "-m", "search.cli", "work", *studies, *options]


@contextmanager
def local_workers(launch: LocalLaunch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes; on leaving they are asked to stop, then made to."""
    threads = fair_threads(launch.n_workers)
    environment = os.environ | {
        "DRIVEBEAT_STORAGE": launch.url,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    launch.logs.mkdir(parents=True, exist_ok=True)
    command = work_command(launch.studies, launch.artifacts, threads)
    processes = []
    try:
        for i in range(launch.n_workers):
            with (launch.logs / f"worker-{i}.log").open("wb") as log:
                # a session of its own: Ctrl-C reaches the launcher alone, which then stops its workers in order
                processes.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
        yield processes
    finally:
        stop_all(processes)


def stop_all(processes: list[subprocess.Popen[bytes]], patience_s: float = 30.0) -> None:
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
