"""The interface of a launcher: it starts N processes of `drivebeat work` and hands out a worker handle for each.

A launcher is a context manager. Entering it starts all workers. Leaving it stops those still running, first with
SIGTERM, which keeps their trials for other workers, then with SIGKILL. In between, a handle reports whether its worker
has ended, and can restart it. When to restart, and how often, is the same for all launchers: search.launch.launch.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Protocol

from data.files import file_errors, make_folder
from search.errors import LaunchError
from search.queue.slots import LEASE_S
from search.queue.workers import LAUNCHER_PID
from training.plugins.trust import VARIABLE

LAUNCHED = "=== launched"  # first words of the line that begins the part of a launch in a log
STOP_TIMEOUT_S = 30.0
# The exit code reported for a worker whose machine is gone.
LOST = -1


@dataclass(frozen=True, slots=True)
class Launch:
    """What to launch: workers that run `studies`, one study after the other.

    url: of the storage.
    artifacts: folder or s3:// address of the artifact store.
    n_workers: how many workers; None leaves it to the launcher.
    logs: folder of the workers' logs.
    lease_s: seconds without a heartbeat after which a worker loses its trial.
    per_gpu: workers on each GPU; None leaves it to the launcher.
    ray_address: address of a running Ray cluster; None for RAY_ADDRESS or a new cluster.
    slurm: parameters of submitit's executor by submitit's names, and `cluster` (slurm or local).
    threads: CPU threads of each worker; None leaves them to the launcher.
    trusted: SHA-256s of the studies' plug-ins, which the workers trust as this machine does.
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
    threads: int | None = None
    trusted: tuple[str, ...] = ()

    def __setstate__(self, state: Sequence[object]) -> None:
        """Take over the values of a pickle, such as a SLURM job that waits in a queue holds.

        Fields that its version did not have, which are the last, get their defaults.
        """
        for i, each in enumerate(fields(self)):
            default = each.default if each.default_factory is MISSING else each.default_factory()
            object.__setattr__(self, each.name, state[i] if i < len(state) else default)


class WorkerHandle(Protocol):
    """A worker that a launcher started, and can restart."""

    @property
    def name(self) -> str:
        """The name of the worker and of its log."""

    def exit_code(self) -> int | None:
        """Return the exit code: None while the worker runs or waits for a machine, LOST where its machine is gone."""

    def restart(self) -> None:
        """Start the worker again. Call it only after the worker has ended."""

    def last_line(self) -> str:
        """Return the last line of the worker's log, "" where it is not known."""


Launcher = Callable[[Launch], AbstractContextManager[Sequence[WorkerHandle]]]


def work_command(launch: Launch, threads: int) -> list[str]:
    """Return the command of one worker. The storage URL is not in it: it may hold a password."""
    options = ["--artifacts", launch.artifacts, "--threads", str(threads), "--lease", f"{launch.lease_s:g}"]
    # -P: a models.py or data.py in the current folder must not shadow our packages
    return [sys.executable, "-P", "-m", "drivebeat", "work", *launch.studies, *options]


def start_worker(launch: Launch, log: Path, threads: int, gpu: str | None = None) -> subprocess.Popen[bytes]:
    """Start one worker on this machine and return its process.

    log: file that stdout and stderr are appended to.
    threads: CPU threads of the worker.
    gpu: the only CUDA device the worker sees; None leaves CUDA_VISIBLE_DEVICES as it is.
    """
    environment = os.environ | {
        "DRIVEBEAT_STORAGE": launch.url,
        LAUNCHER_PID: str(os.getpid()),
        # torch reads these when it is imported, so they must be set before the process starts
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }
    if launch.trusted:
        own = environment.get(VARIABLE, "").split(",")
        environment[VARIABLE] = ",".join(dict.fromkeys(filter(None, (*own, *launch.trusted))))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    make_folder(log.parent)
    with file_errors(log), log.open("ab") as file:
        # in a new session, so that Ctrl-C reaches only the launcher, which then stops its workers cleanly
        return subprocess.Popen(
            work_command(launch, threads),
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def stop_workers(processes: Sequence[subprocess.Popen[bytes]], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Send SIGTERM to the processes still running, and SIGKILL to those that have not ended after `timeout_s`."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def open_log(folder: Path, i: int) -> Path:
    """Return the log of worker `i` in `folder`, with a line for this launch after those of earlier launches."""
    log = folder.absolute() / f"worker-{i}.log"
    make_folder(folder)
    with file_errors(log), log.open("a", encoding="utf-8") as file:
        file.write(f"{LAUNCHED} {datetime.now():%Y-%m-%d %H:%M:%S}\n")
    return log


def last_line_of(log: Path) -> str:
    """Return the last line that the workers of the last launch wrote to `log`; "" where there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines and not lines[-1].startswith(LAUNCHED) else ""


def pairs(options: Sequence[str]) -> dict[str, str]:
    """Return the --slurm options NAME=VALUE as a dictionary. Raises LaunchError for a malformed one."""
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise LaunchError(f"--slurm {option!r}: not NAME=VALUE; write it like --slurm partition=gpu")
        found[name.replace("-", "_")] = value
    return found


def refuse_sqlite(launch: Launch, where: str) -> None:
    """Raise LaunchError if the storage is SQLite, which machines cannot share. where: the cluster, for the message."""
    if launch.url.startswith("sqlite"):
        raise LaunchError(
            f"storage is SQLite, which the machines of {where} cannot share; use PostgreSQL "
            "(--storage postgresql://user@host/name), or --launcher local"
        )
