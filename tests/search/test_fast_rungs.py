"""Rungs: what complete trials reported is read once, with the report that wants it, and never behind the times."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.sampling.pruners import quick
from search.storage.fast.storage import FastStorage, batch
from search.storage.open import open_storage


@pytest.fixture
def other(empty_url: str, fast: FastStorage) -> Iterator[FastStorage]:
    """Another worker's."""
    opened = open_storage(empty_url)
    assert isinstance(opened, FastStorage)
    yield opened
    opened.remove_session()


def study_on(storage: FastStorage, n_complete: int = 1) -> optuna.Study:
    """A study whose median pruner has looked at rungs already, in which so many trials reported 1.0 at step 0."""
    pruner = quick(optuna.pruners.MedianPruner(n_startup_trials=1))
    study = optuna.create_study(storage=storage, pruner=pruner, sampler=optuna.samplers.RandomSampler())
    for _ in range(n_complete):
        complete(storage, study._study_id, 1.0)
    trial = study.ask()
    trial.report(2.0, 0)
    assert trial.should_prune()
    study.tell(trial, state=TrialState.PRUNED)
    return study


def complete(storage: FastStorage, study_id: int, value: float) -> None:
    """A whole trial that reported `value` at step 0."""
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 0, value)
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])


def n_statements(storage: FastStorage, call: Callable[[], Any]) -> int:
    said: list[str] = []

    def note(connection: Any, cursor: Any, words: str, *_: Any) -> None:
        said.extend(words.split(";"))

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", note)
    call()
    sqlalchemy.event.remove(storage.engine, "before_cursor_execute", note)
    return len(said)


def test_a_report_and_its_decision_are_one_statement_on_postgresql_and_two_on_sqlite(
    fast: FastStorage, other: FastStorage
) -> None:
    """Trials that run, and others that another worker ends in between, cost no further one."""
    study = study_on(fast)
    for _ in range(5):
        other.set_trial_intermediate_value(other.create_new_trial(study._study_id), 0, 0.5)
    trial = study.ask()

    def step(at: int) -> None:
        complete(other, study._study_id, 3.0)
        trial.report(1.5, at)
        trial.should_prune()

    expected = 2 if fast.engine.dialect.name == "sqlite" else 1
    assert [n_statements(fast, partial(step, at)) for at in range(3)] == [expected] * 3


def test_a_whole_trial_takes_at_most_20_statements(fast: FastStorage) -> None:
    study = study_on(fast)

    def whole() -> None:
        trial = study.ask()
        with batch(fast, trial._trial_id):
            for i in range(6):
                trial.suggest_float(f"p{i}", 0, 1)
        for at in range(10):
            trial.report(0.5, at)
            assert not trial.should_prune()
        study.tell(trial, 0.5)

    whole()
    assert n_statements(fast, whole) <= (30 if fast.engine.dialect.name == "sqlite" else 20)


def test_what_another_worker_completed_counts_at_the_next_report(fast: FastStorage, other: FastStorage) -> None:
    study = study_on(fast)
    trial = study.ask()
    for _ in range(4):
        complete(other, study._study_id, 3.0)
    trial.report(2.5, 0)  # worse than the first one's 1.0, better than the median of all
    assert not trial.should_prune()
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 5


@pytest.mark.parametrize("late", [False, True], ids=["asked twice", "asked late"])
def test_what_came_with_a_report_is_used_once_and_soon(
    fast: FastStorage, other: FastStorage, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_on(fast)
    trial = study.ask()
    trial.report(2.5, 0)
    if late:
        monkeypatch.setattr("search.storage.fast.storage.FRESH_S", 0.0)
    else:
        assert trial.should_prune()
    for _ in range(4):
        complete(other, study._study_id, 3.0)
    assert not trial.should_prune()


def test_a_report_of_a_trial_that_has_ended_or_is_gone_is_refused(fast: FastStorage, other: FastStorage) -> None:
    study = study_on(fast)
    trial = study.ask()
    trial.report(0.5, 0)
    assert not trial.should_prune()
    other.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        trial.report(0.5, 1)
    assert fast.get_trial(trial._trial_id).intermediate_values == {0: 0.5}
    other.delete_study(study._study_id)
    with pytest.raises(KeyError):
        trial.report(0.5, 2)


def test_a_report_written_over_stays_one(fast: FastStorage) -> None:
    """A worker that lost its answer tells it again."""
    study = study_on(fast)
    trial_id = study.ask()._trial_id
    for value in (0.5, 0.25):
        fast.set_trial_intermediate_value(trial_id, 3, value)
    fast.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.25])
    assert fast.get_trial(trial_id).intermediate_values == {3: 0.25}
    with fast.rungs(study._study_id) as rungs:
        assert (rungs.n_at(3), rungs.percentile(3, 50.0)) == (1, 0.25)
