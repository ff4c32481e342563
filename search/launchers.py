"""Start workers and watch over them: processes on this machine, which share its CPU threads fairly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from search.slots import LEASE_S

MAX_RESTARTS = 5
FIRST_PAUSE_S = 1.0
# What a worker that gave up for a stated reason exits with: another one would do the same.
GAVE_UP = 2


@dataclass(frozen=True, slots=True)
class LocalLaunch:
    """n_workers processes of `drivebeat work` on `studies`, one study after the other, logging into `logs`."""

    studies: tuple[str, ...]
    url: str
    artifacts: Path
    n_workers: int
    logs: Path
    lease_s: float = LEASE_S


@dataclass(slots=True, eq=False)
class LocalWorker:
    """One place for a worker, and the process that fills it now."""

    log: Path
    process: subprocess.Popen[bytes]
    restarts: int = 0
    restart_at: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def crashed(self) -> bool:
        """Ended neither by itself nor at somebody's request: killed, or by an error nobody foresaw."""
        return self.process.poll() not in (None, 0, GAVE_UP)


def fair_threads(n_workers: int) -> int:
    """CPU threads for each of n_workers; torch with all cores in each runs several times slower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // n_workers)


def work_command(studies: tuple[str, ...], artifacts: Path, threads: int, lease_s: float = LEASE_S) -> list[str]:
    """The command every launcher runs; the storage URL travels in the environment, for it may hold a password."""
    options = ["--artifacts", str(artifacts), "--threads", str(threads), "--lease", f"{lease_s:g}"]
    return [sys.executable, "-m", "search.cli", "work", *studies, *options]


@contextmanager
def local_workers(launch: LocalLaunch) -> Iterator[list[LocalWorker]]:
    """The workers; on leaving they are asked to stop, then made to."""
    launch.logs.mkdir(parents=True, exist_ok=True)
    workers: list[LocalWorker] = []
    try:
        for i in range(launch.n_workers):
            log = launch.logs / f"worker-{i}.log"
            log.unlink(missing_ok=True)
            workers.append(LocalWorker(log, _start(launch, log)))
        yield workers
    finally:
        stop_all([worker.process for worker in workers])


def revive(launch: LocalLaunch, workers: list[LocalWorker], now: float) -> list[LocalWorker]:
    """Start crashed workers again, each at most MAX_RESTARTS times, after 1, 2, 4 ... s; those that were started."""
    started = []
    for worker in workers:
        if not worker.crashed or worker.restarts >= MAX_RESTARTS:
            continue
        if worker.restart_at == 0.0:
            worker.restart_at = now + FIRST_PAUSE_S * 2**worker.restarts
        elif now >= worker.restart_at:
            worker.process = _start(launch, worker.log)
            worker.restarts += 1
            worker.restart_at = 0.0
            started.append(worker)
    return started


def at_work(workers: list[LocalWorker]) -> bool:
    """Whether any worker is alive or about to be started again."""
    return any(worker.alive or (worker.crashed and worker.restarts < MAX_RESTARTS) for worker in workers)


def _start(launch: LocalLaunch, log: Path) -> subprocess.Popen[bytes]:
    threads = fair_threads(launch.n_workers)
    environment = os.environ | {
        "DRIVEBEAT_STORAGE": launch.url,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("ab") as file:
        # a session of its own: Ctrl-C reaches the launcher alone, which then stops its workers in order
        return subprocess.Popen(
            work_command(launch.studies, launch.artifacts, threads, launch.lease_s),
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


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
