"""Leases: a slot belongs to one worker at a time, is fenced by token, and comes out of a budget."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, update

from search.queue.slots import (
    Claim,
    OrphanDetector,
    claim,
    close,
    progress,
    record_result,
    record_trial,
    renew,
    reopen,
)
from search.queue.workers import Process
from search.storage.tables import SLOTS, STUDIES, set_budget
from search.trials import Fate
from search.worker.result import TrialResult

STUDY = "tiny"
Take = Callable[..., Claim]
DONE = TrialResult(Fate.COMPLETE, 1.5, 3).encode()


def elsewhere(name: str) -> Process:
    """A worker of another host, of which only its lease tells."""
    return Process(name, "another-host", 1, None)


def beat(engine: Engine, held: Claim) -> bool:
    with engine.begin() as connection:
        return renew(connection, held, 30.0)


def hand_over(engine: Engine, held: Claim, to: Process, result: str | None = None) -> Claim:
    """What happens to the slot of a worker that is taken for dead."""
    with engine.begin() as connection:
        connection.execute(update(SLOTS).values(expires_at=0.0))
    detector = OrphanDetector(grace_s=0.0)
    detector.find(engine, held.study, 0.0)
    (orphan,) = (o for o in detector.find(engine, held.study, 1.0) if o.slot == held.slot)
    assert reopen(engine, orphan, result=result)
    again = claim(engine, held.study, to, 30.0)
    assert again is not None
    return again


def test_every_call_of_a_late_worker_is_refused(engine: Engine, take: Take) -> None:
    late = take(elsewhere("late"))
    now = hand_over(engine, late, elsewhere("now"))

    assert (now.slot, now.token) == (late.slot, late.token + 1)
    assert not beat(engine, late)
    assert not record_trial(engine, late, 7)
    assert not record_result(engine, late, DONE)
    assert not any(close(engine, late, state) for state in ("open", "failed", "finished"))
    assert beat(engine, now)
    assert record_trial(engine, now, 7)
    assert record_result(engine, now, DONE)
    assert close(engine, now, "finished")


def test_a_claim_ends_once(engine: Engine, take: Take) -> None:
    held = take(elsewhere("a"))
    assert close(engine, held, "finished")
    assert not close(engine, held, "open")
    assert not record_result(engine, held, DONE)


def test_an_open_slot_is_taken_before_a_new_one_and_with_the_trial_that_ran_in_it(engine: Engine, take: Take) -> None:
    first, second = take(elsewhere("a")), take(elsewhere("b"))
    assert (first.slot, second.slot) == (0, 1)
    record_trial(engine, first, 11)
    close(engine, first, "open")

    again = claim(engine, STUDY, elsewhere("c"), 30.0, new=False)

    assert again is not None
    assert (again.slot, again.trial, again.token) == (0, 11, 2)
    assert claim(engine, STUDY, elsewhere("d"), 30.0, new=False) is None


def test_a_worker_that_lost_sight_of_its_claim_gets_the_same_slot_again(engine: Engine, take: Take) -> None:
    """The database goes away between claiming and asking: the claim is made again, and is not paid twice."""
    first = take(elsewhere("a"))
    again = take(elsewhere("a"))
    assert (again.slot, again.token) == (first.slot, first.token + 1)
    assert not record_result(engine, first, DONE)
    assert progress(engine, STUDY).claimed == 1


def test_eight_threads_claiming_at_once_get_the_budget_and_not_one_slot_more(engine: Engine) -> None:
    set_budget(engine, STUDY, 20, None)
    begin = threading.Barrier(8)

    def take(i: int) -> list[int]:
        begin.wait()
        got: list[int] = []
        while (held := claim(engine, STUDY, elsewhere(f"{i}.{len(got)}"), 30.0)) is not None:
            got.append(held.slot)
        return got

    with ThreadPoolExecutor(8) as pool:
        slots = [slot for got in pool.map(take, range(8)) for slot in got]
    assert sorted(slots) == list(range(20))


def test_a_failed_trial_gives_its_part_of_the_budget_back_and_a_finished_one_does_not(
    engine: Engine, take: Take
) -> None:
    for i in range(3):
        close(engine, take(elsewhere(str(i))), "finished" if i else "failed")
    again = take(elsewhere("more"))
    assert again.slot == 3
    assert claim(engine, STUDY, elsewhere("too many"), 30.0) is None
    close(engine, again, "finished")
    assert progress(engine, STUDY).spent


def test_after_its_hours_a_study_gives_no_new_slot_but_ends_what_was_begun(engine: Engine, take: Take) -> None:
    set_budget(engine, STUDY, 3, 1.0)
    first, second = take(elsewhere("a")), take(elsewhere("b"))
    close(engine, first, "open")
    with engine.begin() as connection:
        connection.execute(update(STUDIES).values(started_at=STUDIES.c.started_at - 3700.0))

    again = take(elsewhere("c"))
    assert again.slot == first.slot
    assert claim(engine, STUDY, elsewhere("d"), 30.0) is None
    assert not progress(engine, STUDY).spent, "two trials are still under way"
    for held in (again, second):
        close(engine, held, "finished")
    assert progress(engine, STUDY).spent
