"""Rows that another program wrote and nobody can decode: their trials lack them, and nothing else."""

import json
import math
import warnings
from typing import Any

import optuna
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.reads import system_attributes
from search.storage.fast.storage import FastStorage, batch
from search.storage.open import open_storage

MINIMIZE = [StudyDirection.MINIMIZE]
CHOICES = CategoricalDistribution(("a", "b"))


def again(storage: FastStorage) -> FastStorage:
    """Another worker's storage, which has read nothing yet."""
    opened = open_storage(storage.engine.url.render_as_string(hide_password=False))
    assert isinstance(opened, FastStorage)
    return opened


def write(storage: FastStorage, statement: str, **values: Any) -> None:
    with storage.engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement), values)


def add_param(storage: FastStorage, trial_id: int, name: str, number: float | None, distribution: str | None) -> None:
    write(
        storage,
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (:t, :n, :v, :d)",
        t=trial_id,
        n=name,
        v=number,
        d=distribution,
    )


def add_attribute(storage: FastStorage, kind: str, trial_id: int, text: str | None) -> None:
    write(
        storage,
        f"INSERT INTO trial_{kind}_attributes (trial_id, key, value_json) VALUES (:t, 'bad', :w)",
        t=trial_id,
        w=text,
    )


def good_trial(storage: BaseStorage, study_id: int) -> int:
    """Add a running trial with one of each: a param, a report and attributes."""
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0.0, 1.0))
    storage.set_trial_intermediate_value(trial_id, 0, 0.25)
    storage.set_trial_user_attr(trial_id, "good", [1])
    storage.set_trial_system_attr(trial_id, "good", [2])
    return trial_id


BAD_JSON = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(lambda text: not _is_json(text)),
    st.just("[" * 5000),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "low"]), inner),
    max_leaves=5,
)
NO_DISTRIBUTION = st.one_of(
    BAD_JSON,
    JSON.map(json.dumps),
    st.sampled_from(
        [
            '{"name": "NoSuchDistribution", "attributes": {}}',
            '{"name": "FloatDistribution", "attributes": {"low": 2.0, "high": 1.0}}',
            '{"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0, "step": "a"}}',
            '{"name": "FloatDistribution", "attributes": [0.0, 1.0]}',
            '{"name": "CategoricalDistribution", "attributes": {"choices": []}}',
            '{"name": "IntDistribution", "attributes": {"low": null, "high": 1}}',
        ]
    ),
).map(lambda text: (0.0, text))
NO_VALUE = st.sampled_from(
    [(number, distribution_to_json(CHOICES)) for number in (2.0, -1.0, 1e300, math.inf, math.nan, None)]
    + [(number, distribution_to_json(IntDistribution(0, 9))) for number in (math.inf, math.nan, None)]
    + [(number, distribution_to_json(FloatDistribution(0.0, 9.0))) for number in (math.nan, None)]
)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_a_trial_is_read_without_what_cannot_be_decoded(fast: FastStorage) -> None:
    """Params, attributes and numbers of any kind, read one by one, in lists, and after another reading."""

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(NO_DISTRIBUTION | NO_VALUE, max_size=2), st.none() | BAD_JSON, BAD_JSON, st.booleans())
    def read(params: list[Any], user: str | None, system: str | None, ended: bool) -> None:
        study_id = fast.create_new_study(MINIMIZE)
        trial_ids = [good_trial(fast, study_id) for _ in range(2)]
        expected = fast.get_all_trials(study_id)
        for i, (number, distribution) in enumerate(params):
            add_param(fast, trial_ids[0], f"bad{i}", number, distribution)
        add_attribute(fast, "user", trial_ids[0], user)
        add_attribute(fast, "system", trial_ids[0], system)
        fresh = again(fast)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of choices of unusual types
            for storage in (fast, fresh):
                assert without_bad(storage.get_all_trials(study_id), params) == expected
                assert without_bad([storage.get_trial(trial_ids[0])], params) == expected[:1]
            if ended:
                fast.set_trial_state_values(trial_ids[0], TrialState.FAIL)
                for storage in (fast, fresh):
                    (trial,) = without_bad(storage.get_all_trials(study_id, states=(TrialState.FAIL,)), params)
                    assert (trial.params, trial.user_attrs) == (expected[0].params, expected[0].user_attrs)
        fresh.remove_session()

    def without_bad(trials: list[FrozenTrial], params: list[Any]) -> list[FrozenTrial]:
        """A generated JSON may be a distribution by chance; then its param is none that cannot be decoded."""
        for trial in trials:
            for i, (number, distribution) in enumerate(params):
                if f"bad{i}" in trial.distributions:
                    assert optuna.distributions.json_to_distribution(distribution) and number == 0.0
                    del trial._params[f"bad{i}"], trial._distributions[f"bad{i}"]
        return trials

    read()


@pytest.mark.parametrize("stored", [(None, "FINITE"), (1.0, "NO SUCH KIND")])
def test_a_number_of_an_unknown_kind_is_left_out(fast: FastStorage, stored: tuple[float | None, str]) -> None:
    """Reports and objective values; the median pruner's reports too."""
    number, kind = stored
    if kind != "FINITE" and fast.engine.dialect.name == "postgresql":
        for name in ("trialvaluetype", "trialintermediatevaluetype"):
            write(fast, f"ALTER TYPE {name} ADD VALUE '{kind}'")
    study_id = fast.create_new_study(MINIMIZE)
    with fast.rungs(study_id):
        pass
    trial_ids = [good_trial(fast, study_id) for _ in range(2)]
    for trial_id in trial_ids:
        fast.set_trial_intermediate_value(trial_id, 1, 0.75)
        fast.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.75])
    at = {"t": trial_ids[0], "v": number, "k": kind}
    write(fast, f"UPDATE trial_values SET value = :v, value_type = '{kind}' WHERE trial_id = :t", t=at["t"], v=number)
    write(
        fast,
        f"UPDATE trial_intermediate_values SET intermediate_value = :v, intermediate_value_type = '{kind}' "
        "WHERE trial_id = :t AND step = 1",
        t=at["t"],
        v=number,
    )
    for storage in (fast, again(fast)):
        bad, good = storage.get_all_trials(study_id)
        assert (bad.values, bad.intermediate_values) == (None, {0: 0.25})
        assert (good.values, good.intermediate_values) == ([0.75], {0: 0.25, 1: 0.75})
        with storage.rungs(study_id) as rungs:
            assert (rungs.n_at(0), rungs.n_at(1)) == (2, 1)


def test_a_trial_in_an_unknown_state_is_read_as_failed(fast: FastStorage) -> None:
    study_id = fast.create_new_study(MINIMIZE)
    trial_ids = [good_trial(fast, study_id) for _ in range(2)]
    fast.get_all_trials(study_id)
    if fast.engine.dialect.name == "postgresql":
        write(fast, "ALTER TYPE trialstate ADD VALUE 'PAUSED'")
    write(fast, "UPDATE trials SET state = 'PAUSED' WHERE trial_id = :t", t=trial_ids[0])
    for storage in (fast, again(fast)):
        assert [trial.state for trial in storage.get_all_trials(study_id)] == [TrialState.FAIL, TrialState.RUNNING]
        assert storage.get_trial(trial_ids[0]).state == TrialState.FAIL


def test_a_study_is_read_without_attributes_that_are_not_json(fast: FastStorage) -> None:
    study_id = fast.create_new_study(MINIMIZE, "s")
    for kind in ("user", "system"):
        for key, text in (("good", "1"), ("bad", "{")):
            write(
                fast,
                f"INSERT INTO study_{kind}_attributes (study_id, key, value_json) VALUES (:s, :k, :w)",
                s=study_id,
                k=key,
                w=text,
            )
    assert fast.get_study_user_attrs(study_id) == fast.get_study_system_attrs(study_id) == {"good": 1}
    (study,) = fast.get_all_studies()
    assert study.user_attrs == study.system_attrs == {"good": 1}
    assert system_attributes(fast.engine, study_id, "%") == {"good": 1}


def test_a_batch_is_not_refused_for_a_distribution_of_another_program(fast: FastStorage, stock: BaseStorage) -> None:
    """A worker has its own space, and leaves trials outside it out. Outside a batch Optuna's rule holds."""
    study_id = fast.create_new_study(MINIMIZE, "s")
    foreign = optuna.trial.create_trial(
        value=1.0, params={"x": "a"}, distributions={"x": CategoricalDistribution(("a", "b"))}
    )
    stock.create_new_trial(study_id, foreign)
    fast.get_all_trials(study_id)
    trial_id = fast.create_new_trial(study_id)
    with pytest.raises(ValueError):
        fast.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0.0, 1.0))
    with batch(fast, trial_id):
        fast.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0.0, 1.0))
    assert [trial.params for trial in stock.get_all_trials(study_id)] == [{"x": "a"}, {"x": 0.5}]


def test_an_undecodable_distribution_binds_nobody(fast: FastStorage) -> None:
    study_id = fast.create_new_study(MINIMIZE)
    add_param(fast, fast.create_new_trial(study_id), "x", 0.5, "no JSON")
    trial_id = fast.create_new_trial(study_id)
    fast.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0.0, 1.0))
    assert fast.get_trial(trial_id).params == {"x": 0.5}
