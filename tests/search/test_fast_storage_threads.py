"""Threads, forks and Optuna's gRPC server share one storage; each reads what the others have written."""

import contextlib
import math
import multiprocessing
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.storage import FastStorage, batch
from search.storage.open import open_storage

MINIMIZE = [StudyDirection.MINIMIZE]


@pytest.fixture
def other_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


WRITES: dict[str, Callable[[FastStorage, int], Any]] = {
    "report": lambda storage, trial_id: storage.set_trial_intermediate_value(trial_id, 0, 0.5),
    "param": lambda storage, trial_id: storage.set_trial_param(trial_id, "x", 0.5, FloatDistribution(0, 1)),
    "user attribute": lambda storage, trial_id: storage.set_trial_user_attr(trial_id, "a", 1),
    "system attribute": lambda storage, trial_id: storage.set_trial_system_attr(trial_id, "a", 1),
    "state": lambda storage, trial_id: storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0]),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_new_trial_is_read_with_what_another_thread_wrote(
    fast: FastStorage, other_thread: ThreadPoolExecutor, write: str
) -> None:
    """A pruned trial's value is its last report, which tell() reads."""
    trial_id = fast.create_new_trial(fast.create_new_study(MINIMIZE))
    other_thread.submit(WRITES[write], fast, trial_id).result()
    assert fast.get_trial(trial_id) == other_thread.submit(fast.get_trial, trial_id).result()
    trial = fast.get_trial(trial_id)
    assert (trial.intermediate_values, trial.params, trial.user_attrs, trial.system_attrs, trial.values) != (
        {},
        {},
        {},
        {},
        None,
    )


def test_a_new_trial_is_read_with_what_a_batch_of_this_thread_holds(fast: FastStorage) -> None:
    trial_id = fast.create_new_trial(fast.create_new_study(MINIMIZE))
    with batch(fast, trial_id):
        fast.set_trial_user_attr(trial_id, "a", 1)
        assert fast.get_trial(trial_id).user_attrs == {"a": 1}


def test_a_new_trial_is_read_again_after_a_while(fast: FastStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs may have written to it."""
    monkeypatch.setattr("search.storage.fast.storage.CREATED_S", -1.0)
    trial_id = fast.create_new_trial(fast.create_new_study(MINIMIZE))
    other = open_storage(fast.engine.url.render_as_string(hide_password=False))
    other.set_trial_user_attr(trial_id, "a", 1)
    assert fast.get_trial(trial_id).user_attrs == {"a": 1}
    other.remove_session()


def test_a_finished_trial_keeps_its_values_when_it_is_set_running(fast: FastStorage) -> None:
    trial_id = fast.create_new_trial(fast.create_new_study(MINIMIZE))
    fast.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    with pytest.raises(UpdateFinishedTrialError):
        fast.set_trial_state_values(trial_id, TrialState.RUNNING, [2.0])
    assert open_storage(fast.engine.url.render_as_string(hide_password=False)).get_trial(trial_id).values == [1.0]


def test_a_refused_param_does_not_bind_the_next_trial(fast: FastStorage) -> None:
    study_id = fast.create_new_study(MINIMIZE)
    ended = fast.create_new_trial(study_id)
    fast.set_trial_state_values(ended, TrialState.FAIL)
    fast.get_all_trials(study_id)
    with pytest.raises(UpdateFinishedTrialError):
        fast.set_trial_param(ended, "c", 0, CategoricalDistribution(("a",)))
    trial_id = fast.create_new_trial(study_id)
    fast.set_trial_param(trial_id, "c", 1, CategoricalDistribution(("a", "b")))
    assert fast.get_trial(trial_id).params == {"c": "b"}


def test_studies_may_be_dropped_from_the_cache_while_threads_use_it(fast: FastStorage) -> None:
    """Three threads run trials, and a fourth one drops their study again and again."""
    study = optuna.create_study(storage=fast, sampler=optuna.samplers.RandomSampler())
    ended = threading.Event()

    def drop() -> None:
        while not ended.is_set():
            fast._forget(study._study_id)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(3):
            trial.report(x, step)
        trial.study.get_trials(deepcopy=False)
        if trial.number % 2:
            raise optuna.TrialPruned
        return x

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        study.optimize(objective, n_trials=30, n_jobs=3)
    finally:
        ended.set()
        thread.join()
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(30))
    assert all(trial.value == trial.params["x"] == trial.intermediate_values[2] for trial in trials)


def _after_fork(storage: FastStorage, study_id: int) -> None:
    storage.get_all_trials(study_id)
    storage.create_new_trial(study_id)


def test_a_fork_while_another_thread_uses_the_storage_does_not_hang(
    fast: FastStorage, other_thread: ThreadPoolExecutor
) -> None:
    """The child has a copy of every lock, and nobody who would release one that was held."""
    study_id = fast.create_new_study(MINIMIZE)
    fast.get_all_trials(study_id)
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with fast.rungs(study_id):  # locked during the block
            held.set()
            forked.wait(30)

    holding = other_thread.submit(hold)
    held.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = multiprocessing.get_context("fork").Process(target=_after_fork, args=(fast, study_id))
        child.start()
    child.join(30)
    forked.set()
    holding.result()
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0
    assert fast.get_n_trials(study_id) == 1


def test_studies_run_through_optunas_grpc_server(fast: FastStorage) -> None:
    """Any of the server's threads answers any call of a trial."""
    pytest.importorskip("grpc")
    from optuna.storages._grpc.server import make_server

    with ThreadPoolExecutor(8) as clients, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        port = _free_port()
        server = make_server(fast, "localhost", port, ThreadPoolExecutor(4))
        server.start()
        proxy = GrpcStorageProxy(host="localhost", port=port)
        try:
            proxy.wait_server_ready(timeout=30)
            study = optuna.create_study(
                storage=proxy, sampler=optuna.samplers.RandomSampler(), pruner=optuna.pruners.NopPruner()
            )

            def run(_: int) -> None:
                trial = study.ask()
                trial.report(trial.suggest_float("x", 0, 1), 0)
                study.tell(trial, state=TrialState.PRUNED)

            list(clients.map(run, range(40)))
            trials = fast.get_all_trials(study._study_id)
            assert [trial.number for trial in trials] == list(range(40))
            assert all(trial.value == trial.params["x"] for trial in trials)
        finally:
            proxy.close()
            server.stop(grace=None).wait()


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("localhost", 0))
        port: int = opened.getsockname()[1]
    return port


# What a program does with trials, in any order, on any of three: two threads of one storage, and another storage.

PARAMS: list[tuple[str, float, BaseDistribution]] = [
    ("x", 0.5, FloatDistribution(0.0, 1.0)),
    ("n", 3, IntDistribution(1, 9, step=2)),
    ("c", 1, CategoricalDistribution(("a", None, 3))),
    ("c", 0, CategoricalDistribution(("a", None))),  # refused where another trial has the one above
]
NUMBER = st.sampled_from([0.0, 1.5, -2.0, math.inf, -math.inf])
WHO, AT = st.integers(0, 2), st.integers(0, 9)
ENDED = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


MISSING = (10**6, 10**6)


def content(trial: FrozenTrial) -> str:
    """All of a trial but its id and times, in an order of its own; as text, for NaN is not equal to itself."""
    tables: tuple[Mapping[Any, Any], ...] = (
        trial.params,
        trial.distributions,
        trial.intermediate_values,
        trial.user_attrs,
        trial.system_attrs,
    )
    return repr((trial.number, trial.state, trial.values, *(sorted(table.items()) for table in tables)))


Act = Callable[[BaseStorage, int], Any]  # a trial_id is its second argument


class Histories(RuleBasedStateMachine):
    """Executes calls on our storages and on Optuna's in memory, and compares the results."""

    ours: tuple[BaseStorage, BaseStorage]
    threads: tuple[ThreadPoolExecutor, ...]

    def __init__(self) -> None:
        super().__init__()
        self.memory = InMemoryStorage()
        self.trials: list[tuple[int, int]] = []  # the trial_ids, ours and Optuna's
        self.n_created = 0
        for storage in (self.ours[0], self.memory):
            storage.create_new_study(MINIMIZE, "s")

    def teardown(self) -> None:
        self.ours[1].delete_study(self.ours[1].get_study_id_from_name("s"))

    def call(self, who: int, act: Act, at: int = -1) -> tuple[Any, Any]:
        """Load the study and execute `act` on our storage by thread 0 or 1, or on the other one (2), and on Optuna's.

        at: which trial, counted around; -1: a missing one. Returns both results.
        """
        trial_ids = self.trials[at % len(self.trials)] if self.trials and at >= 0 else MISSING
        execute = self.threads[who].submit
        mine = execute(_result, act, self.ours[who // 2], trial_ids[0]).result()
        return mine, _result(act, self.memory, trial_ids[1])

    def compare(self, who: int, act: Act, at: int = -1) -> None:
        mine, expected = self.call(who, act, at)
        assert mine == expected

    @rule(who=WHO)
    def ask(self, who: int) -> None:
        def act(storage: BaseStorage, _: int) -> tuple[int, str]:
            trial_id = storage.create_new_trial(_study_id(storage))
            return trial_id, content(storage.get_trial(trial_id))

        (_, (mine, read)), (_, (theirs, expected)) = self.call(who, act)
        assert read == expected
        self.trials.append((mine, theirs))

    @rule(who=WHO, state=st.sampled_from(list(TrialState)), value=NUMBER)
    def add(self, who: int, state: TrialState, value: float) -> None:
        values = [value] if state == TrialState.COMPLETE else None
        template = optuna.trial.create_trial(
            state=state, values=values, intermediate_values={0: value}, user_attrs={"added": True}
        )
        added = self.call(who, lambda storage, _: storage.create_new_trial(_study_id(storage), template))
        self.trials.append((added[0][1], added[1][1]))

    @rule(who=WHO, at=AT)
    def take(self, who: int, at: int) -> None:
        self.compare(who, lambda storage, trial_id: storage.set_trial_state_values(trial_id, TrialState.RUNNING), at)

    @rule(who=WHO, at=AT, step=st.integers(0, 2), value=NUMBER | st.just(math.nan))
    def report(self, who: int, at: int, step: int, value: float) -> None:
        self.compare(who, lambda storage, trial_id: storage.set_trial_intermediate_value(trial_id, step, value), at)

    @rule(who=WHO, at=AT, which=st.integers(0, 3))
    def suggest(self, who: int, at: int, which: int) -> None:
        name, value, distribution = PARAMS[which]

        def act(storage: BaseStorage, trial_id: int) -> None:
            if name not in storage.get_trial(trial_id).params:
                storage.set_trial_param(trial_id, name, value, distribution)

        self.compare(who, act, at)

    @rule(who=WHO, at=AT, user=st.booleans(), value=st.integers(0, 3))
    def annotate(self, who: int, at: int, user: bool, value: int) -> None:
        def act(storage: BaseStorage, trial_id: int) -> None:
            (storage.set_trial_user_attr if user else storage.set_trial_system_attr)(trial_id, "k", value)

        self.compare(who, act, at)

    @rule(who=WHO, at=AT, state=st.sampled_from(ENDED), value=NUMBER)
    def tell(self, who: int, at: int, state: TrialState, value: float) -> None:
        values = None if state == TrialState.FAIL else [value]
        self.compare(who, lambda storage, trial_id: storage.set_trial_state_values(trial_id, state, values), at)

    @rule(who=WHO, at=AT)
    def read(self, who: int, at: int) -> None:
        self.compare(who, lambda storage, trial_id: content(storage.get_trial(trial_id)), at)

    @rule(who=WHO, states=st.none() | st.lists(st.sampled_from(list(TrialState)), min_size=1, max_size=3))
    def read_all(self, who: int, states: list[TrialState] | None) -> None:
        self.compare(who, partial(_contents, states=states))

    @rule(who=WHO)
    def count(self, who: int) -> None:
        self.compare(who, lambda storage, _: storage.get_n_trials(_study_id(storage)))

    @precondition(lambda self: self.n_created < 2)
    @rule(who=WHO, n_added=st.integers(0, 2))
    def create_again(self, who: int, n_added: int) -> None:
        """On SQLite its id, and the ids of its trials, are the deleted study's."""
        self.n_created += 1

        def act(storage: BaseStorage, _: int) -> None:
            storage.delete_study(_study_id(storage))
            storage.create_new_study(MINIMIZE, "s")

        self.compare(who, act)
        self.trials = []
        for _ in range(n_added):
            self.ask(who)

    @invariant()
    def one_storage_reads_all(self) -> None:
        self.compare(2, _contents)


def _result(act: Act, storage: BaseStorage, trial_id: int) -> tuple[str, Any]:
    storage.get_study_id_from_name("s")  # as optuna.load_study
    try:
        return "returned", act(storage, trial_id)
    except (KeyError, ValueError, RuntimeError) as error:
        return "raised", type(error)


def _study_id(storage: BaseStorage) -> int:
    return storage.get_study_id_from_name("s")


def _contents(storage: BaseStorage, _: int, states: list[TrialState] | None = None) -> list[str]:
    return [content(trial) for trial in storage.get_all_trials(_study_id(storage), states=states)]


def test_histories_on_two_threads_and_two_storages_are_as_on_optunas_storage(empty_url: str) -> None:
    """Each call's result, and all trials after each call."""
    first, second = open_storage(empty_url), open_storage(empty_url)
    with contextlib.ExitStack() as stack:
        executors = tuple(stack.enter_context(ThreadPoolExecutor(1)) for _ in range(3))

        class Machine(Histories):
            ours, threads = (first, second), executors

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    for storage in (first, second):
        storage.remove_session()
