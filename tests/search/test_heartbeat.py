"""The heartbeat: it renews the lease, tells the epoch, notices a lost slot and a trial that hangs."""

import math
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy
from sqlalchemy import Engine, update

from search.queue.heartbeat import Heartbeat
from search.queue.slots import Claim, OrphanDetector
from search.queue.workers import WorkerStatus, register, this_process, workers
from search.storage.tables import SLOTS
from tests.support.waiting import wait_for

STUDY = "tiny"
Take = Callable[..., Claim]


@pytest.fixture
def heartbeat(engine: Engine) -> Iterator[Heartbeat]:
    register(engine, this_process(), "cpu", 1.2)
    with Heartbeat(engine, this_process(), 1.2, OrphanDetector(grace_s=0.4)) as beating:
        yield beating


def test_the_heartbeat_renews_the_lease_and_tells_the_epoch(engine: Engine, heartbeat: Heartbeat, take: Take) -> None:
    held = take(this_process(), lease_s=1.2)
    heartbeat.start(held, 5, None, math.inf, lambda: None)
    heartbeat.epoch(2, -0.5)

    def beats() -> int:
        with engine.begin() as connection:
            return int(connection.execute(sqlalchemy.select(SLOTS.c.beats)).scalar_one())

    wait_for(lambda: beats() >= 3, 20.0)
    assert not heartbeat.lost.is_set()
    wait_for(lambda: workers(engine)[0].status == WorkerStatus("working", STUDY, 5, 2, -0.5), 20.0)
    heartbeat.stop()
    wait_for(lambda: workers(engine)[0].status == WorkerStatus("waiting"), 20.0)


def test_the_heartbeat_notices_that_another_worker_has_the_slot(
    engine: Engine, heartbeat: Heartbeat, take: Take
) -> None:
    held = take(this_process())
    heartbeat.start(held, 5, None, math.inf, lambda: None)
    with engine.begin() as connection:
        connection.execute(update(SLOTS).values(token=held.token + 1, worker="another"))
    assert heartbeat.lost.wait(20.0)


def test_the_heartbeat_calls_back_when_a_trial_hangs(heartbeat: Heartbeat, engine: Engine, take: Take) -> None:
    called = threading.Event()
    heartbeat.start(take(this_process()), 5, None, 0.1, called.set)
    assert called.wait(20.0)
