"""Another program ends or deletes a trial at the moment at which a worker assigns it: the worker goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.artifacts.open import open_artifacts
from search.queue.slots import record_trial
from search.storage.open import driver_url
from search.worker.worker import work
from tests.support.study import Bench, MakeSpec

Act = Callable[[str, int], None]


def told(state: TrialState) -> Act:
    def act(url: str, number: int) -> None:
        study = optuna.load_study(study_name="tiny", storage=RDBStorage(driver_url(url)))
        study.tell(number, -50.0 if state == TrialState.COMPLETE else None, state=state)

    return act


def deleted(url: str, number: int) -> None:
    engine = sqlalchemy.create_engine(driver_url(url))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM trials WHERE number = :number"), {"number": number})
    engine.dispose()


@pytest.mark.parametrize(
    ("act", "words", "n_others"),
    [
        (told(TrialState.COMPLETE), "trial 0 complete", 1),
        (told(TrialState.PRUNED), "trial 0 pruned", 1),
        (told(TrialState.FAIL), "trial 0 failed (0 epochs): ended by another program", 2),
        (deleted, "trial 0 was deleted; its slot is free for another trial", 2),
    ],
    ids=["complete", "pruned", "failed", "deleted"],
)
def test_the_trial_counts_as_it_was_ended_and_the_budget_is_met(
    act: Act,
    words: str,
    n_others: int,
    bench: Bench,
    make_spec: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.create(make_spec(epochs=1, budget={"trials": 2}))
    record, done = record_trial, list[int]()

    def recorded(engine: Any, claimed: Any, trial: int) -> bool:
        found = record(engine, claimed, trial)
        if not done:
            done.append(trial)
            act(bench.url, trial)
        return found

    monkeypatch.setattr("search.worker.assign.record_trial", recorded)
    lines: list[str] = []
    work(["tiny"], bench.url, open_artifacts(str(tmp_path / "artifacts")), threads=1, log=lines.append)
    assert any(line.startswith(words) for line in lines), lines
    assert "study tiny: its budget of 2 trials is spent" in lines
    state = bench.progress()
    assert (state.finished, state.open, state.claimed) == (2, 0, 0)
    trained = [line for line in lines if " complete " in line and "(1 epochs)" in line]
    assert len(trained) == n_others, lines
