"""A worker process of benchmarks.storage: it opens a storage and runs trials without training."""

import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend

from search.sampling.pruners import ForecastPruner, quick
from search.storage.fast.storage import FastStorage, batch
from search.storage.open import driver_url, fast_engine

N_PARAMS, N_REPORTS, STUDY = 6, 10, "benchmark"

SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": optuna.pruners.MedianPruner,
    "forecast": partial(ForecastPruner, chance=0.05, startup_trials=5, warmup_epochs=2),
    "halving": partial(optuna.pruners.SuccessiveHalvingPruner, min_resource=1),
    "hyperband": partial(optuna.pruners.HyperbandPruner, 1, N_REPORTS),
}


@dataclass(frozen=True, slots=True)
class Task:
    """kind and address of the storage, and how many trials to run in it."""

    kind: str
    address: str
    n_trials: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: of a trial, and of this process's processor in a trial, in one report with should_prune, and in the
    first ask."""

    trial_s: float
    trial_cpu_s: float
    report_cpu_s: float
    first_ask_cpu_s: float


def opened(kind: str, address: str) -> BaseStorage:
    """A storage of `kind` at `address`, where its tables are made already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "ours":
            return FastStorage(partial(fast_engine, address))
        if kind == "journal":
            return optuna.storages.JournalStorage(JournalFileBackend(address))
        if kind == "grpc":
            return optuna.storages.GrpcStorageProxy(host="localhost", port=int(address))
        return optuna.storages.get_storage(driver_url(address))


def loaded(storage: BaseStorage, sampler: str = "random", pruner: str = "median") -> optuna.Study:
    """The benchmark's study in `storage`."""
    made = PRUNERS[pruner]()
    chosen = quick(made) if isinstance(storage, FastStorage) else made  # as our workers do
    return optuna.load_study(study_name=STUDY, storage=storage, sampler=SAMPLERS[sampler](), pruner=chosen)


def run_trial(study: optuna.Study, reports: list[float] | None = None) -> None:
    """One trial; the processor seconds of each report with should_prune are added to `reports`."""
    trial = study.ask()
    with batch(study._storage, trial._trial_id):
        for i in range(N_PARAMS):
            trial.suggest_float(f"p{i}", 0.0, 1.0)
    for step in range(N_REPORTS):
        began = time.process_time()
        trial.report(random.random(), step)
        trial.should_prune()
        if reports is not None:
            reports.append(time.process_time() - began)
    study.tell(trial, random.random())


def measure(task: Task, barrier: Any, into: Any) -> None:
    """Open the storage, run one trial to get going, wait for the others, then run and time the rest; the Costs are sent
    `into` a pipe."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = loaded(opened(task.kind, task.address))
    began = time.process_time()
    first = study.ask()
    first_s = time.process_time() - began
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    run_trial(study)
    barrier.wait()
    reports: list[float] = []
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(task.n_trials):
        run_trial(study, reports)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    study._storage.remove_session()
    into.send(Costs(took_s / task.n_trials, cpu_s / task.n_trials, sorted(reports)[len(reports) // 2], first_s))
    into.close()
