"""Acts of other programs on a study, by stock Optuna, by the dashboard and by SQL, and a worker that meets them.

An act is a function of a Site. None of them calls Drivebeat's code but those that make the study again.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from optuna_dashboard import wsgi
from sqlalchemy.pool import NullPool

from search.artifacts.open import open_artifacts
from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.errors import UserError
from search.storage.open import driver_url, open_engine, open_storage
from search.study.spec import StudySpec
from search.study.study import create
from search.worker.worker import work
from tests.support.dashboard import send
from training.report import EpochReport
from training.trackers.base import Tracker, Trackers, Tracking

NAME, OTHER = "tiny", "other"
LEASE_S = 6.0
# Where in a search an act happens: after how many trials, and at which epoch of the next.
AT_TRIAL, AT_EPOCH = 1, 0


@dataclass(eq=False)
class Site:
    """A database with a study, as other programs see it. name: of the study, which acts change."""

    url: str
    folder: Path
    spec: StudySpec
    fingerprint: str
    name: str = NAME

    @cached_property
    def stock(self) -> RDBStorage:
        """Optuna's own storage, on the same database."""
        return RDBStorage(driver_url(self.url), engine_kwargs={"poolclass": NullPool}, skip_table_creation=True)

    @property
    def study(self) -> optuna.Study:
        """The study, loaded by stock Optuna."""
        return optuna.load_study(study_name=self.name, storage=self.stock)

    @property
    def running(self) -> int:
        """The number of a running trial; stock Optuna starts one where there is none."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return running[-1].number if running else self.study.ask().number

    @property
    def running_id(self) -> int:
        number = self.running
        return int(self.study.trials[number]._trial_id)

    def dashboard(self, method: str, path: str, document: Mapping[str, Any] | None = None, *, ours: bool = True) -> int:
        """Send a request to our dashboard, or to optuna-dashboard's on Optuna's storage; return the status."""
        body = b"" if document is None else json.dumps(document).encode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optuna-dashboard and Optuna about few trials
            return self._send(method, path, body, ours)

    def _send(self, method: str, path: str, body: bytes, ours: bool) -> int:
        if not ours:
            return send(wsgi(self.stock), method, path, body=body).status
        storage = PageStorage(open_storage(self.url, fast=False), open_engine(self.url))
        try:
            return send(build(storage, open_artifacts(self.artifacts).artifacts), method, path, body=body).status
        finally:
            storage.engine.dispose()
            storage.remove_session()

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def sql(self, text: str, **values: Any) -> None:
        """Execute a statement."""
        with self.stock.engine.begin() as connection:
            connection.execute(sqlalchemy.text(text), values)


Act = Callable[[Site], None]
ACTS: dict[str, Act] = {}
DELETING = ("delete by optuna", "delete in the dashboard")


def act(name: str) -> Callable[[Act], Act]:
    """Add a function to ACTS."""

    def add(function: Act) -> Act:
        ACTS[name] = function
        return function

    return add


@act("tell failed")
def tell_failed(site: Site) -> None:
    site.study.tell(site.running, state=TrialState.FAIL)


@act("tell complete")
def tell_complete(site: Site) -> None:
    site.study.tell(site.running, 7.0)


@act("tell pruned")
def tell_pruned(site: Site) -> None:
    site.study.tell(site.running, state=TrialState.PRUNED)


@act("tell in the dashboard")
def tell_in_dashboard(site: Site) -> None:
    status = site.dashboard("POST", f"/api/trials/{site.running_id}/tell", {"state": "Complete", "values": [3.0]})
    assert status == 204, status


@act("tell failed in the dashboard")
def tell_failed_in_dashboard(site: Site) -> None:
    assert site.dashboard("POST", f"/api/trials/{site.running_id}/tell", {"state": "Fail"}) == 204


@act("put a running trial back to waiting")
def put_back(site: Site) -> None:
    site.sql("UPDATE trials SET state = 'WAITING' WHERE trial_id = :trial", trial=site.running_id)


@act("delete a trial")
def delete_trial(site: Site) -> None:
    trial = site.running_id
    for table in ("params", "values", "intermediate_values", "user_attributes", "system_attributes"):
        site.sql(f"DELETE FROM trial_{table} WHERE trial_id = :trial", trial=trial)
    site.sql("DELETE FROM trials WHERE trial_id = :trial", trial=trial)


@act("delete by optuna")
def delete(site: Site) -> None:
    optuna.delete_study(study_name=site.name, storage=site.stock)


@act("delete in the dashboard")
def delete_in_dashboard(site: Site) -> None:
    path = f"/api/studies/{site.study._study_id}"
    assert site.dashboard("DELETE", path, {"remove_associated_artifacts": True}) == 204


@act("delete and create again")
def delete_and_create(site: Site) -> None:
    delete(site)
    engine = open_engine(site.url)
    storage = open_storage(site.url)
    create(site.spec, storage, engine, site.fingerprint)
    storage.remove_session()
    engine.dispose()


@act("rename in the dashboard")
def rename(site: Site) -> None:
    path = f"/api/studies/{site.study._study_id}/rename"
    assert site.dashboard("POST", path, {"study_name": "renamed"}) == 201
    site.name = "renamed"


@act("rename in stock optuna-dashboard")
def rename_by_copy(site: Site) -> None:
    path = f"/api/studies/{site.study._study_id}/rename"
    assert site.dashboard("POST", path, {"study_name": "renamed"}, ours=False) == 201
    site.name = "renamed"


@act("rename by SQL")
def rename_by_sql(site: Site) -> None:
    site.sql("UPDATE studies SET study_name = 'renamed' WHERE study_name = :name", name=site.name)
    site.name = "renamed"


@act("copy by optuna")
def copy(site: Site) -> None:
    optuna.copy_study(from_study_name=site.name, from_storage=site.stock, to_storage=site.stock, to_study_name="a copy")


@act("enqueue an impossible value")
def enqueue_impossible(site: Site) -> None:
    site.study.enqueue_trial({"width": 999, "learning_rate": 0.001})


@act("enqueue texts and negative numbers")
def enqueue_texts(site: Site) -> None:
    for width in ("8", "abc", -1, None):
        site.study.enqueue_trial({"width": width})


@act("enqueue outside the range")
def enqueue_outside(site: Site) -> None:
    site.study.enqueue_trial({"width": 8, "learning_rate": 5.0})


@act("enqueue an unknown parameter")
def enqueue_extra(site: Site) -> None:
    site.study.enqueue_trial({"width": 8, "lerning_rate": 0.001})


@act("enqueue a part of a point")
def enqueue_partial(site: Site) -> None:
    site.study.enqueue_trial({"width": 16})


@act("enqueue no mapping")
def enqueue_list(site: Site) -> None:
    trial = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": [1, 2]})
    site.study.add_trial(trial)


def add(site: Site, params: dict[str, Any], distributions: dict[str, Any], value: float = 99.0) -> None:
    site.study.add_trial(create_trial(params=params, distributions=distributions, value=value))


@act("add trials without a parameter")
def add_lacking(site: Site) -> None:
    for i in range(12):
        add(site, {"width": 8}, {"width": CategoricalDistribution((8, 16))}, float(i))
    add(site, {}, {})


@act("add a trial with another parameter")
def add_extra(site: Site) -> None:
    rate = FloatDistribution(1e-4, 1e-2, log=True)
    widths = CategoricalDistribution((8, 16))
    add(
        site,
        {"width": 8, "learning_rate": 1e-3, "depth": 3.0},
        {"width": widths, "learning_rate": rate, "depth": FloatDistribution(0, 9)},
    )


@act("add a trial with another range")
def add_outside(site: Site) -> None:
    with contextlib.suppress(ValueError):  # refused where a trial has the parameter already
        add(site, {"width": 99}, {"width": CategoricalDistribution((99, 100))})
    with contextlib.suppress(ValueError):
        add(site, {"learning_rate": 7.0}, {"learning_rate": FloatDistribution(0.0, 9.0)})


@act("run two trials by optuna")
def optimize(site: Site) -> None:
    site.study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True), n_trials=2)


@act("start a trial by optuna and leave it")
def leave_running(site: Site) -> None:
    site.study.ask().suggest_categorical("width", [8, 16])


@act("delete all artifacts")
def delete_artifacts(site: Site) -> None:
    for path in site.artifacts.glob("*"):
        if path.is_file():
            path.unlink()


@act("delete artifacts and checkpoints")
def delete_files(site: Site) -> None:
    shutil.rmtree(site.artifacts, ignore_errors=True)


@act("edit notes and attributes")
def edit(site: Site) -> None:
    study, trial_id = site.study, site.running_id
    assert site.dashboard("PUT", f"/api/studies/{study._study_id}/note", {"body": "mine", "version": 99}) in (204, 409)
    site.dashboard("PUT", f"/api/studies/{study._study_id}/{trial_id}/note", {"body": "mine", "version": 99})
    for key in ("resumed", "fate", "reason", "worker", "seconds", "scores_by_snr"):
        site.stock.set_trial_user_attr(trial_id, key, ["edited"])
    study.set_user_attr("colour", "red")


@dataclass
class Once(Tracker):
    """A tracker that calls `act` once, in the middle of a search."""

    trial: int
    act: Callable[[], None]
    errors: list[BaseException] = field(default_factory=list)
    done: bool = False

    def report(self, report: EpochReport) -> None:
        if self.done or self.trial < AT_TRIAL or report.epoch != AT_EPOCH:
            return
        self.done = True
        try:
            self.act()
        except BaseException as error:
            self.errors.append(error)


def search(site: Site, *names: str, act: Callable[[], None] | None = None, lines: list[str] | None = None) -> list[str]:
    """Run a worker to its end, with `act` in the middle of its second trial; return its log.

    Errors of the user are added to the log, as a command prints them. Other errors, and those of `act`, are raised.
    """
    log = [] if lines is None else lines
    once: list[Once] = []

    def trackers(_: object, target: Any) -> Trackers:
        number = int(str(target.key).rpartition("/")[2])
        if act is None or any(tracker.done for tracker in once):
            return Trackers(())
        once.append(Once(number, act))
        return Trackers([once[-1]])

    tracking = Tracking(names=("once",), build=trackers)
    try:
        work(
            names,
            site.url,
            open_artifacts(site.artifacts),
            threads=1,
            lease_s=LEASE_S,
            log=log.append,
            tracking=tracking,
        )
    except UserError as error:
        log.append(f"drivebeat: {error}")
    for tracker in once:
        if tracker.errors:
            raise tracker.errors[0]
    assert act is None or any(tracker.done for tracker in once), log
    return log


def killed_worker(site: Site) -> None:
    """Run a worker that is killed in the middle of its second trial."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.foreign"])
    child = context.Process(target=_search_and_die, args=(site,))
    child.start()
    child.join(50)
    assert child.exitcode == -signal.SIGKILL, child.exitcode


def _search_and_die(site: Site) -> None:
    search(site, site.name, act=lambda: os.kill(os.getpid(), signal.SIGKILL))
