"""Our storage beside Optuna's on one database: equal trials, equal decisions, one winner, few statements."""

import copy
import math
import multiprocessing
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.storage.fast.storage import FastStorage, batch
from search.storage.idle import close_when_idle

UNIT = FloatDistribution(0.0, 1.0)


def study_on(storage: BaseStorage, name: str = "s", **options: Any) -> optuna.Study:
    return optuna.create_study(
        storage=storage, study_name=name, load_if_exists=True, sampler=optuna.samplers.RandomSampler(), **options
    )


def test_each_reads_what_the_other_wrote(fast: FastStorage, stock: BaseStorage) -> None:
    """Params of every kind, NaN and infinite reports, attributes, pruned and failed ones, in turns."""
    studies = [study_on(fast), study_on(stock)]
    for i in range(6):
        trial = studies[i % 2].ask()
        trial.suggest_float("x", 0.1, 1.0, log=True)
        trial.suggest_int("n", 1, 9, step=2)
        trial.suggest_categorical("c", ("a", None, 3, 2.5))
        for step, value in enumerate([math.nan, math.inf, -math.inf, 0.5][: i + 1]):
            trial.report(value, step)
        trial.set_user_attr("u", {"deep": [i, None]})
        studies[i % 2].tell(trial, None if i == 4 else float(i), state=TrialState.FAIL if i == 4 else None)
    mine, theirs = studies[0].get_trials(), studies[1].get_trials()
    assert repr(mine) == repr(theirs)  # NaN is not equal to itself
    assert [trial.number for trial in mine] == list(range(6))
    assert studies[0].best_value == studies[1].best_value == 0.0


def test_what_others_do_to_running_trials_is_seen(fast: FastStorage, stock: BaseStorage) -> None:
    """Reports, attributes and states that come in after a first reading; also one written over by another of ours."""
    mine, theirs = study_on(fast), study_on(stock)
    other = pickle.loads(pickle.dumps(fast))
    trial = theirs.ask()
    (seen,) = mine.get_trials(deepcopy=False)
    before = copy.deepcopy(seen)
    trial.suggest_float("x", 0, 1)
    trial.report(1.0, 0)
    stock.set_trial_system_attr(trial._trial_id, "rung", 1)
    assert mine.get_trials()[0].intermediate_values == {0: 1.0}
    assert mine.get_trials()[0].system_attrs == {"rung": 1}
    other.set_trial_intermediate_value(trial._trial_id, 0, 2.0)
    other.set_trial_system_attr(trial._trial_id, "rung", 2)
    assert mine.get_trials()[0].intermediate_values == {0: 2.0}
    assert mine.get_trials()[0].system_attrs == {"rung": 2}
    theirs.tell(trial, 3.0)
    assert mine.get_trials()[0] == theirs.get_trials()[0]
    assert seen == before  # what was handed out does not change
    other.remove_session()


def test_an_enqueued_trial_goes_to_exactly_one(fast: FastStorage) -> None:
    study = study_on(fast)
    for i in range(6):
        study.enqueue_trial({"x": i / 10})
    taken: list[float] = []

    def work(storage: FastStorage) -> None:
        mine = optuna.load_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler())
        taken.extend(mine.ask().suggest_float("x", 0, 1) for _ in range(2))
        storage.remove_session()

    threads = [threading.Thread(target=work, args=(pickle.loads(pickle.dumps(fast)),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [i / 10 for i in range(6)]
    assert fast.get_n_trials(study._study_id) == 6


def test_numbers_have_no_gaps_however_many_ask_at_once(fast: FastStorage, stock: BaseStorage) -> None:
    study = study_on(fast)
    storages = [fast, fast, stock, pickle.loads(pickle.dumps(fast))]

    def ask(storage: BaseStorage) -> None:
        for _ in range(4):
            storage.create_new_trial(study._study_id)

    threads = [threading.Thread(target=ask, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trial.number for trial in study.get_trials()] == list(range(16))
    storages[-1].remove_session()


def test_several_objectives_come_back_in_order(fast: FastStorage, stock: BaseStorage) -> None:
    study = study_on(fast, directions=["minimize", "maximize", "minimize"])
    study.tell(study.ask(), [1.0, math.inf, -3.0])
    assert study.trials[0].values == study_on(stock, directions=study.directions).trials[0].values
    assert study.trials[0].values == [1.0, math.inf, -3.0]
    assert len(study.best_trials) == 1


def test_params_are_there_before_training_starts(fast: FastStorage, stock: BaseStorage) -> None:
    """Without `batch` at once, with it when its block ends: a kill before the first report loses none."""
    mine, theirs = study_on(fast), study_on(stock)
    trial = mine.ask()
    trial.suggest_float("x", 0, 1)
    assert theirs.get_trials()[0].params == trial.params
    with batch(fast, trial._trial_id):
        trial.suggest_float("y", 0, 1)
        trial.suggest_categorical("z", ("a", "b"))
        trial.set_user_attr("run", "all of it")
        assert "y" not in theirs.get_trials()[0].params
    assert theirs.get_trials()[0].params == trial.params
    assert theirs.get_trials()[0].user_attrs == {"run": "all of it"}


def test_what_is_held_is_written_before_trials_are_read(fast: FastStorage) -> None:
    study = study_on(fast)
    trial = study.ask()
    with batch(fast, trial._trial_id):
        trial.suggest_float("x", 0, 1)
        assert fast.get_trial(trial._trial_id).params == trial.params
        trial.suggest_float("y", 0, 1)
        assert study.get_trials()[0].params == trial.params
        with batch(fast, trial._trial_id), pytest.raises(ZeroDivisionError):  # what was set is a fact
            trial.set_user_attr("a", 1)
            raise ZeroDivisionError
    assert fast.get_trial(trial._trial_id).user_attrs == {"a": 1}


def test_a_block_on_a_finished_trial_is_refused(fast: FastStorage) -> None:
    study = study_on(fast)
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(UpdateFinishedTrialError), batch(fast, trial._trial_id):
        fast.set_trial_user_attr(trial._trial_id, "late", 1)
    assert fast.get_trial(trial._trial_id).user_attrs == {}


def test_a_distribution_that_others_chose_is_kept(fast: FastStorage, stock: BaseStorage) -> None:
    """Also where this process has read no trial that has the param yet."""
    theirs = study_on(stock)
    theirs.ask().suggest_categorical("c", (1, 2))
    trial_id = fast.create_new_trial(theirs._study_id)
    with pytest.raises(ValueError, match="dynamic value space"):
        fast.set_trial_param(trial_id, "c", 0, CategoricalDistribution((1, 2, 3)))
    with pytest.raises(ValueError):
        fast.set_trial_param(trial_id, "c", 0, IntDistribution(0, 3))
    fast.set_trial_param(trial_id, "c", 1, CategoricalDistribution((1, 2)))
    assert fast.get_trial(trial_id).params == {"c": 2}


def test_a_study_that_was_deleted_elsewhere_is_gone_and_its_id_may_be_another(
    fast: FastStorage, stock: BaseStorage
) -> None:
    """SQLite gives ids again: what was remembered must not be told of the new study."""
    study = study_on(fast, "old")
    study.tell(study.ask(), 1.0)
    assert len(study.get_trials()) == 1
    stock.delete_study(study._study_id)
    with pytest.raises(KeyError):
        fast.get_all_trials(study._study_id)
    anew = study_on(stock, "new")
    anew.ask()
    found = fast.get_all_trials(anew._study_id)
    assert [(trial.number, trial.state) for trial in found] == [(0, TrialState.RUNNING)]


def _forked(storage: FastStorage, study_id: int) -> None:
    storage.create_new_trial(study_id)


def test_it_survives_a_fork_and_the_parent_its_child(fast: FastStorage) -> None:
    study = study_on(fast)
    study.ask()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which the child does not use
        child = multiprocessing.get_context("fork").Process(target=_forked, args=(fast, study._study_id))
        child.start()
    child.join(30)
    assert child.exitcode == 0
    assert len(study.get_trials()) == 2


def statements(storage: FastStorage, call: Callable[[], Any]) -> list[str]:
    said: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        said.append(statement)

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", note)
    call()
    sqlalchemy.event.remove(storage.engine, "before_cursor_execute", note)
    return said


def run(study: optuna.Study) -> None:
    trial = study.ask()
    with batch(study._storage, trial._trial_id):
        for i in range(6):
            trial.suggest_float(f"p{i}", 0, 1)
    for step in range(10):
        trial.report(float(step), step)
        trial.should_prune()
    study.tell(trial, 1.0)


@pytest.mark.parametrize("n_running", [0, 30])
def test_a_trial_takes_at_most_30_statements_however_many_run(fast: FastStorage, n_running: int) -> None:
    study = study_on(fast, pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    for _ in range(n_running):
        fast.set_trial_intermediate_value(fast.create_new_trial(study._study_id), 0, 0.5)
    for _ in range(2):
        run(study)
    assert len(statements(fast, lambda: run(study))) <= 30


def test_finished_trials_are_read_once_and_only_when_wanted(fast: FastStorage) -> None:
    study = study_on(fast)
    for _ in range(3):
        run(study)
    fresh = pickle.loads(pickle.dumps(fast))
    assert len(statements(fresh, lambda: fresh.get_n_trials(study._study_id))) == 1
    complete = (TrialState.COMPLETE,)
    assert len(statements(fresh, lambda: fresh.get_all_trials(study._study_id, states=complete))) == 2
    assert len(statements(fresh, lambda: fresh.get_all_trials(study._study_id, states=complete))) == 1
    assert fresh.get_all_trials(study._study_id) == fast.get_all_trials(study._study_id)
    fresh.remove_session()


def test_an_idle_engine_keeps_no_connection(tmp_path: Path) -> None:
    """It closes what it kept, and connects again when it is used."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db", poolclass=sqlalchemy.QueuePool, pool_size=1)
    closed = threading.Event()
    sqlalchemy.event.listen(engine, "close", lambda *_: closed.set())
    close_when_idle(engine, idle_s=0.1)
    for _ in range(2):
        closed.clear()
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        assert closed.wait(20)
    engine.dispose()
