"""The slots of a study's budget: claimed with a lease, fenced by a token, reopened when their worker is gone.

A slot holds one trial of the budget, whichever workers run it. A worker claims a slot before it asks Optuna for a
trial, so that several workers together run exactly the budget. Each claim increases the slot's token, and each change
to a slot requires the current token (fencing): a worker that lost its slot cannot change it any more. `study` is the
identity of a study (search.study.record) in all functions here. States:

    claimed -> telling -> finished      the usual case; "telling": the result is recorded, and Optuna may not have it
    claimed -> open -> claimed          the worker stopped or died; the next one continues the trial
    claimed -> telling -> failed        the trial failed; the slot does not count towards the budget
    claimed -> open, without a trial    the trial was deleted, or cannot run; the next worker takes another trial

docs/design.md has the transition for each pair of a slot's state and Optuna's state of its trial.
"""

import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, insert, or_, select, update

from search.errors import NoBudget
from search.queue.workers import Process
from search.storage.tables import SLOTS, STUDIES, database_time

HELD = ("claimed", "telling")
UNFINISHED = ("open", *HELD)
WITHOUT_TRIAL = {"state": "open", "trial": None, "outcome": None, "deaths": 0, "reached": None}
LEASE_S = 30.0
MIN_GAP_S = 2.5  # OrphanDetector.find is called about once a second at most


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's claim on a slot.

    slot: number from 0, which also seeds the trial's sampler. token: of this claim. trial: number of the Optuna trial
    that an earlier worker started in the slot. result: of that trial, as the earlier worker recorded it.
    """

    study: str
    slot: int
    token: int
    worker: str
    trial: int | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Orphan:
    """A slot whose worker is gone.

    deaths: of earlier workers in a row, without an epoch between them. last_epoch: the last epoch reported when the
    previous worker died. has_result: whether the result of the trial is recorded.
    """

    study: str
    slot: int
    token: int
    worker: str
    trial: int | None
    deaths: int
    last_epoch: int | None = None
    has_result: bool = False


@dataclass(frozen=True, slots=True)
class _Observed:
    """The renewals of a slot's lease, and the monotonic times at which this number was first and last read."""

    beats: int
    since_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The number of slots of a study by state, its budget in trials, and whether its hours have passed."""

    budget: int
    open: int
    claimed: int
    finished: int
    failed: int
    out_of_time: bool

    @property
    def spent(self) -> bool:
        """Whether the budget is spent and no trial is running."""
        return self.open + self.claimed == 0 and (self.out_of_time or self.finished >= self.budget)


def claim(engine: Engine, study: str, process: Process, lease_s: float, *, new: bool = True) -> Claim | None:
    """Claim an open slot, else (with `new`) a new one; None where the budget is spent or claimed.

    A worker holds one slot at a time. A slot that it claimed in an earlier call, whose answer was lost when the
    connection broke, counts as open. After the study's hours no new slot is given; open ones still are.

    Raises NoBudget.
    """
    with engine.begin() as connection:
        # the row lock (PostgreSQL) or the immediate transaction (SQLite) makes claims of one study wait for each other
        budget = _budget(connection, study, lock=True)
        now = database_time(connection)
        lease = {
            "state": "claimed",
            "worker": process.name,
            "host": process.host,
            "pid": process.pid,
            "born": process.started,
            "expires_at": now + lease_s,
        }
        of_study = SLOTS.c.study == study
        # the minimum is taken here: with ORDER BY, a database scans the primary key past all finished slots
        claimable = min(connection.execute(_claimable(study, process.name)), key=lambda row: row.slot, default=None)
        if claimable is not None:
            slot, token = claimable.slot, claimable.token + 1
            connection.execute(update(SLOTS).where(of_study, SLOTS.c.slot == slot).values(token=token, **lease))
            return Claim(study, slot, token, process.name, claimable.trial, claimable.outcome)
        if not new or _out_of_time(budget.started_at, budget.hours, now):
            return None
        last = connection.execute(select(func.max(SLOTS.c.slot)).where(of_study)).scalar_one()
        slot = 0 if last is None else last + 1  # numbers have no gaps, so this is the number of slots too
        failed = connection.execute(_n_failed(study)).scalar_one()
        if slot - failed >= budget.n_trials:
            return None
        if budget.started_at is None:
            connection.execute(update(STUDIES).where(STUDIES.c.study == study).values(started_at=now))
        connection.execute(insert(SLOTS).values(study=study, slot=slot, token=1, deaths=0, beats=0, **lease))
    return Claim(study, slot, 1, process.name)


def _budget(connection: Connection, study: str, *, lock: bool = False) -> Row[Any]:
    """Return the study's row in the table of budgets. Raises NoBudget where it has none."""
    query = select(STUDIES).where(STUDIES.c.study == study)
    found = connection.execute(query.with_for_update() if lock else query).first()
    if found is None:
        raise NoBudget(
            f"study {study}: no budget is stored for it in this database, as for a study that another program copied; "
            "run: drivebeat adopt STUDY, which counts its trials"
        )
    return found


def has_budget(engine: Engine, study: str) -> bool:
    """Return whether a budget is stored for the study."""
    with engine.connect() as connection:
        return connection.execute(select(STUDIES.c.study).where(STUDIES.c.study == study)).first() is not None


def add_slots(engine: Engine, study: str, slots: Sequence[tuple[int | None, str]], started_at: float | None) -> None:
    """Store a budget of no trials for the study, and slots for trials that ran in another database.

    slots: (number of the trial, state of the slot) by slot. started_at: when the first trial started, in seconds since
    1970.
    """
    none = {"worker": "", "host": "", "pid": 0, "token": 1, "deaths": 0, "beats": 0, "expires_at": 0.0}
    rows = [
        {"study": study, "slot": slot, "state": state, "trial": trial, **none}
        for slot, (trial, state) in enumerate(slots)
    ]
    with engine.begin() as connection:
        connection.execute(insert(STUDIES).values(study=study, n_trials=0, started_at=started_at))
        if rows:
            connection.execute(insert(SLOTS), rows)


def _claimable(study: str, worker: str) -> Select[tuple[Any, ...]]:
    """Select the slots that the worker may claim: open ones, and its own."""
    c = SLOTS.c
    unfinished = c.state.in_(UNFINISHED)
    allowed = or_(c.state == "open", c.worker == worker)
    return select(c.slot, c.token, c.trial, c.outcome).where(c.study == study, unfinished, allowed)


def _n_failed(study: str) -> Select[int]:
    return select(func.count()).where(SLOTS.c.study == study, SLOTS.c.state == "failed")


def record_trial(engine: Engine, held: Claim, trial: int) -> bool:
    """Record which trial runs in the slot.

    Returns False where the claim is lost, or another slot has the trial. The latter happens to a process that was
    suspended after study.ask for longer than an assignment may take.
    """
    elsewhere = (
        SLOTS.c.study == held.study,
        SLOTS.c.state.in_(UNFINISHED),
        SLOTS.c.trial == trial,
        SLOTS.c.slot != held.slot,
    )
    with engine.begin() as connection:
        connection.execute(select(STUDIES.c.study).where(STUDIES.c.study == held.study).with_for_update())
        if connection.execute(select(SLOTS.c.slot).where(*elsewhere)).first() is not None:
            return False
        return connection.execute(update(SLOTS).where(*_still_held(held)).values(trial=trial)).rowcount == 1


def renew(connection: Connection, held: Claim, lease_s: float) -> bool:
    """Renew the lease on a slot for lease_s seconds from now; return False where the claim is lost."""
    done = connection.execute(
        update(SLOTS)
        .where(*_still_held(held))
        .values(expires_at=database_time(connection) + lease_s, beats=SLOTS.c.beats + 1)
    )
    return done.rowcount == 1


def record_result(engine: Engine, held: Claim, result: str) -> bool:
    """Record the result of a slot's trial, for this worker or the next to tell; return False where the claim is lost.

    Later results of other workers are refused.
    """
    return _change(engine, held, state="telling", outcome=result)


def close(engine: Engine, held: Claim, state: str) -> bool:
    """End a claim, and return False where it had ended before.

    state: "finished"; "failed", which does not count towards the budget; or "open", for another worker to continue.
    """
    assert state in ("finished", "failed", "open"), state
    return _change(engine, held, state=state)


def clear(engine: Engine, held: Claim) -> bool:
    """End a claim so that the next worker takes another trial; return False where it had ended before.

    For a slot whose trial was deleted, or cannot run.
    """
    return _change(engine, held, **WITHOUT_TRIAL)


def reopen(engine: Engine, orphan: Orphan, *, last_epoch: int | None = None, result: str | None = None) -> bool:
    """Open an orphan's slot for the next worker.

    last_epoch: the last epoch that its trial has reported. result: for the next worker to tell; None keeps the recorded
    one.

    Returns False where the slot has changed since it was found, so that only one of several workers reopens it.
    """
    values: dict[str, object] = {
        "state": "open",
        "deaths": consecutive_deaths(orphan, last_epoch),
        "reached": last_epoch,
    }
    if result is not None:
        values["outcome"] = result
    with engine.begin() as connection:
        done = connection.execute(
            update(SLOTS)
            .where(
                SLOTS.c.study == orphan.study,
                SLOTS.c.slot == orphan.slot,
                SLOTS.c.token == orphan.token,
                SLOTS.c.state.in_(HELD),
            )
            .values(values)
        )
        return done.rowcount == 1


def consecutive_deaths(orphan: Orphan, last_epoch: int | None) -> int:
    """Return how many workers have died in the trial since it last reported an epoch, this one included.

    0 where an epoch was reported since the previous death: machines that are switched off several times during a long
    trial must not make it fail.
    """
    progressed = last_epoch is not None and (orphan.last_epoch is None or last_epoch > orphan.last_epoch)
    return 0 if progressed else orphan.deaths + 1


def recorded_trials(engine: Engine, study: str) -> set[int]:
    """Return the numbers of the trials that unfinished slots of the study record."""
    with engine.begin() as connection:
        rows = connection.execute(
            select(SLOTS.c.trial).where(
                SLOTS.c.study == study, SLOTS.c.trial.is_not(None), SLOTS.c.state.in_(UNFINISHED)
            )
        )
        return set(rows.scalars())


@dataclass(slots=True, eq=False)
class OrphanDetector:
    """Finds slots whose workers are gone.

    A dead process on this host is found at once. On another host, a worker is gone if its lease has expired and was not
    renewed during `grace_s` seconds of observation.

    An interval between two observations that is too long starts the observation again. While the database is
    unavailable all leases expire, and living workers need time to renew theirs. Threads may share a detector.
    """

    grace_s: float
    _seen: dict[tuple[str, int, int], _Observed] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, engine: Engine, study: str, monotonic_s: float) -> list[Orphan]:
        """Return the slots of the study whose workers are gone. monotonic_s: time.monotonic()."""
        with engine.begin() as connection:
            now = database_time(connection)
            # Leases are renewed six times in their duration, so only slots of this host and overdue ones are read.
            near = or_(SLOTS.c.host == socket.gethostname(), SLOTS.c.expires_at < now + 1.5 * self.grace_s)
            rows = connection.execute(select(SLOTS).where(SLOTS.c.study == study, SLOTS.c.state.in_(HELD), near)).all()
        with self._lock:
            for key in self._seen.keys() - {(study, row.slot, row.token) for row in rows}:
                if key[0] == study:
                    del self._seen[key]
            overdue = {row.slot for row in rows if self._overdue(row, now, monotonic_s)}
        return [
            Orphan(study, row.slot, row.token, row.worker, row.trial, row.deaths, row.reached, row.outcome is not None)
            for row in rows
            if row.slot in overdue or Process(row.worker, row.host, row.pid, row.born).is_gone
        ]

    def _overdue(self, row: Row[Any], now: float, monotonic_s: float) -> bool:
        key = (row.study, row.slot, row.token)
        before = self._seen.get(key)
        gap_s = max(self.grace_s, MIN_GAP_S)
        if before is None or before.beats != row.beats or monotonic_s - before.last_s > gap_s:
            self._seen[key] = _Observed(row.beats, monotonic_s, monotonic_s)
            return False
        self._seen[key] = _Observed(row.beats, before.since_s, monotonic_s)
        return bool(now > row.expires_at) and monotonic_s - before.since_s >= self.grace_s


def next_slot(engine: Engine, study: str) -> int:
    """Return the number of the study's next new slot."""
    with engine.begin() as connection:
        last = connection.execute(select(func.max(SLOTS.c.slot)).where(SLOTS.c.study == study)).scalar_one()
    return 0 if last is None else int(last) + 1


def slot_trials(engine: Engine, study: str) -> frozenset[int]:
    """Return the numbers of the trials that slots of the study record: the trials of its budget."""
    with engine.begin() as connection:
        rows = connection.execute(select(SLOTS.c.trial).where(SLOTS.c.study == study, SLOTS.c.trial.is_not(None)))
        return frozenset(rows.scalars())


def seconds_left(engine: Engine, study: str) -> float | None:
    """Return the seconds until the study's hours have passed; None without such a limit, or before its first trial."""
    with engine.begin() as connection:
        row = _budget(connection, study)
        if row.hours is None or row.started_at is None:
            return None
        return max(0.0, float(row.started_at + row.hours * 3600 - database_time(connection)))


def progress(engine: Engine, study: str) -> Progress:
    """Return how many slots of the study are in which state, with its budget. Raises NoBudget."""
    with engine.begin() as connection:
        budget = _budget(connection, study)
        rows = connection.execute(
            select(SLOTS.c.state, func.count()).where(SLOTS.c.study == study).group_by(SLOTS.c.state)
        )
        counts: dict[str, int] = {row[0]: row[1] for row in rows}
        out_of_time = _out_of_time(budget.started_at, budget.hours, database_time(connection))
    claimed = counts.get("claimed", 0) + counts.get("telling", 0)
    finished, failed = counts.get("finished", 0), counts.get("failed", 0)
    return Progress(budget.n_trials, counts.get("open", 0), claimed, finished, failed, out_of_time)


def _still_held(held: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        SLOTS.c.study == held.study,
        SLOTS.c.slot == held.slot,
        SLOTS.c.token == held.token,
        SLOTS.c.state.in_(HELD),
    )


def _change(engine: Engine, held: Claim, **values: object) -> bool:
    with engine.begin() as connection:
        return connection.execute(update(SLOTS).where(*_still_held(held)).values(**values)).rowcount == 1


def _out_of_time(started_at: float | None, hours: float | None, now: float) -> bool:
    return started_at is not None and hours is not None and now - started_at > hours * 3600
