"""The slots of a study's budget: claimed by lease, fenced by token, opened again when their worker is gone.

A slot is one trial of the budget from its first worker to its last. A worker claims it before it asks Optuna for a
trial, so a budget is met exactly however many workers there are. Every claim gets a higher token; whatever a
worker does to its slot names its token, so one that was given up for dead is refused. States:

    claimed -> telling -> finished      the usual way; "telling" holds the outcome until Optuna has it
    claimed -> open -> claimed          its worker stopped or died: the next one takes the trial on
    claimed -> telling -> failed        the trial failed; the budget has the slot back
"""

import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, insert, or_, select, update

from search.queue.workers import Process
from search.storage.tables import SLOTS, STUDIES, database_time

HELD = ("claimed", "telling")
LEASE_S = 30.0
LEAST_GAP_S = 2.5  # nobody looks oftener than every second


@dataclass(frozen=True, slots=True)
class Claim:
    """One slot, held by one worker. `slot` also seeds the trial's sampler.

    trial: the Optuna trial that an earlier worker began in it. outcome: what that worker was about to tell.
    """

    study: str
    slot: int
    token: int
    worker: str
    trial: int | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Orphan:
    """A slot whose worker is gone, as it was found. deaths: of earlier workers, in a row, without an epoch between
    them; reached: the newest epoch reported when the last of them died. told: how its trial ended is known.
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
    """A slot's beats, and since and until when they have been seen to stand still."""

    beats: int
    since_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Slots of a study by state, the budget, and whether its hours are over."""

    budget: int
    open: int
    claimed: int
    finished: int
    failed: int
    out_of_time: bool

    @property
    def spent(self) -> bool:
        """Whether nothing is left to be done: no trial will start any more, and none is under way."""
        return self.open + self.claimed == 0 and (self.out_of_time or self.finished >= self.budget)


def claim(engine: Engine, study: str, process: Process, lease_s: float, *, new: bool = True) -> Claim | None:
    """Take an open slot, else (with `fresh`) the next new one; None when the budget is spent or wholly claimed.

    A worker holds one slot at a time: one that it claimed before, and lost sight of when the database went away in
    between, counts as open.
    After the study's hours are over no new slot is given, but those that were begun are brought to their end.
    """
    with engine.begin() as connection:
        # the row lock (PostgreSQL) or the immediate transaction (SQLite) lets one worker count at a time
        budget = connection.execute(select(STUDIES).where(STUDIES.c.study == study).with_for_update()).one()
        now = database_time(connection)
        hold = {
            "state": "claimed",
            "worker": process.name,
            "host": process.host,
            "pid": process.pid,
            "born": process.started,
            "expires_at": now + lease_s,
        }
        mine = SLOTS.c.study == study
        # the first of them is found here: asked for in order, a database walks past all that are finished
        left = min(connection.execute(_claimable(study, process.name)), key=lambda row: row.slot, default=None)
        if left is not None:
            token = left.token + 1
            connection.execute(update(SLOTS).where(mine, SLOTS.c.slot == left.slot).values(token=token, **hold))
            return Claim(study, left.slot, token, process.name, left.trial, left.outcome)
        if not new or _out_of_time(budget.started_at, budget.hours, now):
            return None
        last = connection.execute(select(func.max(SLOTS.c.slot)).where(mine)).scalar_one()
        slot = 0 if last is None else last + 1  # numbers have no gaps, so that this is how many there are
        failed = connection.execute(_n_failed(study)).scalar_one()
        if slot - failed >= budget.n_trials:
            return None
        if budget.started_at is None:
            connection.execute(update(STUDIES).where(STUDIES.c.study == study).values(started_at=now))
        connection.execute(insert(SLOTS).values(study=study, slot=slot, token=1, deaths=0, beats=0, **hold))
    return Claim(study, slot, 1, process.name)


def _claimable(study: str, worker: str) -> Select[tuple[Any, ...]]:
    """Slots that the worker may take: open, or its own."""
    c = SLOTS.c
    unfinished = c.state.in_(("open", *HELD))
    able = or_(c.state == "open", c.worker == worker)
    return select(c.slot, c.token, c.trial, c.outcome).where(c.study == study, unfinished, able)


def _n_failed(study: str) -> Select[int]:
    return select(func.count()).where(SLOTS.c.study == study, SLOTS.c.state == "failed")


def record_trial(engine: Engine, held: Claim, trial: int) -> bool:
    """Note which trial runs in the slot; False where the slot is no longer held, or another one runs the trial.

    The latter befalls a worker that was stopped between asking and noting, for longer than its turn may last.
    """
    elsewhere = (
        SLOTS.c.study == held.study,
        SLOTS.c.state.in_(("open", *HELD)),
        SLOTS.c.trial == trial,
        SLOTS.c.slot != held.slot,
    )
    with engine.begin() as connection:
        connection.execute(select(STUDIES.c.study).where(STUDIES.c.study == held.study).with_for_update())
        if connection.execute(select(SLOTS.c.slot).where(*elsewhere)).first() is not None:
            return False
        return connection.execute(update(SLOTS).where(*_still_held(held)).values(trial=trial)).rowcount == 1


def renew(connection: Connection, held: Claim, lease_s: float) -> bool:
    """Hold the slot for another lease; False where somebody else has it."""
    done = connection.execute(
        update(SLOTS)
        .where(*_still_held(held))
        .values(expires_at=database_time(connection) + lease_s, beats=SLOTS.c.beats + 1)
    )
    return done.rowcount == 1


def record_result(engine: Engine, held: Claim, result: str) -> bool:
    """Fence: from now on the slot's result is `outcome`, whoever comes to tell it. False for a late worker."""
    return _change(engine, held, state="telling", outcome=result)


def close(engine: Engine, held: Claim, state: str) -> bool:
    """End a claim: "finished"; "failed", which gives the budget its slot back; or "open", for another to go on.

    False where it had ended already.
    """
    assert state in ("finished", "failed", "open"), state
    return _change(engine, held, state=state)


def reopen(engine: Engine, orphan: Orphan, *, last_epoch: int | None = None, result: str | None = None) -> bool:
    """Give an orphan's slot to whoever comes next, with the outcome it is to tell where there is one. reached: the
    newest epoch that its trial has reported; one that is new since the death before ends the row of deaths.

    False where it has changed hands since it was found, so that an orphan is opened once however many notice it.
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
    """Deaths of the trial's workers, this one included, since an epoch was last reported: 0 where one was since the
    death before. A machine taken away or switched off thrice in a long trial is then not taken for a trial that
    kills.
    """
    progressed = last_epoch is not None and (orphan.last_epoch is None or last_epoch > orphan.last_epoch)
    return 0 if progressed else orphan.deaths + 1


def recorded_trials(engine: Engine, study: str) -> set[int]:
    """The trials under way that slots know of."""
    with engine.begin() as connection:
        rows = connection.execute(
            select(SLOTS.c.trial).where(
                SLOTS.c.study == study, SLOTS.c.trial.is_not(None), SLOTS.c.state.in_(("open", *HELD))
            )
        )
        return set(rows.scalars())


@dataclass(slots=True, eq=False)
class OrphanDetector:
    """Notices workers that are gone. One that ran on this host is seen dead at once; another's lease must have run
    out, and its beats have stood still for `grace_s` of looking without a gap.

    A gap in the looking starts the watch again: after the database was away for a while all leases have run out, and
    those alive beat again before anybody takes their work from them. Several threads may share one.
    """

    grace_s: float
    _seen: dict[tuple[str, int, int], _Observed] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, engine: Engine, study: str, monotonic_s: float) -> list[Orphan]:
        """Slots of the study whose workers are gone."""
        with engine.begin() as connection:
            now = database_time(connection)
            # a worker alive renews six times a lease: only those of this host, and those that missed beats, are read
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
        gap_s = max(self.grace_s, LEAST_GAP_S)
        if before is None or before.beats != row.beats or monotonic_s - before.last_s > gap_s:
            self._seen[key] = _Observed(row.beats, monotonic_s, monotonic_s)
            return False
        self._seen[key] = _Observed(row.beats, before.since_s, monotonic_s)
        return bool(now > row.expires_at) and monotonic_s - before.since_s >= self.grace_s


def next_slot(engine: Engine, study: str) -> int:
    """The number that the next new slot of the study will have."""
    with engine.begin() as connection:
        last = connection.execute(select(func.max(SLOTS.c.slot)).where(SLOTS.c.study == study)).scalar_one()
    return 0 if last is None else int(last) + 1


def progress(engine: Engine, study: str) -> Progress:
    """How far a study is."""
    with engine.begin() as connection:
        budget = connection.execute(select(STUDIES).where(STUDIES.c.study == study)).one()
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
