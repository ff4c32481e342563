"""The states of a slot and of its trial in Optuna: what follows from each pair.

Other programs may change a trial's state at any time, so every pair can occur. docs/design.md shows the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from optuna.trial import TrialState
from sqlalchemy import Engine, select, update

from search.queue.slots import HELD, WITHOUT_TRIAL
from search.storage.tables import SLOTS, database_time


class Edge(StrEnum):
    """What follows from a pair of states."""

    KEEP = "keep"  # the two agree
    CONTINUE = "continue"  # a worker continues the trial, or tells its recorded result
    BEGIN = "begin"  # a worker sets the trial running, and continues it
    FINISH = "finish"  # the slot becomes finished
    FAIL = "fail"  # the slot becomes failed, and the budget gives another trial
    CLEAR = "clear"  # the slot becomes open without a trial, and a worker takes another trial
    REOPEN = "reopen"  # the slot becomes open, and a worker continues the trial
    FAIL_TRIAL = "fail the trial"  # the trial becomes failed


_UNFINISHED: Mapping[TrialState | None, Edge] = {
    None: Edge.CLEAR,
    TrialState.WAITING: Edge.BEGIN,
    TrialState.RUNNING: Edge.CONTINUE,
    TrialState.COMPLETE: Edge.FINISH,
    TrialState.PRUNED: Edge.FINISH,
    TrialState.FAIL: Edge.FAIL,
}
_FINISHED: Mapping[TrialState | None, Edge] = {
    None: Edge.CLEAR,
    TrialState.WAITING: Edge.REOPEN,
    TrialState.RUNNING: Edge.REOPEN,
    TrialState.COMPLETE: Edge.KEEP,
    TrialState.PRUNED: Edge.KEEP,
    TrialState.FAIL: Edge.FAIL,
}
_FAILED: Mapping[TrialState | None, Edge] = {
    None: Edge.KEEP,
    TrialState.WAITING: Edge.FAIL_TRIAL,
    TrialState.RUNNING: Edge.FAIL_TRIAL,
    TrialState.COMPLETE: Edge.FINISH,
    TrialState.PRUNED: Edge.FINISH,
    TrialState.FAIL: Edge.KEEP,
}
# slot's state -> trial's state -> edge. None: the trial that the slot records does not exist.
EDGES: Mapping[str, Mapping[TrialState | None, Edge]] = MappingProxyType(
    {"open": _UNFINISHED, "claimed": _UNFINISHED, "telling": _UNFINISHED, "finished": _FINISHED, "failed": _FAILED}
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A slot that no worker holds, the trial that it records, and what follows."""

    slot: int
    token: int
    state: str
    trial: int
    edge: Edge


def pairs(engine: Engine, study: str, states: Mapping[int, TrialState]) -> list[Pair]:
    """Return the pairs of a study's slots with a trial, except those that a worker holds.

    states: number -> state of all trials of the study.
    """
    with engine.begin() as connection:
        now = database_time(connection)
        rows = connection.execute(select(SLOTS).where(SLOTS.c.study == study, SLOTS.c.trial.is_not(None))).all()
    return [
        Pair(row.slot, row.token, row.state, row.trial, EDGES[row.state][states.get(row.trial)])
        for row in rows
        if row.state in EDGES and not (row.state in HELD and row.expires_at >= now)
    ]


def follow(engine: Engine, study: str, pair: Pair) -> bool:
    """Change the slot as its edge says; return False where it has changed meanwhile. Edges of workers do nothing."""
    values: Mapping[str, object]
    match pair.edge:
        case Edge.FINISH:
            values = {"state": "finished"}
        case Edge.FAIL:
            values = {"state": "failed"}
        case Edge.REOPEN:
            values = {"state": "open", "outcome": None}
        case Edge.CLEAR:
            values = WITHOUT_TRIAL
        case _:
            return False
    c = SLOTS.c
    with engine.begin() as connection:
        done = connection.execute(
            update(SLOTS)
            .where(c.study == study, c.slot == pair.slot, c.token == pair.token, c.state == pair.state)
            .values(token=pair.token + 1, **values)
        )
        return done.rowcount == 1
