"""Recovery: which workers are dead and which only slow, and what becomes of the trials of the dead ones."""

import dataclasses
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import Engine, update

from search.artifacts.open import open_artifacts
from search.queue.slots import Claim, OrphanDetector, claim, progress, record_result, renew, reopen
from search.queue.workers import Process, WorkerStatus, register, this_process, update_status, workers
from search.storage.tables import SLOTS
from search.study.study import Study
from search.trials import REASON, RESUMED, Fate
from search.worker.assign import MAX_DEATHS, recover
from search.worker.result import TrialResult
from search.worker.worker import work
from tests.support.study import Bench, MakeSpec
from tests.support.worker import next_assignment_of

STUDY = "tiny"
Take = Callable[..., Claim]
DONE = TrialResult(Fate.COMPLETE, 1.5, 3).encode()


def elsewhere(name: str) -> Process:
    """A worker of another host, of which only its lease tells."""
    return Process(name, "another-host", 1, None)


@pytest.fixture
def study(bench_of_each: Bench, make_spec: MakeSpec) -> Study:
    return bench_of_each.create(make_spec(budget={"trials": 2}))


@pytest.fixture
def dead() -> Process:
    """A worker of this host whose process was killed."""
    child = subprocess.Popen(["sleep", "60"])
    host = this_process().host
    child.kill()
    child.wait()
    return Process(f"{host}:{child.pid}:dead", host, child.pid, 1)


def expire(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(SLOTS).values(expires_at=0.0))


def beat(engine: Engine, held: Claim) -> bool:
    with engine.begin() as connection:
        return renew(connection, held, 30.0)


def orphans(detector: OrphanDetector, engine: Engine, at_s: float) -> list[int]:
    return [orphan.slot for orphan in detector.find(engine, STUDY, at_s)]


# OrphanDetector.


def test_a_dead_process_of_this_host_is_seen_at_once_though_its_lease_is_fresh(
    engine: Engine, dead: Process, take: Take
) -> None:
    take(dead)
    take(this_process())
    assert orphans(OrphanDetector(grace_s=10.0), engine, 0.0) == [0]


def test_a_pid_that_was_given_again_is_not_the_worker(engine: Engine, take: Take) -> None:
    me = this_process()
    take(dataclasses.replace(me, name="former", started=(me.started or 0) - 1))
    assert orphans(OrphanDetector(grace_s=10.0), engine, 0.0) == [0]


def test_a_worker_elsewhere_is_gone_when_its_lease_is_over_and_its_beats_stand_still(
    engine: Engine, take: Take
) -> None:
    held = take(elsewhere("a"))
    detector = OrphanDetector(grace_s=10.0)
    assert orphans(detector, engine, 0.0) == []
    expire(engine)
    assert orphans(detector, engine, 1.0) == [], "this look is the first"
    assert orphans(detector, engine, 10.0) == []
    assert orphans(detector, engine, 11.0) == [held.slot]


def test_standing_still_is_not_enough_while_the_lease_runs(engine: Engine, take: Take) -> None:
    take(elsewhere("a"), lease_s=5.0)
    detector = OrphanDetector(grace_s=10.0)
    assert [orphans(detector, engine, at_s) for at_s in (0.0, 8.0, 16.0)] == [[], [], []]


def test_a_worker_that_beats_between_two_looks_keeps_its_slot(engine: Engine, take: Take) -> None:
    held = take(elsewhere("a"))
    detector = OrphanDetector(grace_s=10.0)
    for at_s in (0.0, 9.0, 18.0):
        expire(engine)
        assert orphans(detector, engine, at_s) == []
        assert beat(engine, held)


def test_a_database_that_was_away_does_not_orphan_the_living(engine: Engine, take: Take) -> None:
    """All leases ran out while nobody could look or beat: the watch begins anew, and the living beat before it ends."""
    held = take(elsewhere("a"), lease_s=12.0)
    detector = OrphanDetector(grace_s=10.0)
    assert orphans(detector, engine, 0.0) == []
    expire(engine)
    assert orphans(detector, engine, 60.0) == [], "a minute without a look"
    assert orphans(detector, engine, 65.0) == []
    beat(engine, held)
    assert orphans(detector, engine, 71.0) == []


def test_a_living_but_stopped_process_is_not_dead(engine: Engine, take: Take) -> None:
    """SIGSTOP: only its lease tells, for it may be woken again."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        os.kill(child.pid, signal.SIGSTOP)
        take(Process("stopped", this_process().host, child.pid, None))
        assert orphans(OrphanDetector(grace_s=10.0), engine, 0.0) == []
    finally:
        child.kill()
        child.wait()


def test_a_worker_opens_slots_of_its_own_study_only(engine: Engine, dead: Process, take: Take) -> None:
    take(dead)
    assert OrphanDetector(grace_s=0.0).find(engine, "another study", 0.0) == []


def test_an_orphan_is_opened_once_among_racing_sweepers(engine: Engine, dead: Process, take: Take) -> None:
    take(dead)
    (orphan,) = OrphanDetector(grace_s=0.0).find(engine, STUDY, 0.0)
    begin = threading.Barrier(8)

    def race(_: int) -> bool:
        begin.wait()
        return reopen(engine, orphan)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1
    assert progress(engine, STUDY).open == 1
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(SLOTS.c.deaths)).scalar_one() == 1


# Assignments: the next worker continues what a dead one left.


def test_an_orphans_trial_goes_on_with_its_own_params_and_reports(
    study: Study, bench_of_each: Bench, dead: Process
) -> None:
    engine = bench_of_each.engine
    first = next_assignment_of(study, engine, dead, 30.0)
    assert first is not None
    first.trial.report(-3.0, 0)
    assert recover(study, engine, OrphanDetector(grace_s=10.0)) == [first.trial.number]

    again = next_assignment_of(study, engine, this_process(), 30.0)

    assert again is not None
    assert again.trial.number == first.trial.number
    assert again.params == first.params
    stored = study.optuna.get_trials()
    assert len(stored) == 1
    assert stored[0].intermediate_values == {0: -3.0}
    assert stored[0].user_attrs[RESUMED] == 1


def test_a_trial_that_killed_three_workers_is_failed_and_says_so(
    study: Study, bench_of_each: Bench, dead: Process, tmp_path: Path
) -> None:
    engine = bench_of_each.engine
    for i in range(MAX_DEATHS):
        process = dataclasses.replace(dead, name=f"{dead.name}.{i}")
        assignment = next_assignment_of(study, engine, process, 30.0)
        assert assignment is not None and assignment.trial.number == 0 and assignment.claim.result is None
        recover(study, engine, OrphanDetector(grace_s=10.0))

    work([study.name], bench_of_each.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None)

    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert "3 workers in a row died in it" in trials[0].user_attrs[REASON]


@pytest.mark.parametrize("told", [False, True], ids=["before the tell", "after the tell"])
def test_a_worker_that_dies_around_its_tell_loses_nothing(
    told: bool, study: Study, bench_of_each: Bench, dead: Process, tmp_path: Path
) -> None:
    """Its result was recorded: the next worker tells it, or finds it told, and trains nothing again."""
    engine = bench_of_each.engine
    assignment = next_assignment_of(study, engine, dead, 30.0)
    assert assignment is not None
    assert record_result(engine, assignment.claim, TrialResult(Fate.COMPLETE, 4.25, 3).encode())
    if told:
        study.optuna.tell(assignment.trial.number, 4.25)
    said: list[str] = []

    work([study.name], bench_of_each.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=said.append)

    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].value == 4.25
    assert not trials[0].intermediate_values, "it was not trained again"
    assert progress(engine, study.identity).finished == 2


def test_an_outcome_that_awaits_its_telling_is_never_overwritten_however_many_die_of_it(
    study: Study, bench_of_each: Bench, dead: Process
) -> None:
    engine = bench_of_each.engine
    assignment = next_assignment_of(study, engine, dead, 30.0)
    assert assignment is not None
    record_result(engine, assignment.claim, DONE)
    for i in range(MAX_DEATHS + 1):
        recover(study, engine, OrphanDetector(grace_s=10.0))
        again = next_assignment_of(study, engine, dataclasses.replace(dead, name=f"{dead.name}.{i}"), 30.0)
        assert again is not None
        assert again.claim.result == DONE


def test_a_trial_asked_for_by_a_worker_that_died_before_noting_it_goes_on(
    bench_of_each: Bench, make_spec: Any, dead: Process
) -> None:
    """An enqueued point is asked for once: its worker's death must not lose it."""
    point = {"width": 8, "learning_rate": 0.00123}
    study = bench_of_each.create(make_spec(enqueue=[point], budget={"trials": 2}))
    engine = bench_of_each.engine
    assert claim(engine, study.identity, dead, 30.0) is not None
    stray = study.optuna.ask()
    recover(study, engine, OrphanDetector(grace_s=10.0))

    assignment = next_assignment_of(study, engine, this_process(), 30.0)

    assert assignment is not None
    assert assignment.trial.number == stray.number
    assert dict(assignment.params) == point
    assert len(study.optuna.get_trials()) == 1


# The list of workers.


def test_the_roster_tells_working_stopped_and_died_apart(engine: Engine, dead: Process) -> None:
    for process in (this_process(), dead, elsewhere("silent"), elsewhere("stopped")):
        register(engine, process, "cpu", 30.0)
    with engine.begin() as connection:
        update_status(connection, this_process(), WorkerStatus("working", STUDY, 4, 2, -1.5))
        update_status(connection, elsewhere("stopped"), WorkerStatus("stopped"))
        for name in ("silent", "stopped"):
            connection.execute(
                sqlalchemy.text("UPDATE drivebeat_workers SET seen_at = seen_at - 31 WHERE worker = :name"),
                {"name": name},
            )

    rows = {row.process.name: row for row in workers(engine)}

    me = rows[this_process().name]
    assert me.status == WorkerStatus("working", STUDY, 4, 2, -1.5)
    assert {name: rows[name].status.state for name in (dead.name, "silent", "stopped")} == {
        dead.name: "died",
        "silent": "died",
        "stopped": "stopped",
    }
    assert rows["silent"].seen_s_ago >= 31 > me.seen_s_ago
