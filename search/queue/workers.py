"""Who works: one row a worker, kept by its own heart."""

import os
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, update

from search.storage.tables import WORKERS, Process, database_time

FORGET_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Doing:
    """What a worker is at: state "working", "waiting" or "stopped"."""

    state: str = "waiting"
    study: str | None = None
    trial: int | None = None
    epoch: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the roster has it; state is "died" for one that has not been heard of for longer than its lease."""

    process: Process
    device: str
    doing: Doing
    started_s_ago: float
    seen_s_ago: float


def device_name() -> str:
    """What this process trains on: cpu, or the GPU as the launcher numbered it, with its model's name."""
    import torch  # for workers alone: those who look at the roster need none of it

    from training.device import resolve_device

    device = resolve_device("auto")
    if device.type == "cpu":
        return "cpu"
    number = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    return f"cuda:{number} {torch.cuda.get_device_name(device)}"[:100]


def enrol(engine: Engine, process: Process, device: str, lease_s: float) -> None:
    """Enter a worker; rows not heard of for a week go."""
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
                born=process.born,
                device=device,
                state="waiting",
                lease_s=lease_s,
                started_at=now,
                seen_at=now,
            )
        )


def note(connection: Connection, process: Process, doing: Doing) -> None:
    """Note what a worker is at, and that it lives."""
    connection.execute(
        update(WORKERS)
        .where(WORKERS.c.worker == process.name)
        .values(
            state=doing.state,
            study=doing.study,
            trial=doing.trial,
            epoch=doing.epoch,
            score=doing.score,
            seen_at=database_time(connection),
        )
    )


def workers(engine: Engine) -> list[WorkerRow]:
    """All workers of the last week, those heard of last first."""
    with engine.begin() as connection:
        now = database_time(connection)
        rows = connection.execute(select(WORKERS).order_by(WORKERS.c.seen_at.desc())).all()
    found = []
    for row in rows:
        process = Process(row.worker, row.host, row.pid, row.born)
        state = row.state
        if state != "stopped" and (process.is_gone or now - row.seen_at > row.lease_s):
            state = "died"
        doing = Doing(state, row.study, row.trial, row.epoch, row.score)
        found.append(WorkerRow(process, row.device, doing, now - row.started_at, now - row.seen_at))
    return found
