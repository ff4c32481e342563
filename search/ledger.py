"""Our own tables beside Optuna's: who works, and which slots of a study's budget are taken.

A worker claims a slot before it asks for a trial, in one transaction, so a budget is met exactly however many
workers there are; a trial that failed or was lost gives its slot back.
"""

import datetime
import os
import socket
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
    update,
)

METADATA = MetaData()

STUDIES = Table(
    "drivebeat_studies",
    METADATA,
    Column("study", String(200), primary_key=True),
    Column("n_trials", Integer, nullable=False),
    Column("hours", Float),
    Column("started_at", DateTime),
)

SLOTS = Table(
    "drivebeat_slots",
    METADATA,
    Column("study", String(200), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # claimed, finished, failed, lost
    Column("worker", String(200), nullable=False),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("trial", Integer),
    Column("changed_at", DateTime, nullable=False),
)

HELD = ("claimed", "finished")


@dataclass(frozen=True, slots=True)
class Claim:
    """One slot of a study's budget, held by one worker. `slot` also seeds the trial's sampler."""

    study: str
    slot: int
    worker: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Slots of a study by state, and the budget."""

    budget: int
    claimed: int
    finished: int
    failed: int
    lost: int


def create_tables(engine: Engine) -> None:
    """Make our tables where they are missing."""
    METADATA.create_all(engine, checkfirst=True)


def set_budget(engine: Engine, study: str, n_trials: int, hours: float | None) -> None:
    """Enter or change a study's budget."""
    with engine.begin() as connection:
        row = {"n_trials": n_trials, "hours": hours}
        changed = connection.execute(update(STUDIES).where(STUDIES.c.study == study).values(row))
        if changed.rowcount == 0:
            connection.execute(insert(STUDIES).values(study=study, **row))


def claim(engine: Engine, study: str, worker: str) -> Claim | None:
    """Take the next slot; None when the budget (trials or hours) is spent or wholly claimed."""
    with engine.begin() as connection:
        # the row lock (PostgreSQL) or the immediate transaction (SQLite) lets one worker count at a time
        budget = connection.execute(select(STUDIES).where(STUDIES.c.study == study).with_for_update()).one()
        now = _now()
        if budget.started_at is None:
            connection.execute(update(STUDIES).where(STUDIES.c.study == study).values(started_at=now))
        elif budget.hours is not None and now - budget.started_at > datetime.timedelta(hours=budget.hours):
            return None
        mine = SLOTS.c.study == study
        held = connection.execute(select(func.count()).where(mine, SLOTS.c.state.in_(HELD))).scalar_one()
        if held >= budget.n_trials:
            return None
        last = connection.execute(select(func.max(SLOTS.c.slot)).where(mine)).scalar_one()
        slot = 0 if last is None else last + 1
        connection.execute(
            insert(SLOTS).values(
                study=study,
                slot=slot,
                state="claimed",
                worker=worker,
                host=socket.gethostname(),
                pid=os.getpid(),
                changed_at=now,
            )
        )
    return Claim(study, slot, worker)


def set_trial(engine: Engine, held: Claim, trial: int) -> None:
    """Note which trial runs in the slot."""
    _change(engine, held, trial=trial)


def release(engine: Engine, held: Claim, state: str) -> None:
    """End a claim: "finished" keeps the slot, "failed" and "lost" give it back."""
    assert state in ("finished", "failed", "lost"), state
    _change(engine, held, state=state)


def orphans(engine: Engine, study: str) -> list[tuple[Claim, int | None]]:
    """Claims on this host whose process is gone, with their trials."""
    host = socket.gethostname()
    query = select(SLOTS).where(SLOTS.c.study == study, SLOTS.c.state == "claimed", SLOTS.c.host == host)
    with engine.begin() as connection:
        rows = connection.execute(query).all()
    return [(Claim(row.study, row.slot, row.worker), row.trial) for row in rows if not _alive(row.pid)]


def progress(engine: Engine, study: str) -> Progress:
    """How far a study is."""
    with engine.begin() as connection:
        budget = connection.execute(select(STUDIES.c.n_trials).where(STUDIES.c.study == study)).scalar_one()
        rows = connection.execute(
            select(SLOTS.c.state, func.count()).where(SLOTS.c.study == study).group_by(SLOTS.c.state)
        )
        counts = {row[0]: row[1] for row in rows}
    return Progress(budget, *(counts.get(state, 0) for state in ("claimed", "finished", "failed", "lost")))


def _change(engine: Engine, held: Claim, **values: object) -> None:
    where = (SLOTS.c.study == held.study, SLOTS.c.slot == held.slot, SLOTS.c.worker == held.worker)
    with engine.begin() as connection:
        connection.execute(update(SLOTS).where(*where).values(changed_at=_now(), **values))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
