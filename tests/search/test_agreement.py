"""Slots and trials of every pair of states agree or have a fix, which `drivebeat doctor --fix` makes."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.queue.pairs import EDGES, Edge
from search.queue.slots import slot_trials
from search.storage.open import driver_url
from search.storage.tables import SLOTS
from search.study.agreement import disagreements
from tests.support.program import ROOT
from tests.support.study import Bench

Drivebeat = Callable[..., Any]


@pytest.mark.parametrize("trial", [None, *TrialState])
@pytest.mark.parametrize("slot", ["open", "claimed", "telling", "finished", "failed"])
def test_every_pair_of_states_has_an_edge(slot: str, trial: TrialState | None) -> None:
    assert EDGES[slot][trial] in Edge


def test_the_design_page_shows_the_table_of_edges() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    header, _, *rows = text[text.index("| slot | trial is missing") :].split("\n\n")[0].splitlines()
    columns: dict[str, list[TrialState | None]] = {
        "trial is missing": [None],
        "waiting": [TrialState.WAITING],
        "running": [TrialState.RUNNING],
        "complete, pruned": [TrialState.COMPLETE, TrialState.PRUNED],
        "failed": [TrialState.FAIL],
    }
    assert [cell.strip() for cell in header.strip("|").split("|")][1:] == list(columns)
    shown: dict[tuple[str, TrialState | None], str] = {}
    for row in rows:
        slots, *edges = [cell.strip() for cell in row.strip("|").split("|")]
        for slot in slots.split(", "):
            for states, edge in zip(columns.values(), edges, strict=True):
                shown |= {(slot.strip("`"), state): edge for state in states}
    assert shown == {(slot, state): str(edge) for slot, edges in EDGES.items() for state, edge in edges.items()}


@pytest.mark.parametrize("trial", [None, *TrialState])
@pytest.mark.parametrize("slot", ["open", "finished", "failed"])
def test_the_doctor_fixes_every_pair_that_disagrees(
    slot: str, trial: TrialState | None, bench: Bench, make_spec: Any, drivebeat: Drivebeat
) -> None:
    study = bench.create(make_spec())
    if trial is None:
        number = 7
    elif trial == TrialState.WAITING:
        study.optuna.enqueue_trial({"width": 8})
        number = 0
    else:
        asked = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
        number = asked.number
        if trial.is_finished():
            study.optuna.tell(asked, 1.0 if trial == TrialState.COMPLETE else None, state=trial)
    row = {"worker": "w", "host": "h", "pid": 1, "token": 1, "deaths": 0, "beats": 0, "expires_at": 0.0}
    with bench.engine.begin() as connection:
        connection.execute(
            sqlalchemy.insert(SLOTS).values(study=study.identity, slot=0, state=slot, trial=number, **row)
        )
    edge = EDGES[slot][trial]
    agreed = edge in (Edge.KEEP, Edge.CONTINUE, Edge.BEGIN)
    assert bool(disagreements(bench.storage, bench.engine)) != agreed
    before = drivebeat("doctor", "--storage", bench.url)
    assert ("drivebeat doctor --fix" in before.out) != agreed
    drivebeat("doctor", "--fix", "--storage", bench.url)
    assert disagreements(bench.storage, bench.engine) == []


def test_the_doctor_finds_the_budget_of_a_deleted_study(tiny: Any, bench: Bench, drivebeat: Drivebeat) -> None:
    optuna.delete_study(study_name="tiny", storage=RDBStorage(driver_url(bench.url)))
    assert f"study {tiny.identity} was deleted" in " ".join(drivebeat("doctor", "--storage", bench.url).out.split())
    drivebeat("doctor", "--fix", "--storage", bench.url)
    assert disagreements(bench.storage, bench.engine) == []
    assert slot_trials(bench.engine, tiny.identity) == frozenset()
