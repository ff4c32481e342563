"""A worker: a process that runs trials of its studies until their budgets are spent."""

import contextlib
import dataclasses
import os
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from data.config import DataConfig
from data.corpus import Corpus, load
from search.artifacts.base import TrialStore
from search.errors import NoBudget, StudyGone, WorkerError
from search.messages import worker_stopped
from search.queue.heartbeat import Heartbeat
from search.queue.slots import LEASE_S, OrphanDetector, progress
from search.queue.workers import Process, WorkerStatus, device_name, register, this_process, update_status
from search.storage.fast.reads import system_attributes
from search.storage.open import explained, open_engine, open_storage
from search.storage.retry import is_starting, is_transient, retry
from search.study.finished import stop_reason
from search.study.record import forget_deleted
from search.study.study import Study, confirm_identity, current, has_changed, load_studies
from search.trials import PLACE, Fate
from search.worker.assign import recover
from search.worker.context import Retry, Stopped, WorkerContext
from search.worker.trial import run_trial
from training.trackers.base import Tracking

MAX_SAME_FAILURES = 3
MAX_FAILURES = 10
WAIT_S = 1.0


def work(
    names: Sequence[str],
    url: str,
    store: TrialStore,
    *,
    threads: int | None = None,
    lease_s: float = LEASE_S,
    log: Callable[[str], None] = print,
    tracking: Tracking | None = None,
    stop: threading.Event | None = None,
    parent: int | None = None,
) -> int:
    """Run trials of studies, one study after the other, until their budgets are spent.

    names: studies, or study files with several families. url: of the database. store: of artifacts and
    checkpoints.
    threads: CPU threads a trial may use; None: torch's default. lease_s: duration of a lease. log: takes a line.
    tracking: trackers and messages. stop: setting it stops the worker within a training step or two; the trial's
    checkpoint stays, and the next worker continues the trial. parent: the pid of the launch that started this process;
    the worker stops when that has died.

    At the end of a study the worker waits until the other workers have finished their trials, and continues those of
    workers that die. It waits for a database that is unavailable or still starting.

    Returns the number of trials run. Raises WorkerError after MAX_SAME_FAILURES failures in a row for the same reason,
    or MAX_FAILURES for any, and StorageError where the database stays unavailable.
    """
    stop = stop or threading.Event()
    tracking = tracking or Tracking()
    log = _safe(log)
    process = this_process()
    detector = OrphanDetector(grace_s=lease_s / 3)

    def check_launch() -> None:
        if parent is not None and os.getppid() != parent and not stop.is_set():
            log("the launch that started this worker has died; the worker stops")
            stop.set()

    def check_stop() -> None:
        check_launch()
        if stop.is_set():
            raise Stopped

    retried: Retry = partial(retry, log=log, check=check_stop)
    corpora: dict[tuple[DataConfig, str | None], Corpus] = {}  # equal paths from another base are other recordings
    n_trials = 0
    with explained(url):
        try:
            engine, studies = connect(names, url, store.place, process, lease_s, log, check_stop)
        except Stopped:
            return 0
        with Heartbeat(open_engine(url), process, lease_s, detector, check_launch) as heartbeat:
            for study in studies:
                if stop.is_set():
                    break
                if not _has_trials_left(study, engine, log):
                    continue
                data = study.spec.data
                if (data, data.base) not in corpora:
                    corpora[data, data.base] = load(data)
                corpus = corpora[data, data.base]
                _check_recordings(study, corpus)
                context = WorkerContext(
                    study,
                    corpus,
                    engine,
                    process,
                    lease_s,
                    heartbeat,
                    detector,
                    store,
                    threads,
                    tracking,
                    stop,
                    log,
                    retried,
                    check_stop,
                )
                n_trials += _run_trials(context)
            _unregister(engine, process)
    engine.dispose()
    return n_trials


def connect(
    names: Sequence[str],
    url: str,
    place: str,
    process: Process,
    lease_s: float,
    log: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[Engine, list[Study]]:
    """Open the database at `url`, load the studies, each once, and register the worker.

    names: studies, or study files with several families. place: of the artifacts, stored with each study for a
    dashboard that looks in another place. check: called before each new attempt.

    Waits for a database that is starting, refuses connections or has no free connection. A wrong URL raises at once.
    Raises StorageError, StudyError, and what `check` raises.
    """

    def attempt() -> tuple[Engine, list[Study]]:
        storage, engine = open_storage(url), open_engine(url)
        forget_deleted(engine)
        studies = {study.identity: study for name in names for study in load_studies(name, storage)}
        for study in studies.values():
            confirm_identity(study)
            _record_place(study, engine, place, process.host)
        register(engine, process, device_name(), lease_s)
        return engine, list(studies.values())

    return retry(attempt, log, transient=is_starting, check=check)


def _check_recordings(study: Study, corpus: Corpus) -> None:
    """Raise WorkerError where the recordings here are not those that the study was created on."""
    if corpus.fingerprint != study.fingerprint:
        raise WorkerError(
            f"study {study.name} was created on other recordings (fingerprint {study.fingerprint}, here "
            f"{corpus.fingerprint}); put them back or create a study of another name"
        )


def _record_place(study: Study, engine: Engine, place: str, host: str) -> None:
    """Store where this worker, on `host`, stores artifacts."""
    storage, study_id = study.optuna._storage, study.optuna._study_id
    text = place if place.startswith("s3:") else f"{place} on {host}"
    if system_attributes(engine, study_id, PLACE).get(PLACE) != text:  # all of them may be megabytes of plots
        storage.set_study_system_attr(study_id, PLACE, text)


def _run_trials(context: WorkerContext) -> int:
    """Run trials of one study until it is finished or deleted, or the worker is stopped; return their number.

    A study that is renamed goes on under its new name. Raises WorkerError.
    """
    n_trials = 0
    reasons: list[str] = []  # of the failures since the last trial that did not fail
    with contextlib.suppress(Stopped):
        while True:
            context.check_stop()
            try:
                context = context.retry(partial(_prepared, context))
                result = run_trial(context)
                reason = "" if result else context.retry(partial(stop_reason, context.study, context.engine))
            except Stopped:
                raise
            except StudyGone:
                context.log(f"study {context.study.name} was deleted; no further trial of it runs")
                context.retry(partial(forget_deleted, context.engine))
                break
            except Exception:  # an error of any kind may come from a study that was deleted or renamed meanwhile
                if not context.retry(partial(has_changed, context.study, context.engine)):
                    raise
                continue
            if result is None:
                if reason:
                    context.log(f"study {context.study.name}: {reason}")
                    break
                context.stop.wait(WAIT_S)
                continue
            n_trials += 1
            reasons = [*reasons, result.reason] if result.fate == Fate.FAILED and not result.recorded_before else []
            _check_failures(context, reasons)
    return n_trials


def _prepared(context: WorkerContext) -> WorkerContext:
    """Recover the slots of dead workers; return `context` with the study as it is called now.

    Raises StudyGone where the study was deleted.
    """
    study = current(context.study, context.engine)
    if study is not context.study:
        context.log(f"study {context.study.name} is now called {study.name}")
        context = dataclasses.replace(context, study=study)
    recover(study, context.engine, context.detector)
    return context


def _check_failures(context: WorkerContext, reasons: Sequence[str]) -> None:
    """Raise WorkerError where too many trials in a row failed."""
    kinds = {_kind(reason) for reason in reasons[-MAX_SAME_FAILURES:]}
    if len(reasons) >= MAX_FAILURES or (len(reasons) >= MAX_SAME_FAILURES and len(kinds) == 1):
        text = f"{len(reasons)} trials in a row failed: {reasons[-1]}"
        worker_stopped(context.study.name, text, context.tracking.switches, context.log)
        raise WorkerError(f"worker stops: {text}")


def _kind(reason: str) -> str:
    """Return a failure's reason with # for its numbers: "epoch 3, by step 25" and "epoch 1, by step 0" are equal."""
    return re.sub(r"\d[\d.,e+-]*", "#", reason)


def _has_trials_left(study: Study, engine: Engine, log: Callable[[str], None]) -> bool:
    """Return whether a trial of the study may start. A study that was deleted since it was loaded has none."""
    try:
        return not retry(partial(progress, engine, study.identity), log).spent
    except NoBudget:
        if not has_changed(study, engine):
            raise
        log(f"study {study.name} was deleted")
        return False


def _safe(log: Callable[[str], None]) -> Callable[[str], None]:
    """Return `log` with OSError suppressed: a full disk under the log must not cost a result."""

    def safely(line: str) -> None:
        with contextlib.suppress(OSError):
            log(line)

    return safely


def _unregister(engine: Engine, process: Process) -> None:
    """Record that the worker has stopped. If the database is unavailable, the worker is shown as died later."""
    try:
        with engine.begin() as connection:
            update_status(connection, process, WorkerStatus("stopped"))
    except SQLAlchemyError as error:
        if not is_transient(error):
            raise
