"""The environment of scaling.py: a study without training, thousands of earlier trials, and counters."""

import contextlib
import dataclasses
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState, create_trial
from sqlalchemy import Engine, event, insert

from benchmarks.chaos.site import Site, make, spec_of
from search.queue.slots import OrphanDetector, claim, close, record_result, renew
from search.queue.workers import Process, WorkerStatus, this_process, update_status
from search.storage.fast.storage import FastStorage, batch
from search.storage.open import open_engine, open_storage
from search.storage.tables import SLOTS
from search.study.spec import run_of
from search.study.study import Study, load_study
from search.trials import BY_SNR, FATE, WORKER, Fate
from search.worker.assign import recover
from search.worker.result import TrialResult, tell
from tests.support.worker import next_assignment_of
from training.config import to_document

EPOCHS = 10
LEASE_S = 3600.0
ARTIFACTS = ("window.png", "noisy.wav", "clean.wav", "estimate.wav", "run.yaml")
NOTE = "**autoencoder**, 10,000 parameters\n\n" + "| +0 dB | 1.00 | 0.80 | 0.90 |\n" * 12


@dataclass(slots=True, eq=False)
class Open:
    """How many connections are open now, and were at most, over all meters that share it."""

    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, by: int) -> None:
        with self.lock:
            self.now += by
            self.most = max(self.most, self.now)


@dataclass(slots=True, eq=False)
class Meter:
    """Counts statements by (phase, whose tables), new connections by whose, and seconds by phase."""

    open: Open = field(default_factory=Open)
    phase: str = ""
    statements: Counter[tuple[str, str]] = field(default_factory=Counter)
    connections: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, engine: Engine, whose: str) -> None:
        """Count what is said on `engine`."""

        @event.listens_for(engine, "before_cursor_execute")
        def _said(connection: Any, cursor: Any, words: str, *_: Any) -> None:
            self.statements[self.phase, whose] += 1 + words.count(";")  # two may travel in one message

        @event.listens_for(engine, "connect")
        def _connected(*_: Any) -> None:
            self.connections[whose] += 1
            self.open.change(1)

        @event.listens_for(engine, "close")
        def _closed(*_: Any) -> None:
            self.open.change(-1)

    @contextlib.contextmanager
    def at(self, phase: str) -> Iterator[None]:
        """Everything in the block is of `phase`."""
        self.phase, began = phase, time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase].append(time.perf_counter() - began)
            self.phase = ""


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    """A worker without training: its own connections, cache and name."""

    study: Study
    storage: BaseStorage
    engine: Engine
    process: Process
    detector: OrphanDetector
    meter: Meter

    def trial(self) -> bool:
        """One whole trial as search.worker.worker and search.worker.trial do it, but for the training; False where
        none is left.
        """
        meter, draw = self.meter, random.Random(0)
        with meter.at("turn"):
            recover(self.study, self.engine, self.detector)
            assignment = next_assignment_of(self.study, self.engine, self.process, LEASE_S)
        if assignment is None:
            return False
        trial = assignment.trial
        with meter.at("attributes"), batch(trial.storage, trial._trial_id):
            for name, value in attributes_of(self.study, assignment.params).items():
                trial.set_user_attr(name, value)
        for epoch in range(self.study.spec.epochs):
            with meter.at("report"):
                trial.report(draw.random(), epoch)
            with meter.at("prune"):
                trial.should_prune()
        with meter.at("attributes"), batch(trial.storage, trial._trial_id):
            for i, name in enumerate(ARTIFACTS):
                trial.storage.set_trial_system_attr(trial._trial_id, *artifact(i, name))
        with meter.at("end"):
            result = TrialResult(Fate.COMPLETE, draw.random(), EPOCHS)
            assert record_result(self.engine, assignment.claim, result.encode())
            tell(self.study, trial, result)
            close(self.engine, assignment.claim, "finished")
        return True

    def beat(self) -> None:
        """What search.queue.heartbeat does six times a lease, with a slot of the study held."""
        held = claim(self.engine, self.study.identity, self.process, LEASE_S)
        assert held is not None
        with self.meter.at("beat"):
            with self.engine.begin() as connection:
                update_status(connection, self.process, WorkerStatus("working", held.study, 0, 0, 0.0))
                assert renew(connection, held, LEASE_S)
            self.detector.find(self.engine, held.study, time.monotonic())


def create_study(site: Site, name: str, sampler: str = "tpe", n_trials: int = 1_000_000) -> Study:
    """A study of four parameters, median pruning and EPOCHS reports a trial."""
    return make(
        site,
        spec_of(
            site,
            name,
            n_trials,
            EPOCHS,
            search=["width", "learning_rate", "gain", "peak_weight"],
            sampler={"name": sampler},
            pruner={"name": "median"},
        ),
    )


def worker(url: str, name: str, number: int = 0, shared: Open | None = None) -> Worker:
    """A new worker of the study `name`, its meter on. shared: where its open connections are counted too."""
    storage, engine, meter = open_storage(url), open_engine(url), Meter(shared or Open())
    meter.watch(engine_of(storage), "Optuna")
    meter.watch(engine, "ours")
    process = dataclasses.replace(this_process(), name=f"simulated-{number}")
    return Worker(load_study(name, storage), storage, engine, process, OrphanDetector(LEASE_S / 3), meter)


def closed(someone: Worker) -> None:
    """End its connections."""
    someone.engine.dispose()
    someone.storage.remove_session()
    engine_of(someone.storage).dispose()


def attributes_of(study: Study, params: Any) -> dict[str, Any]:
    """The user attributes that a trial has at its end besides its worker and its fate, values of the usual size."""
    run = json.dumps(to_document(run_of(study.spec, study.space, params, "simulated")))
    scores = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "snr_improvement_db")
    by_snr = [f"si_sdr_db@{snr:+g}" for snr in study.spec.data.validation.snrs_db]
    return {
        "run": run,
        "device": "cpu",
        "n_parameters": 12_345,
        "seconds": 123.4,
        "best_epoch": 9,
        "model": study.space.model.name,
        BY_SNR: {f"{snr:+g}": dict.fromkeys(scores, 1.2345) for snr in study.spec.data.validation.snrs_db},
        **dict.fromkeys((*scores, *by_snr), 1.2345),
    }


def artifact(number: int, name: str) -> tuple[str, str]:
    """The attribute by which Optuna knows of an artifact."""
    identity = f"00000000-0000-4000-8000-{number:012d}"
    kind = {"artifact_id": identity, "filename": name, "mimetype": "audio/x-wav", "encoding": None}
    return f"artifacts:{identity}", json.dumps(kind)


def past(study: Study, url: str, n_trials: int, state: str = "COMPLETE") -> None:
    """Write trials as if they had been run, with all that a trial leaves; much faster than running them.

    RUNNING ones have all reports and no slot, which is what the others see of them.
    """
    engine, draw = open_engine(url), random.Random(1)
    first = len(study.optuna.get_trials(deepcopy=False))
    points = optuna.samplers.RandomSampler(seed=first)
    key = models.TrialModel.trial_id
    nobody = create_trial(state=TrialState.RUNNING)

    def drawn() -> dict[str, Any]:
        return {n: points.sample_independent(study.optuna, nobody, n, d) for n, d in study.space.sampled.items()}

    usual = attributes_of(study, drawn())
    for start in range(first, first + n_trials, 1000):
        numbers = range(start, min(first + n_trials, start + 1000))
        times = {"datetime_start": datetime(2026, 1, 1), "datetime_complete": datetime(2026, 1, 2)}
        rows = [{"number": n, "study_id": study.optuna._study_id, "state": state, **times} for n in numbers]
        tables: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        with engine.begin() as connection:
            adding = insert(models.TrialModel).returning(key, sort_by_parameter_order=True)
            for number, trial_id in zip(numbers, connection.execute(adding, rows).scalars().all(), strict=True):
                _add_begun(tables, study, trial_id, drawn(), draw)
                if state == "COMPLETE":
                    _add_ended(tables, study, trial_id, number, usual, draw)
            for table, its_rows in tables.items():
                connection.execute(insert(table), its_rows)
    engine.dispose()


def _add_begun(tables: Any, study: Study, trial_id: int, params: Any, draw: random.Random) -> None:
    for name, distribution in study.space.sampled.items():
        value = {"param_value": distribution.to_internal_repr(params[name])}
        kind = {"param_name": name, "distribution_json": distribution_to_json(distribution)}
        tables[models.TrialParamModel].append({"trial_id": trial_id, **kind, **value})
    for step in range(EPOCHS):
        report = {"intermediate_value": draw.random(), "intermediate_value_type": "FINITE"}
        tables[models.TrialIntermediateValueModel].append({"trial_id": trial_id, "step": step, **report})


def _add_ended(tables: Any, study: Study, trial_id: int, number: int, usual: Any, draw: random.Random) -> None:
    study_id = study.optuna._study_id
    kept = [
        (models.TrialUserAttributeModel, {"trial_id": trial_id}, {WORKER: "it", FATE: str(Fate.COMPLETE), **usual}),
        (models.TrialSystemAttributeModel, {"trial_id": trial_id}, dict(map(artifact, range(5), ARTIFACTS))),
        (
            models.StudySystemAttributeModel,
            {"study_id": study_id},
            {f"dashboard:{trial_id}:note_ver": 1, f"dashboard:{trial_id}:note_str:0": NOTE},
        ),
    ]
    for table, owner, attributes in kept:
        tables[table] += [{**owner, "key": name, "value_json": json.dumps(v)} for name, v in attributes.items()]
    value = {"objective": 0, "value": draw.random(), "value_type": "FINITE"}
    tables[models.TrialValueModel].append({"trial_id": trial_id, **value})
    outcome = TrialResult(Fate.COMPLETE, 0.5, EPOCHS).encode()
    slot = {
        "study": study.identity,
        "slot": number,
        "state": "finished",
        "token": 1,
        "worker": "it",
        "host": "elsewhere",
    }
    slot |= {"pid": 1, "born": 1, "trial": number, "outcome": outcome, "deaths": 0, "beats": 100, "expires_at": 0.0}
    tables[SLOTS].append(slot)


def at_once(workers: Sequence[Worker], n_each: int) -> float:
    """Let all run `n_each` trials side by side, in threads; the seconds it took."""
    began = time.perf_counter()
    threads = [threading.Thread(target=lambda w=one: [w.trial() for _ in range(n_each)]) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def engine_of(storage: BaseStorage) -> Engine:
    """The engine that a storage of open_storage speaks through."""
    engine: Engine = storage.engine if isinstance(storage, FastStorage) else storage._backend.engine  # type: ignore[attr-defined]
    return engine
