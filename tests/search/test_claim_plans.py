"""What a claim costs in a long study: it reads the slots that are under way or failed, never all that are finished."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, insert

from search.queue.slots import OrphanDetector, claim
from search.queue.workers import Process
from search.storage.open import open_engine
from search.storage.tables import SLOTS, create_tables, set_budget

STUDY = "long"
N_FINISHED = 20_000
BY_STATE = "drivebeat_slots_by_state"


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """A database of each kind with a study of 20,000 finished slots, as it stands after an hour: PostgreSQL gathers its
    statistics by itself, SQLite none."""
    opened = open_engine(empty_url)
    create_tables(opened)
    set_budget(opened, STUDY, N_FINISHED + 5, None)
    row = {"study": STUDY, "token": 1, "worker": "w", "host": "h", "pid": 1, "deaths": 0, "beats": 0, "expires_at": 0.0}
    with opened.begin() as connection:
        rows = [row | {"slot": i, "trial": i, "state": "finished"} for i in range(N_FINISHED)]
        connection.execute(insert(SLOTS), rows)
        if opened.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    yield opened
    opened.dispose()


def plans(engine: Engine, call: Any) -> list[str]:
    """How the database carries out each question that `call` puts to the slots."""
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT") and "FROM drivebeat_slots" in " ".join(statement.split()):
            asked.append((statement, parameters))

    sqlalchemy.event.listen(engine, "before_cursor_execute", note)
    call()
    sqlalchemy.event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.begin() as connection:
        found = [connection.exec_driver_sql(f"{explain} {statement}", parameters) for statement, parameters in asked]
        return ["\n".join(" ".join(map(str, line)) for line in lines) for lines in found]


def test_a_claim_finds_open_and_failed_slots_by_their_state_and_walks_through_no_finished_one(engine: Engine) -> None:
    told = plans(engine, lambda: claim(engine, STUDY, Process("me", "here", 1, None), 30.0))
    assert len(told) == 3, "what is open or mine, the last number, how many failed"
    assert sum(BY_STATE in plan for plan in told) == 2, told
    assert not any("Seq Scan" in plan or "SCAN drivebeat_slots" in plan for plan in told), told


def test_the_look_for_orphans_reads_slots_at_work_only(engine: Engine) -> None:
    (plan,) = plans(engine, lambda: OrphanDetector(grace_s=1.0).find(engine, STUDY, 0.0))
    assert BY_STATE in plan, plan


def test_the_budget_is_met_to_the_slot_after_failures(engine: Engine) -> None:
    """Counted by the last number and the failed ones, not by counting those held."""
    with engine.begin() as connection:
        connection.execute(SLOTS.update().where(SLOTS.c.slot < 3).values(state="failed"))
    held = [claim(engine, STUDY, Process(f"w{i}", "here", 1, None), 30.0) for i in range(9)]
    assert [None if h is None else h.slot - N_FINISHED for h in held] == [0, 1, 2, 3, 4, 5, 6, 7, None]
