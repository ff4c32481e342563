"""A study that was deleted and created again: its ids may be the same, its trials are not."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.storage import FastStorage, batch
from search.storage.open import open_engine, open_storage
from search.trials import IDENTITY

UNIT = FloatDistribution(0.0, 1.0)
ID_COLUMNS = {"studies": "study_id", "trials": "trial_id"}


@pytest.fixture
def elsewhere(empty_url: str, fast: FastStorage) -> Iterator["Elsewhere"]:
    opened = Elsewhere(empty_url)
    yield opened
    opened.storage.remove_session()
    opened.storage._backend.engine.dispose()  # type: ignore[attr-defined]


class Elsewhere:
    """Another program, which uses Optuna's own storage on the same database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.storage: BaseStorage = open_storage(url, fast=False)

    def create(self, name: str = "s", **attributes: Any) -> int:
        study_id = self.storage.create_new_study([StudyDirection.MINIMIZE], name)
        for key, value in attributes.items():
            self.storage.set_study_user_attr(study_id, key, value)
        return study_id

    def create_again(self, study_id: int, name: str = "s", **attributes: Any) -> None:
        """Delete a study, and create another one that has the same id, whose trials get the same ids."""
        self.storage.delete_study(study_id)
        engine = open_engine(self.url)
        if engine.dialect.name == "postgresql":  # as in a database that was dropped and created again
            with engine.begin() as connection:
                for table, column in ID_COLUMNS.items():
                    highest = f"(SELECT coalesce(max({column}), 0) + 1 FROM {table})"
                    restart = f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {highest}, false)"
                    connection.execute(sqlalchemy.text(restart))
        engine.dispose()
        assert self.create(name, **attributes) == study_id

    def enqueue(self, study_id: int, **params: Any) -> int:
        template = optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
        return self.storage.create_new_trial(study_id, template)


def complete(storage: BaseStorage, study_id: int, value: float) -> int:
    """Add a complete trial that reported `value`, and return its trial_id."""
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 0, value)
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])
    return trial_id


def content(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.params, trial.intermediate_values, trial.user_attrs, trial.system_attrs, trial.values, trial.state


@pytest.mark.parametrize("attributes", [{}, {IDENTITY: "a"}], ids=["stock", "ours"])
@pytest.mark.parametrize("n_after", [0, 1, 3, 5])
def test_the_trials_of_a_deleted_study_are_gone(
    fast: FastStorage, elsewhere: Elsewhere, n_after: int, attributes: dict[str, str]
) -> None:
    """Also where the new study has the old one's name, more trials or fewer."""
    study_id = elsewhere.create(**attributes)
    for _ in range(3):
        complete(elsewhere.storage, study_id, 1.0)
    assert len(fast.get_all_trials(study_id)) == 3
    elsewhere.create_again(study_id, **dict.fromkeys(attributes, "b"))
    for _ in range(n_after):
        complete(elsewhere.storage, study_id, 2.0)
    assert [trial.values for trial in fast.get_all_trials(study_id)] == [[2.0]] * n_after
    assert fast.get_all_trials(study_id) == elsewhere.storage.get_all_trials(study_id)
    assert fast.get_n_trials(study_id) == n_after


@pytest.mark.parametrize("attributes", [{}, {IDENTITY: "a"}], ids=["stock", "ours"])
def test_enqueued_trials_of_a_deleted_study_are_gone(
    fast: FastStorage, elsewhere: Elsewhere, attributes: dict[str, str]
) -> None:
    """No trial has a start that would tell the studies apart."""
    study_id = elsewhere.create(**attributes)
    for x in (0.1, 0.2):
        elsewhere.enqueue(study_id, x=x)
    assert len(fast.get_all_trials(study_id)) == 2
    elsewhere.create_again(study_id, **dict.fromkeys(attributes, "b"))
    elsewhere.enqueue(study_id, x=0.9)
    assert [trial.system_attrs["fixed_params"] for trial in fast.get_all_trials(study_id)] == [{"x": 0.9}]


def test_a_study_restored_from_a_copy_of_its_first_trials_has_only_those(
    fast: FastStorage, elsewhere: Elsewhere
) -> None:
    """copy_study copies attributes and the starts of trials."""
    study_id = elsewhere.create(**{IDENTITY: "a"})
    for _ in range(2):
        complete(elsewhere.storage, study_id, 1.0)
    copies = elsewhere.storage.get_all_trials(study_id)
    complete(elsewhere.storage, study_id, 1.0)
    assert len(fast.get_all_trials(study_id)) == 3
    elsewhere.create_again(study_id, **{IDENTITY: "a"})
    for trial in copies:
        elsewhere.storage.create_new_trial(study_id, trial)
    assert fast.get_all_trials(study_id) == elsewhere.storage.get_all_trials(study_id)


def test_what_a_pruner_knows_of_a_deleted_study_is_gone(fast: FastStorage, elsewhere: Elsewhere) -> None:
    study_id = elsewhere.create()
    for _ in range(3):
        complete(elsewhere.storage, study_id, 1.0)
    with fast.rungs(study_id) as rungs:
        assert rungs.n_at(0) == 3
    elsewhere.create_again(study_id)
    complete(elsewhere.storage, study_id, 2.0)
    with fast.rungs(study_id) as rungs:
        assert (rungs.n_at(0), rungs.percentile(0, 50.0)) == (1, 2.0)


def test_new_trials_are_numbered_from_the_new_study(fast: FastStorage, elsewhere: Elsewhere) -> None:
    study_id = elsewhere.create()
    for _ in range(3):
        complete(elsewhere.storage, study_id, 1.0)
    fast.get_all_trials(study_id)
    elsewhere.create_again(study_id)
    for expected in range(2):
        trial_id = fast.create_new_trial(study_id)
        assert fast.get_trial(trial_id).number == expected
        assert fast.get_trial(trial_id).state == TrialState.RUNNING
    assert fast.get_n_trials(study_id) == 2


def test_a_loaded_study_has_the_directions_of_the_new_one(fast: FastStorage, elsewhere: Elsewhere) -> None:
    study_id = elsewhere.create()
    complete(elsewhere.storage, study_id, 1.0)
    before = optuna.load_study(study_name="s", storage=fast)
    assert (before.direction, len(before.trials)) == (StudyDirection.MINIMIZE, 1)
    elsewhere.storage.delete_study(study_id)
    elsewhere.storage.create_new_study([StudyDirection.MAXIMIZE] * 2, "s")
    assert optuna.load_study(study_name="s", storage=fast).directions == [StudyDirection.MAXIMIZE] * 2


def test_a_distribution_of_a_deleted_study_does_not_bind_the_new_one(fast: FastStorage, elsewhere: Elsewhere) -> None:
    study_id = elsewhere.create()
    fast.set_trial_param(fast.create_new_trial(study_id), "c", 0, CategoricalDistribution(("a", "b")))
    fast.get_all_trials(study_id)
    elsewhere.create_again(study_id)
    trial_id = fast.create_new_trial(study_id)
    fast.set_trial_param(trial_id, "c", 2, CategoricalDistribution(("a", "b", "c")))
    assert fast.get_trial(trial_id).params == {"c": "c"}


def _report(storage: FastStorage, trial_id: int) -> None:
    storage.set_trial_intermediate_value(trial_id, 7, 7.0)


def _in_a_batch(storage: FastStorage, trial_id: int) -> None:
    with batch(storage, trial_id):
        storage.set_trial_param(trial_id, "x", 0.5, UNIT)
        storage.set_trial_user_attr(trial_id, "late", 1)
        storage.set_trial_system_attr(trial_id, "late", 1)


WRITES: dict[str, Callable[[FastStorage, int], Any]] = {
    "report": _report,
    "param": lambda storage, trial_id: storage.set_trial_param(trial_id, "x", 0.5, UNIT),
    "user attribute": lambda storage, trial_id: storage.set_trial_user_attr(trial_id, "late", 1),
    "system attribute": lambda storage, trial_id: storage.set_trial_system_attr(trial_id, "late", 1),
    "batch": _in_a_batch,
    "value": lambda storage, trial_id: storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [7.0]),
    "values": lambda storage, trial_id: storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [7.0, 7.0]),
    "state": lambda storage, trial_id: storage.set_trial_state_values(trial_id, TrialState.FAIL),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("lists", [False, True], ids=["trains on", "lists the new study"])
@pytest.mark.parametrize("origin", ["created", "taken", "resumed"])
def test_a_worker_of_a_deleted_study_does_not_write_into_the_new_one(
    fast: FastStorage, elsewhere: Elsewhere, write: str, lists: bool, origin: str
) -> None:
    """Its trial's id is another trial's by now: the write is one to a missing trial, again and again."""
    study_id = elsewhere.create()
    if origin == "taken":
        trial_id = elsewhere.enqueue(study_id)
        assert fast.set_trial_state_values(trial_id, TrialState.RUNNING)
    else:
        trial_id = (fast if origin == "created" else elsewhere.storage).create_new_trial(study_id)
    fast.get_all_trials(study_id)
    fast.set_trial_user_attr(trial_id, "mine", 1)
    with fast.rungs(study_id):
        pass  # a pruner reads the study: on PostgreSQL a report is another statement then
    elsewhere.create_again(study_id)
    assert elsewhere.storage.create_new_trial(study_id) == trial_id
    before = content(elsewhere.storage.get_trial(trial_id))
    for _ in range(2):
        if lists:
            fast.get_all_trials(study_id)
        with pytest.raises(KeyError):
            WRITES[write](fast, trial_id)
    assert content(elsewhere.storage.get_trial(trial_id)) == before


def test_a_late_write_to_an_ended_trial_of_the_new_study_is_one_to_a_missing_trial(
    fast: FastStorage, elsewhere: Elsewhere
) -> None:
    study_id = elsewhere.create()
    trial_id = fast.create_new_trial(study_id)
    elsewhere.create_again(study_id)
    complete(elsewhere.storage, study_id, 1.0)
    with pytest.raises(KeyError, match=f"trial 0 with the id {trial_id} was deleted"):
        fast.set_trial_user_attr(trial_id, "late", 1)


def test_a_worker_that_loads_the_new_study_works_on_its_trials(fast: FastStorage, elsewhere: Elsewhere) -> None:
    """It takes an enqueued trial, and continues another worker's, which have the ids of trials that it has had."""
    study_id = elsewhere.create()
    for _ in range(2):
        complete(fast, study_id, 1.0)
    fast.get_all_trials(study_id)
    elsewhere.create_again(study_id)
    running = elsewhere.storage.create_new_trial(study_id)
    elsewhere.enqueue(study_id, x=0.25)
    study = optuna.load_study(study_name="s", storage=fast)
    resumed = optuna.Trial(study, running)
    resumed.report(3.0, 0)
    study.tell(resumed, 3.0)
    taken = study.ask()
    assert taken.suggest_float("x", 0, 1) == 0.25
    study.tell(taken, 4.0)
    assert [trial.value for trial in elsewhere.storage.get_all_trials(study_id)] == [3.0, 4.0]


def test_a_trial_of_another_study_that_got_the_id_can_be_changed(fast: FastStorage, elsewhere: Elsewhere) -> None:
    """The ids of trials are given again across studies."""
    other, old = elsewhere.create("other"), elsewhere.create("old")
    trial_id = complete(fast, old, 1.0)
    fast.get_all_trials(old)
    elsewhere.create_again(old, "old")
    assert elsewhere.storage.create_new_trial(other) == trial_id
    (trial,) = fast.get_all_trials(other)
    fast.set_trial_user_attr(trial._trial_id, "mine", 1)
    assert elsewhere.storage.get_trial(trial_id).user_attrs == {"mine": 1}
    assert fast.get_all_trials(old) == []


def test_a_start_that_another_program_wrote_without_fractions_is_recognised(
    fast: FastStorage, elsewhere: Elsewhere
) -> None:
    study_id = elsewhere.create()
    trial_id = elsewhere.storage.create_new_trial(study_id)
    with fast.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE trials SET datetime_start = '2026-01-02 03:04:05'")
    other = pickle.loads(pickle.dumps(fast))
    for _ in range(2):
        other.get_all_trials(study_id)
        other.set_trial_user_attr(trial_id, "mine", 1)
    assert other.get_all_trials(study_id)[0].user_attrs == {"mine": 1}
    other.remove_session()
