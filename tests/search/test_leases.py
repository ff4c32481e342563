"""Leases: a slot belongs to one worker at a time, is fenced by token, and outlives its workers."""

import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError, ProgrammingError

from search.heart import Heart
from search.ledger import SLOTS, STUDIES, Process, create_tables, set_budget, this_process
from search.outcome import TrialOutcome
from search.patience import patiently
from search.roster import Doing, enrol, note, workers
from search.slots import Claim, Lookout, claim, open_again, progress, release, renew, set_trial, settle
from search.storage import open_engine
from search.study import SearchStudy
from search.turns import MAX_DEATHS, REASON, RESUMED, next_turn, sweep
from search.worker import work

STUDY = "tiny"
DONE = TrialOutcome("complete", 1.5, 3).encode()


def elsewhere(name: str) -> Process:
    """A worker of another host, of which only its lease tells."""
    return Process(name, "another-host", 1, None)


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """A database of each kind with our tables and the budget of a study."""
    opened = open_engine(empty_url)
    create_tables(opened)
    set_budget(opened, STUDY, 3, None)
    yield opened
    opened.dispose()


@pytest.fixture
def search(bench_of_each: Any, make_spec: Callable[..., object]) -> SearchStudy:
    return bench_of_each.create(make_spec(budget={"trials": 2}))


@pytest.fixture
def dead() -> Process:
    """A worker of this host whose process was killed."""
    child = subprocess.Popen(["sleep", "60"])
    host = this_process().host
    child.kill()
    child.wait()
    return Process(f"{host}:{child.pid}:dead", host, child.pid, 1)


def taken(engine: Engine, process: Process, lease_s: float = 30.0) -> Claim:
    held = claim(engine, STUDY, process, lease_s)
    assert held is not None
    return held


def expire(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(SLOTS).values(expires_at=0.0))


def beat(engine: Engine, held: Claim) -> bool:
    with engine.begin() as connection:
        return renew(connection, held, 30.0)


def orphans(lookout: Lookout, engine: Engine, at_s: float) -> list[int]:
    return [orphan.slot for orphan in lookout.orphans(engine, STUDY, at_s)]


def hand_over(engine: Engine, held: Claim, to: Process, outcome: str | None = None) -> Claim:
    """What happens to the slot of a worker that is taken for dead."""
    expire(engine)
    lookout = Lookout(patience_s=0.0)
    lookout.orphans(engine, held.study, 0.0)
    (orphan,) = (o for o in lookout.orphans(engine, held.study, 1.0) if o.slot == held.slot)
    assert open_again(engine, orphan, outcome=outcome)
    again = claim(engine, held.study, to, 30.0)
    assert again is not None
    return again


# Claims and tokens.


def test_every_call_of_a_late_worker_is_refused(engine: Engine) -> None:
    late = taken(engine, elsewhere("late"))
    now = hand_over(engine, late, elsewhere("now"))

    assert (now.slot, now.token) == (late.slot, late.token + 1)
    assert not beat(engine, late)
    assert not set_trial(engine, late, 7)
    assert not settle(engine, late, DONE)
    assert not any(release(engine, late, state) for state in ("open", "failed", "finished"))
    assert beat(engine, now)
    assert set_trial(engine, now, 7)
    assert settle(engine, now, DONE)
    assert release(engine, now, "finished")


def test_a_claim_ends_once(engine: Engine) -> None:
    held = taken(engine, elsewhere("a"))
    assert release(engine, held, "finished")
    assert not release(engine, held, "open")
    assert not settle(engine, held, DONE)


def test_an_open_slot_is_taken_before_a_new_one_and_with_the_trial_that_ran_in_it(engine: Engine) -> None:
    first, second = taken(engine, elsewhere("a")), taken(engine, elsewhere("b"))
    assert (first.slot, second.slot) == (0, 1)
    set_trial(engine, first, 11)
    release(engine, first, "open")

    again = claim(engine, STUDY, elsewhere("c"), 30.0, fresh=False)

    assert again is not None
    assert (again.slot, again.trial, again.token) == (0, 11, 2)
    assert claim(engine, STUDY, elsewhere("d"), 30.0, fresh=False) is None


def test_a_worker_that_lost_sight_of_its_claim_gets_the_same_slot_again(engine: Engine) -> None:
    """The database goes away between claiming and asking: the claim is made again, and is not paid twice."""
    first = taken(engine, elsewhere("a"))
    again = taken(engine, elsewhere("a"))
    assert (again.slot, again.token) == (first.slot, first.token + 1)
    assert not settle(engine, first, DONE)
    assert progress(engine, STUDY).claimed == 1


def test_eight_threads_claiming_at_once_get_the_budget_and_not_one_slot_more(engine: Engine) -> None:
    set_budget(engine, STUDY, 20, None)
    begin = threading.Barrier(8)

    def take(i: int) -> list[int]:
        begin.wait()
        got = []
        while (held := claim(engine, STUDY, elsewhere(f"{i}.{len(got)}"), 30.0)) is not None:
            got.append(held.slot)
        return got

    with ThreadPoolExecutor(8) as pool:
        slots = [slot for got in pool.map(take, range(8)) for slot in got]
    assert sorted(slots) == list(range(20))


def test_a_failed_trial_gives_its_part_of_the_budget_back_and_a_finished_one_does_not(engine: Engine) -> None:
    for i in range(3):
        release(engine, taken(engine, elsewhere(str(i))), "finished" if i else "failed")
    again = taken(engine, elsewhere("more"))
    assert again.slot == 3
    assert claim(engine, STUDY, elsewhere("too many"), 30.0) is None
    release(engine, again, "finished")
    assert progress(engine, STUDY).spent


def test_after_its_hours_a_study_gives_no_new_slot_but_ends_what_was_begun(engine: Engine) -> None:
    set_budget(engine, STUDY, 3, 1.0)
    first, second = taken(engine, elsewhere("a")), taken(engine, elsewhere("b"))
    release(engine, first, "open")
    with engine.begin() as connection:
        connection.execute(update(STUDIES).values(started_at=STUDIES.c.started_at - 3700.0))

    again = taken(engine, elsewhere("c"))
    assert again.slot == first.slot
    assert claim(engine, STUDY, elsewhere("d"), 30.0) is None
    assert not progress(engine, STUDY).spent, "two trials are still under way"
    for held in (again, second):
        release(engine, held, "finished")
    assert progress(engine, STUDY).spent


# Lookout.


def test_a_dead_process_of_this_host_is_seen_at_once_though_its_lease_is_fresh(engine: Engine, dead: Process) -> None:
    taken(engine, dead)
    taken(engine, this_process())
    assert orphans(Lookout(patience_s=10.0), engine, 0.0) == [0]


def test_a_pid_that_was_given_again_is_not_the_worker(engine: Engine) -> None:
    me = this_process()
    taken(engine, dataclasses.replace(me, name="former", born=(me.born or 0) - 1))
    assert orphans(Lookout(patience_s=10.0), engine, 0.0) == [0]


def test_a_worker_elsewhere_is_gone_when_its_lease_is_over_and_its_beats_stand_still(engine: Engine) -> None:
    held = taken(engine, elsewhere("a"))
    lookout = Lookout(patience_s=10.0)
    assert orphans(lookout, engine, 0.0) == []
    expire(engine)
    assert orphans(lookout, engine, 1.0) == [], "this look is the first"
    assert orphans(lookout, engine, 10.0) == []
    assert orphans(lookout, engine, 11.0) == [held.slot]


def test_standing_still_is_not_enough_while_the_lease_runs(engine: Engine) -> None:
    taken(engine, elsewhere("a"), lease_s=5.0)
    lookout = Lookout(patience_s=10.0)
    assert [orphans(lookout, engine, at_s) for at_s in (0.0, 8.0, 16.0)] == [[], [], []]


def test_a_worker_that_beats_between_two_looks_keeps_its_slot(engine: Engine) -> None:
    held = taken(engine, elsewhere("a"))
    lookout = Lookout(patience_s=10.0)
    for at_s in (0.0, 9.0, 18.0):
        expire(engine)
        assert orphans(lookout, engine, at_s) == []
        assert beat(engine, held)


def test_a_database_that_was_away_does_not_orphan_the_living(engine: Engine) -> None:
    """All leases ran out while nobody could look or beat: the watch begins anew, and the living beat before it ends."""
    held = taken(engine, elsewhere("a"), lease_s=12.0)
    lookout = Lookout(patience_s=10.0)
    assert orphans(lookout, engine, 0.0) == []
    expire(engine)
    assert orphans(lookout, engine, 60.0) == [], "a minute without a look"
    assert orphans(lookout, engine, 65.0) == []
    beat(engine, held)
    assert orphans(lookout, engine, 71.0) == []


def test_a_worker_opens_slots_of_its_own_study_only(engine: Engine, dead: Process) -> None:
    taken(engine, dead)
    assert Lookout(patience_s=0.0).orphans(engine, "another study", 0.0) == []


def test_an_orphan_is_opened_once_among_racing_sweepers(engine: Engine, dead: Process) -> None:
    taken(engine, dead)
    (orphan,) = Lookout(patience_s=0.0).orphans(engine, STUDY, 0.0)
    begin = threading.Barrier(8)

    def race(_: int) -> bool:
        begin.wait()
        return open_again(engine, orphan)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1
    assert progress(engine, STUDY).open == 1
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(SLOTS.c.deaths)).scalar_one() == 1


# Turns: what the next worker makes of what a dead one left.


def test_an_orphans_trial_goes_on_with_its_own_params_and_reports(
    search: SearchStudy, bench_of_each: Any, dead: Process
) -> None:
    engine = bench_of_each.engine
    first = next_turn(search, engine, dead, 30.0)
    assert first is not None
    first.trial.report(-3.0, 0)
    assert sweep(search, engine, Lookout(patience_s=10.0)) == [first.trial.number]

    again = next_turn(search, engine, this_process(), 30.0)

    assert again is not None
    assert again.trial.number == first.trial.number
    assert again.params == first.params
    stored = search.study.get_trials()
    assert len(stored) == 1
    assert stored[0].intermediate_values == {0: -3.0}
    assert stored[0].user_attrs[RESUMED] == 1


def test_a_trial_that_killed_three_workers_is_failed_and_says_so(
    search: SearchStudy, bench_of_each: Any, dead: Process, tmp_path: Path
) -> None:
    engine = bench_of_each.engine
    for i in range(MAX_DEATHS):
        process = dataclasses.replace(dead, name=f"{dead.name}.{i}")
        turn = next_turn(search, engine, process, 30.0)
        assert turn is not None and turn.trial.number == 0 and turn.held.outcome is None
        sweep(search, engine, Lookout(patience_s=10.0))

    work([search.name], bench_of_each.url, tmp_path / "artifacts", threads=1, say=lambda line: None)

    trials = search.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert "took 3 workers with it" in trials[0].user_attrs[REASON]


@pytest.mark.parametrize("told", [False, True], ids=["before the tell", "after the tell"])
def test_a_worker_that_dies_around_its_tell_loses_nothing(
    told: bool, search: SearchStudy, bench_of_each: Any, dead: Process, tmp_path: Path
) -> None:
    """Its outcome was settled: the next worker tells it, or finds it told, and trains nothing again."""
    engine = bench_of_each.engine
    turn = next_turn(search, engine, dead, 30.0)
    assert turn is not None
    assert settle(engine, turn.held, TrialOutcome("complete", 4.25, 3).encode())
    if told:
        search.study.tell(turn.trial.number, 4.25)
    said: list[str] = []

    work([search.name], bench_of_each.url, tmp_path / "artifacts", threads=1, say=said.append)

    trials = search.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].value == 4.25
    assert not trials[0].intermediate_values, "it was not trained again"
    assert progress(engine, search.name).finished == 2


def test_an_outcome_that_awaits_its_telling_is_never_overwritten_however_many_die_of_it(
    search: SearchStudy, bench_of_each: Any, dead: Process
) -> None:
    engine = bench_of_each.engine
    turn = next_turn(search, engine, dead, 30.0)
    assert turn is not None
    settle(engine, turn.held, DONE)
    for i in range(MAX_DEATHS + 1):
        sweep(search, engine, Lookout(patience_s=10.0))
        again = next_turn(search, engine, dataclasses.replace(dead, name=f"{dead.name}.{i}"), 30.0)
        assert again is not None
        assert again.held.outcome == DONE


def test_a_trial_asked_for_by_a_worker_that_died_before_noting_it_goes_on(
    bench_of_each: Any, make_spec: Any, dead: Process
) -> None:
    """An enqueued point is asked for once: its worker's death must not lose it."""
    point = {"width": 8, "learning_rate": 0.00123}
    search = bench_of_each.create(make_spec(enqueue=[point], budget={"trials": 2}))
    engine = bench_of_each.engine
    assert claim(engine, search.name, dead, 30.0) is not None
    stray = search.study.ask()
    sweep(search, engine, Lookout(patience_s=10.0))

    turn = next_turn(search, engine, this_process(), 30.0)

    assert turn is not None
    assert turn.trial.number == stray.number
    assert dict(turn.params) == point
    assert len(search.study.get_trials()) == 1


# Roster and heart.


def test_the_roster_tells_working_stopped_and_died_apart(engine: Engine, dead: Process) -> None:
    for process in (this_process(), dead, elsewhere("silent"), elsewhere("stopped")):
        enrol(engine, process, "cpu", 30.0)
    with engine.begin() as connection:
        note(connection, this_process(), Doing("working", STUDY, 4, 2, -1.5))
        note(connection, elsewhere("stopped"), Doing("stopped"))
        for name in ("silent", "stopped"):
            connection.execute(
                sqlalchemy.text("UPDATE drivebeat_workers SET seen_at = seen_at - 31 WHERE worker = :name"),
                {"name": name},
            )

    rows = {row.process.name: row for row in workers(engine)}

    me = rows[this_process().name]
    assert me.doing == Doing("working", STUDY, 4, 2, -1.5)
    assert {name: rows[name].doing.state for name in (dead.name, "silent", "stopped")} == {
        dead.name: "died",
        "silent": "died",
        "stopped": "stopped",
    }
    assert rows["silent"].seen_s_ago >= 31 > me.seen_s_ago


def wait_for(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20.0
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happens()


@pytest.fixture
def heart(engine: Engine) -> Iterator[Heart]:
    enrol(engine, this_process(), "cpu", 1.2)
    with Heart(engine, this_process(), 1.2, Lookout(patience_s=0.4)) as beating:
        yield beating


def test_the_heart_renews_the_lease_and_tells_the_epoch(engine: Engine, heart: Heart) -> None:
    held = taken(engine, this_process(), lease_s=1.2)
    heart.hold(held, 5, None, lambda: None)
    heart.at(2, -0.5)

    def beats() -> int:
        with engine.begin() as connection:
            return int(connection.execute(sqlalchemy.select(SLOTS.c.beats)).scalar_one())

    assert wait_for(lambda: beats() >= 3)
    assert not heart.lost.is_set()
    assert wait_for(lambda: workers(engine)[0].doing == Doing("working", STUDY, 5, 2, -0.5))
    heart.let_go()
    assert wait_for(lambda: workers(engine)[0].doing == Doing("waiting"))


def test_the_heart_notices_that_the_slot_is_somebody_elses(engine: Engine, heart: Heart) -> None:
    held = taken(engine, this_process())
    heart.hold(held, 5, None, lambda: None)
    with engine.begin() as connection:
        connection.execute(update(SLOTS).values(token=held.token + 1, worker="another"))
    assert heart.lost.wait(20.0)


def test_the_heart_cries_out_when_a_trial_hangs(heart: Heart, engine: Engine) -> None:
    cried = threading.Event()
    heart.hold(taken(engine, this_process()), 5, 0.1, cried.set)
    assert cried.wait(20.0)


# Patience.


def away() -> Exception:
    return OperationalError("SELECT 1", {}, type("AdminShutdown", (type("OperationalError", (Exception,), {}),), {})())


def failing(times: int, error: Callable[[], Exception]) -> Callable[[], str]:
    calls = iter(range(1000))

    def call() -> str:
        if next(calls) < times:
            raise error()
        return "answer"

    return call


def test_a_database_that_comes_back_is_waited_for_and_said_once_each_way() -> None:
    said: list[str] = []
    assert patiently(failing(3, away), said.append) == "answer"
    assert [line.split(";")[0].split(" (")[0] for line in said] == [
        "the database does not answer",
        "the database answers again",
    ]


def test_optunas_wrapping_of_the_same_error_is_waited_for_too() -> None:
    def wrapped() -> Exception:
        error = StorageInternalError("while committing")
        error.__cause__ = away()
        return error

    assert patiently(failing(1, wrapped), lambda line: None) == "answer"


def test_patience_ends_with_its_deadline() -> None:
    with pytest.raises(OperationalError):
        patiently(failing(1000, away), lambda line: None, deadline_s=0.3)


def test_a_wrong_statement_is_not_tried_again() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise ProgrammingError("SELEC 1", {}, Exception("syntax error"))

    with pytest.raises(ProgrammingError):
        patiently(call, lambda line: None)
    assert len(calls) == 1


def test_patience_ends_when_the_check_says_so() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with pytest.raises(Stop):
        patiently(failing(1000, away), lambda line: None, check=check)


def test_a_living_but_stopped_process_is_not_dead(engine: Engine) -> None:
    """SIGSTOP: only its lease tells, for it may be woken again."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        os.kill(child.pid, signal.SIGSTOP)
        taken(engine, Process("stopped", this_process().host, child.pid, None))
        assert orphans(Lookout(patience_s=10.0), engine, 0.0) == []
    finally:
        child.kill()
        child.wait()
