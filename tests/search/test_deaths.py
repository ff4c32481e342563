"""Deaths of a trial's workers: those in a row without an epoch in between fail it; a machine taken away does not."""

import dataclasses
from typing import Any

import pytest
import sqlalchemy

from search.queue.slots import Orphan, OrphanDetector, close, consecutive_deaths
from search.queue.workers import Process, this_process
from search.storage.tables import SLOTS
from search.study.study import Study
from search.trials import Fate
from search.worker.assign import MAX_DEATHS, recover
from search.worker.context import Assignment
from search.worker.result import TrialResult
from tests.support.study import Bench, MakeSpec
from tests.support.worker import next_assignment_of


@pytest.fixture
def study(bench_of_each: Bench, make_spec: MakeSpec) -> Study:
    return bench_of_each.create(make_spec(epochs=9, budget={"trials": 2}))


def assignment_of(study: Study, engine: Any, process: Process) -> Assignment:
    assignment = next_assignment_of(study, engine, process, 30.0)
    assert assignment is not None
    return assignment


def dies(study: Study, engine: Any, n: int, epoch: int | None = None) -> str | None:
    """The n-th worker takes the trial, reports `epoch`, is killed; the result it was met with."""
    here = this_process()
    assignment = assignment_of(
        study, engine, dataclasses.replace(here, name=f"w{n}", started=(here.started or 0) - 1)
    )  # a former pid
    assert assignment.trial.number == 0
    if epoch is not None:
        assignment.trial.report(float(epoch), epoch)
    assert recover(study, engine, OrphanDetector(grace_s=10.0)) == [0]
    return assignment.claim.result


def test_deaths_with_an_epoch_between_them_never_fail_a_trial(study: Study, bench_of_each: Bench) -> None:
    """A pre-empted machine: killed again and again, but each time farther on."""
    engine = bench_of_each.engine
    results = [dies(study, engine, n, epoch=n) for n in range(2 * MAX_DEATHS)]
    assert results == [None] * 2 * MAX_DEATHS
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(SLOTS.c.deaths, SLOTS.c.reached)).one() == (0, 2 * MAX_DEATHS - 1)


def test_deaths_at_one_and_the_same_epoch_fail_it_though_it_had_got_so_far(study: Study, bench_of_each: Bench) -> None:
    engine = bench_of_each.engine
    dies(study, engine, 0, epoch=3)
    assert [dies(study, engine, n) for n in range(1, MAX_DEATHS + 1)] == [None] * MAX_DEATHS
    last = assignment_of(study, engine, this_process())
    assert last.claim.result is not None
    result = TrialResult.decode(last.claim.result)
    assert result.fate == Fate.FAILED
    assert f"{MAX_DEATHS} workers in a row died in it without finishing an epoch" in result.reason


def test_an_epoch_ends_the_row(study: Study, bench_of_each: Bench) -> None:
    engine = bench_of_each.engine
    epochs = [None, None, 0, None, None, 1, None, None]
    assert [dies(study, engine, n, epoch) for n, epoch in enumerate(epochs)] == [None] * len(epochs)


def test_a_trial_given_back_in_order_is_no_death(study: Study, bench_of_each: Bench) -> None:
    """SIGTERM, as by SLURM before it takes a machine: however often."""
    engine = bench_of_each.engine
    for n in range(2 * MAX_DEATHS):
        assignment = assignment_of(study, engine, dataclasses.replace(this_process(), name=f"w{n}"))
        assert assignment.claim.result is None
        assert close(engine, assignment.claim, "open")
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(SLOTS.c.deaths)).scalar_one() == 0


@pytest.mark.parametrize(
    ("before", "reached_before", "reached", "expected"),
    [(0, None, None, 1), (2, None, 0, 0), (2, 4, 4, 3), (2, 4, 5, 0), (1, 4, None, 2)],
)
def test_the_row_grows_without_a_new_epoch_and_ends_with_one(
    before: int, reached_before: int | None, reached: int | None, expected: int
) -> None:
    assert consecutive_deaths(Orphan("s", 0, 1, "w", 0, before, reached_before), reached) == expected
