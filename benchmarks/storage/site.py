"""The environment of benchmarks.storage: each kind of storage, filled with trials, and a statement counter."""

import contextlib
import importlib.util
import multiprocessing
import random
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, event, insert

from benchmarks.storage.worker import N_PARAMS, N_REPORTS, STUDY, loaded, opened, run_trial
from search.storage.fast.tables import PARAMS, REPORTS, TRIALS, VALUES
from search.storage.fast.writes import stored_report, stored_value
from search.storage.open import open_engine, open_storage
from tests.support.postgres import Postgres
from tests.support.waiting import free_port, wait_for_port

UNIT = FloatDistribution(0.0, 1.0)
RUNNING_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Site:
    """A database system to measure on. server: of PostgreSQL."""

    database: str
    folder: Path
    server: Postgres | None

    @contextlib.contextmanager
    def made(self, kind: str, n_finished: int, n_running: int) -> Iterator[str]:
        """The address of a new storage of `kind` with a study that has these trials."""
        name = uuid.uuid4().hex
        if kind == "journal":
            path = str(self.folder / f"{name}.log")
            _create(opened(kind, path), n_finished, n_running)
            yield path
            return
        url = self.server.new_database() if self.server else f"sqlite:///{self.folder}/{name}.db"
        open_storage(url).remove_session()
        engine = open_engine(url)
        _insert(engine, _created(url), n_finished, n_running)
        engine.dispose()
        if kind == "grpc":
            with _grpc_server(url) as port:
                yield str(port)
        else:
            yield url
        if self.server:
            self.server.drop(url)


def kinds_here(site: Site) -> tuple[str, ...]:
    """The kinds to compare: stock first; the gRPC proxy only where grpcio is installed."""
    if importlib.util.find_spec("grpc"):
        return ("stock", "grpc", "journal", "ours")
    return ("stock", "journal", "ours")


def statements_of(site: Site, kind: str, sampler: str, pruner: str, n_before: int = 12) -> int:
    """Statements of one trial after a few others; BEGIN counts where it is one (SQLite)."""
    with site.made("stock", 0, 0) as url:
        storage = opened(kind, url)
        engine: Engine = storage.engine if kind == "ours" else storage._backend.engine  # type: ignore[attr-defined]
        study = loaded(storage, sampler, pruner)
        for _ in range(n_before):
            run_trial(study)
        said: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *given: said.append(given[2]))
        run_trial(study)
        storage.remove_session()
        engine.dispose()
    return sum(1 + words.count(";") for words in said)  # two may travel in one message


def _created(url: str) -> int:
    storage = opened("ours", url)
    study_id = optuna.create_study(study_name=STUDY, storage=storage)._study_id
    storage.remove_session()
    return study_id


def _create(storage: Any, n_finished: int, n_running: int) -> None:
    """Trials by the storage's own calls, as a journal needs them."""
    study = optuna.create_study(study_name=STUDY, storage=storage)
    for i in range(n_finished + n_running):
        storage.create_new_trial(study._study_id, _trial(i < n_finished))


def _trial(finished: bool) -> FrozenTrial:
    n_reports = N_REPORTS if finished else RUNNING_REPORTS
    return create_trial(
        state=TrialState.COMPLETE if finished else TrialState.RUNNING,
        value=random.random() if finished else None,
        params={f"p{i}": random.random() for i in range(N_PARAMS)},
        distributions={f"p{i}": UNIT for i in range(N_PARAMS)},
        intermediate_values={step: random.random() for step in range(n_reports)},
    )


def _insert(engine: Engine, study_id: int, n_finished: int, n_running: int) -> None:
    """The same by SQL, a thousand trials at a time."""
    n_all, word = n_finished + n_running, distribution_to_json(UNIT)
    for start in range(0, n_all, 1000):
        numbers = range(start, min(start + 1000, n_all))
        states = [TrialState.COMPLETE if n < n_finished else TrialState.RUNNING for n in numbers]
        day = datetime(2026, 1, 1)
        heads = [
            {"number": n, "study_id": study_id, "state": state, "datetime_start": day}
            | {"datetime_complete": day if state == TrialState.COMPLETE else None}
            for n, state in zip(numbers, states, strict=True)
        ]
        rows: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        with engine.begin() as connection:
            adding = insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True)
            for trial_id, state in zip(connection.execute(adding, heads).scalars().all(), states, strict=True):
                mine, trial = {"trial_id": trial_id}, _trial(state == TrialState.COMPLETE)
                for name, value in trial.params.items():
                    rows[PARAMS].append({**mine, "param_name": name, "param_value": value, "distribution_json": word})
                for step, value in trial.intermediate_values.items():
                    number, kind = stored_report(value)
                    report = {"step": step, "intermediate_value": number, "intermediate_value_type": kind}
                    rows[REPORTS].append(mine | report)
                if trial.value is not None:
                    number, kind = stored_value(trial.value)
                    rows[VALUES].append({**mine, "objective": 0, "value": number, "value_type": kind})
            for table, its_rows in rows.items():
                connection.execute(insert(table), its_rows)


@contextlib.contextmanager
def _grpc_server(url: str) -> Iterator[int]:
    """Optuna's gRPC proxy on a free port, in a process of its own."""
    port = free_port()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, port), daemon=True)
    server.start()
    try:
        wait_for_port(port)
        yield port
    finally:
        server.kill()
        server.join()


def _serve(url: str, port: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.storages.run_grpc_proxy_server(opened("stock", url), host="localhost", port=port)
