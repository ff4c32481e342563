"""A worker stopped (SIGSTOP) while it holds the lock of assignments: others go on, what it does late is refused."""

import signal
from pathlib import Path
from typing import Any

import pytest

from search.queue.slots import Claim, claim, record_trial
from search.queue.workers import Process, this_process
from search.storage.locks import exclusive
from search.storage.open import open_engine
from search.study.study import Study
from tests.support.holder import start_holder
from tests.support.study import Bench, MakeSpec
from tests.support.waiting import wait_for
from tests.support.worker import next_assignment_of


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits looks often, and gives up after 2 s."""
    monkeypatch.setattr("search.storage.locks.POLL_S", 0.5)
    monkeypatch.setattr("search.storage.locks.LOCK_TIMEOUT_S", 2.0)


def test_the_lock_of_a_stopped_process_is_taken_and_its_waking_harms_nobody(
    empty_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    holder = start_holder(empty_url, tmp_path)
    engine, third = open_engine(empty_url), open_engine(empty_url)
    try:
        wait_for((tmp_path / "held").exists, 30.0)
        holder.send_signal(signal.SIGSTOP)
        with exclusive(engine, "turn", expires_s=1.0):
            (tmp_path / "go").touch()
            holder.send_signal(signal.SIGCONT)
            assert holder.wait(30) == 0, "it ends in order, though its lock was gone"
            assert (tmp_path / "left").exists()
            request.getfixturevalue("hasty")
            # its leaving did not open the lock to a third
            with (
                pytest.raises(Exception, match=r"could not be acquired"),
                exclusive(third, "turn", expires_s=60.0),
            ):
                pass
    finally:
        holder.kill()
        holder.wait()
        engine.dispose()


@pytest.mark.usefixtures("hasty")
def test_a_lock_without_a_term_is_never_taken(empty_url: str) -> None:
    """Making tables has no tokens to refuse what comes late."""
    engine, other = open_engine(empty_url), open_engine(empty_url)
    with (
        exclusive(engine, "schema"),
        pytest.raises(Exception, match=r"could not be acquired"),
        exclusive(other, "schema"),
    ):
        pass
    with exclusive(other, "schema"):
        pass


def test_a_worker_that_starts_is_not_held_up_by_one_that_was_stopped_in_its_turn(tmp_path: Path) -> None:
    """SQLite has one lock file for turns and for looking at the tables."""
    url = f"sqlite:///{tmp_path}/studies.db"
    stopped, starting = open_engine(url), open_engine(url)
    with exclusive(stopped, "turn", expires_s=0.5), exclusive(starting, "schema"):
        pass
    assert not (tmp_path / "studies.db.lock.term").exists(), "nothing is left that a later holder could be taken by"


def elsewhere(name: str) -> Process:
    return Process(name, "another-host", 1, None)


@pytest.fixture
def search_of(bench_of_each: Bench, make_spec: MakeSpec) -> Study:
    return bench_of_each.create(make_spec(budget={"trials": 4}))


def test_a_trial_is_noted_in_one_slot_only(search_of: Study, bench_of_each: Bench) -> None:
    """The late one asked for a trial and was stopped; another one found it without a slot, and took it."""
    engine = bench_of_each.engine
    late, other = (claim(engine, search_of.identity, elsewhere(name), 30.0) for name in ("late", "other"))
    assert isinstance(late, Claim)
    assert isinstance(other, Claim)
    assert record_trial(engine, other, 0)
    assert not record_trial(engine, late, 0)
    assert record_trial(engine, other, 0), "noting the same again is no conflict"
    assert record_trial(engine, late, 1)


def test_a_turn_whose_slot_was_lost_on_the_way_is_none_and_its_trial_is_the_next_ones(
    search_of: Study, bench_of_each: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = bench_of_each.engine
    given_up: list[Claim | None] = []

    def late(engine: Any, held: Claim, trial: int) -> bool:
        """As if it had slept past its lease, and its slot had been claimed anew."""
        if not given_up:
            given_up.append(claim(engine, search_of.identity, elsewhere("late"), 30.0))
        return record_trial(engine, held, trial)

    monkeypatch.setattr("search.worker.assign.record_trial", late)
    assert next_assignment_of(search_of, engine, elsewhere("late"), 30.0) is None
    again = next_assignment_of(search_of, engine, elsewhere("late"), 30.0)
    assert again is not None
    assert again.trial.number == 0
    assert len(search_of.optuna.get_trials()) == 1
    assert next_assignment_of(search_of, engine, this_process(), 30.0) is not None
