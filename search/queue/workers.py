"""The table of workers, whose rows their heartbeats update, and whether a worker's process is alive."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, insert, select, update

from search.storage.tables import WORKERS, database_time

LAUNCHER_PID = "DRIVEBEAT_LAUNCHER_PID"  # environment variable of a worker: the pid of the launch that started it
FORGET_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Process:
    """A worker's process, identified by host, pid and start time.

    name: unique. started: in clock ticks since boot; None where there is no /proc.
    """

    name: str
    host: str
    pid: int
    started: int | None

    @property
    def shown(self) -> str:
        """Its name for people, in tables and plots."""
        return _shown(self.pid, self.host)

    @property
    def is_gone(self) -> bool:
        """Whether it ran on this host and is dead. False for other hosts, for which only the lease is known."""
        return self.host == socket.gethostname() and not _alive(self.pid, self.started)


def this_process() -> Process:
    """Return the current process."""
    host, pid = socket.gethostname(), os.getpid()
    started = _started(pid)
    return Process(f"{host}:{pid}" if started is None else f"{host}:{pid}:{started}", host, pid, started)


def name_for_people(name: str) -> str:
    """Return `Process.shown` of the process called `name`, or `name` itself if it has another form."""
    host, _, rest = name.partition(":")
    pid = rest.partition(":")[0]
    return _shown(pid, host) if host and pid.isdecimal() else name


def _shown(pid: int | str, host: str) -> str:
    return f"{pid}@{host}"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker does now.

    state: "working", "waiting" or "stopped". study: an identity. epoch: the last that the trial finished.
    """

    state: str = "waiting"
    study: str | None = None
    trial: int | None = None
    epoch: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A row of the table of workers.

    status.state is "died" where the process is dead, or its heartbeat is older than its lease. started_s_ago,
    seen_s_ago: seconds since its registration and its last heartbeat.
    """

    process: Process
    device: str
    status: WorkerStatus
    started_s_ago: float
    seen_s_ago: float


def device_name() -> str:
    """Return what this process trains on: "cpu", or "cuda:" with the number of the GPU and its model's name."""
    import torch  # here, for commands that list workers do not need it

    from training.device import resolve_device

    device = resolve_device("auto")
    if device.type == "cpu":
        return "cpu"
    number = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    return f"cuda:{number} {torch.cuda.get_device_name(device)}"[:100]


def register(engine: Engine, process: Process, device: str, lease_s: float) -> None:
    """Add a worker, and delete rows whose last heartbeat is older than FORGET_AFTER_S seconds."""
    with engine.begin() as connection:
        now = database_time(connection)
        connection.execute(
            delete(WORKERS).where((WORKERS.c.worker == process.name) | (WORKERS.c.seen_at < now - FORGET_AFTER_S))
        )
        connection.execute(
            insert(WORKERS).values(
                worker=process.name,
                host=process.host,
                pid=process.pid,
                born=process.started,
                device=device,
                state="waiting",
                lease_s=lease_s,
                started_at=now,
                seen_at=now,
            )
        )


def update_status(connection: Connection, process: Process, status: WorkerStatus) -> None:
    """Write a worker's status and the time of this heartbeat."""
    connection.execute(
        update(WORKERS)
        .where(WORKERS.c.worker == process.name)
        .values(
            state=status.state,
            study=status.study,
            trial=status.trial,
            epoch=status.epoch,
            score=status.score,
            seen_at=database_time(connection),
        )
    )


def workers(engine: Engine, names: Mapping[str, str] | None = None) -> list[WorkerRow]:
    """Return all registered workers, the latest heartbeat first.

    names: identity -> name of the studies. With it, the workers' statuses have names in place of identities.
    """
    with engine.begin() as connection:
        now = database_time(connection)
        rows = connection.execute(select(WORKERS).order_by(WORKERS.c.seen_at.desc())).all()
    found = []
    for row in rows:
        process = Process(row.worker, row.host, row.pid, row.born)
        state = row.state
        if state != "stopped" and (process.is_gone or now - row.seen_at > row.lease_s):
            state = "died"
        study = row.study if names is None or row.study is None else names.get(row.study, row.study)
        status = WorkerStatus(state, study, row.trial, row.epoch, row.score)
        found.append(WorkerRow(process, row.device, status, now - row.started_at, now - row.seen_at))
    return found


def _alive(pid: int, started: int | None) -> bool:
    """Return whether the process is alive. Its start time is compared too, for pids are reused, soon in a container."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    started_now = _started(pid)
    return started_now is None or started is None or started_now == started


def _started(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; 0 for a zombie, None where there is no /proc.

    Fields 3 and 22 of proc_pid_stat(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return 0 if fields[0] in "ZX" else int(fields[19])
