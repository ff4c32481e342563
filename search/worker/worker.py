"""A worker: claim a slot, run a trial, tell how it ended, until every trial of the budget is finished."""

import contextlib
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from data.config import DataConfig
from data.corpus import Corpus, load
from search.artifacts.folder import open_store
from search.messages import after_trial, worker_failed, worker_stopped
from search.pages.study_page import show_end
from search.queue.heartbeat import Heart
from search.queue.slots import LEASE_S, Lookout, progress, release, settle
from search.queue.workers import Doing, note
from search.signals import stop_event
from search.storage.open import explained, open_engine
from search.storage.retry import is_away, patiently
from search.storage.tables import Process, this_process
from search.study.finished import why_over
from search.study.study import SearchStudy
from search.worker.assign import Turn, next_turn, sweep
from search.worker.opening import enter
from search.worker.result import TrialOutcome, ending, failure, judged, tell
from search.worker.tracking import Tracking
from search.worker.trial import Place, Watch, run_trial
from training.decode import ConfigError
from training.switches import masking

T = TypeVar("T")

MAX_SAME_FAILURES = 3
MAX_FAILURES = 10

WAIT_S = 1.0
HUNG_GRACE_S = 60.0
HUNG_EXIT = 75  # EX_TEMPFAIL of sysexits.h: the launcher starts another worker


class Stopped(Exception):
    """Somebody asked the worker to stop."""


class LeaseLost(Exception):
    """The trial is somebody else's by now."""


class OutOfTime(Exception):
    """The trial ran longer than a trial may."""


class WorkerError(ConfigError):
    """The worker gives up; the message says why."""


def work(
    names: Sequence[str],
    url: str,
    artifacts: str | Path,
    *,
    threads: int | None = None,
    lease_s: float = LEASE_S,
    say: Callable[[str], None] = print,
    tracking: Tracking | None = None,
) -> int:
    """Run trials of the studies `names`, one study after the other, until their budgets are spent; the number run.

    While others finish the last trials it stays, to take on what they may leave. SIGTERM and SIGINT stop it within
    a training step or two: its trial's checkpoint stands, its slot is opened for the next worker; a second signal
    ends the process at once. A database that goes away, or is away yet, is waited for. Raises WorkerError after
    three failures in a row for one reason, or ten for any, and StorageError where the database stays away.
    """
    stop = stop_event()
    tracking = tracking or Tracking()
    say = _careful(masking(say, tracking.switches.secrets))
    process = this_process()
    lookout = Lookout(patience_s=lease_s / 3)
    try:
        with explained(url):
            engine, searches = enter(names, url, process, lease_s, say, partial(_check, stop))
    except Stopped:
        return 0
    store = open_store(artifacts)
    corpora: dict[DataConfig, Corpus] = {}
    n_trials = 0
    with explained(url), Heart(open_engine(url), process, lease_s, lookout) as heart:
        for search in searches:
            if stop.is_set():
                break
            if patiently(partial(progress, engine, search.name), say).spent:
                continue
            if search.spec.data not in corpora:
                corpora[search.spec.data] = load(search.spec.data)
            corpus = corpora[search.spec.data]
            if corpus.fingerprint != search.fingerprint:
                raise WorkerError(
                    f"study {search.name} was made on other recordings (fingerprint {search.fingerprint}, here "
                    f"{corpus.fingerprint}); put them back or create a study of another name"
                )
            bench = _Bench(
                search,
                engine,
                process,
                lease_s,
                lookout,
                heart,
                corpus,
                Place(store, threads, tracking),
                stop,
                say,
            )
            n_trials += _until_spent(bench)
            over = "" if stop.is_set() else patiently(partial(why_over, search, engine), say)
            if over:
                say(f"study {search.name}: {over}")
        _sign_off(engine, process)
    engine.dispose()
    return n_trials


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What every trial of a worker has in common."""

    search: SearchStudy
    engine: Engine
    process: Process
    lease_s: float
    lookout: Lookout
    heart: Heart
    corpus: Corpus
    place: Place
    stop: threading.Event
    say: Callable[[str], None]

    def patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self.say, check=self.check_stop)

    def check_stop(self) -> None:
        _check(self.stop)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


def _until_spent(bench: _Bench) -> int:
    n_trials = 0
    reasons: list[str] = []  # of the failures since the last trial that ended well
    while not bench.stop.is_set():
        try:
            turn = bench.patiently(lambda: _turn(bench))
            if turn is None:
                if bench.patiently(lambda: _nothing_left(bench)):
                    break
                bench.stop.wait(WAIT_S)
                continue
            reason = _one(bench, turn)
        except Stopped:  # while the database was away: whoever sees this process dead takes on what it held
            break
        n_trials += 1
        reasons = [*reasons, reason] if reason else []
        alike = {_without_numbers(earlier) for earlier in reasons[-MAX_SAME_FAILURES:]}
        if len(reasons) >= MAX_FAILURES or (len(reasons) >= MAX_SAME_FAILURES and len(alike) == 1):
            said = f"{len(reasons)} trials in a row failed: {reason}"
            worker_stopped(bench.search.name, said, bench.place.tracking.switches, bench.say)
            raise WorkerError(f"worker stops: {said}")
    return n_trials


def _turn(bench: _Bench) -> Turn | None:
    sweep(bench.search, bench.engine, bench.lookout)
    return next_turn(bench.search, bench.engine, bench.process, bench.lease_s)


def _nothing_left(bench: _Bench) -> bool:
    state = progress(bench.engine, bench.search.name)
    return state.spent or (state.open + state.claimed == 0 and bool(why_over(bench.search, bench.engine)))


def _without_numbers(reason: str) -> str:
    """The kind of a failure: "epoch 3, by step 25" and "epoch 1, by step 0" are one."""
    return re.sub(r"\d[\d.,e+-]*", "#", reason)


def _one(bench: _Bench, turn: Turn) -> str:
    """One trial; the reason of its failure, or "" where it ended well, was stopped or was somebody else's."""
    trial, held = turn.trial, turn.held
    if held.outcome is not None:
        _finish(bench, turn, TrialOutcome.decode(held.outcome))
        return ""
    limit_s = None if (m := bench.search.spec.budget.trial_minutes) is None else 60 * m
    over_at = None if limit_s is None else time.monotonic() + limit_s
    hung_s = None if limit_s is None else limit_s + HUNG_GRACE_S
    reason = "" if limit_s is None else f"over the limit of {limit_s / 60:g} minutes a trial"
    bench.heart.hold(held, trial.number, hung_s, lambda: _abandon(bench, turn, f"hung: {reason}"))

    def check() -> None:
        bench.check_stop()
        if bench.heart.lost.is_set():
            raise LeaseLost
        if over_at is not None and time.monotonic() > over_at:
            raise OutOfTime(reason)

    try:
        outcome = run_trial(
            turn,
            bench.search,
            bench.corpus,
            bench.place,
            Watch(check, bench.heart.at, bench.say),
        )
    except Stopped:
        bench.say(f"trial {trial.number} interrupted; the next worker takes it on")
        bench.patiently(lambda: release(bench.engine, held, "open"))
        return ""
    except (LeaseLost, UpdateFinishedTrialError):
        bench.say(f"trial {trial.number} is somebody else's by now; its result here is refused")
        return ""
    except (RuntimeError, ValueError, OSError, MemoryError, OutOfTime) as error:
        outcome = judged(bench.search, failure(error))
    finally:
        bench.heart.let_go()
    gc.collect()  # what a failed trial left in circles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # other workers may share the device
    accepted = _finish(bench, turn, outcome)
    return outcome.reason if accepted and outcome.state == "failed" else ""


def _finish(bench: _Bench, turn: Turn, outcome: TrialOutcome) -> bool:
    """Fence, tell Optuna, close the slot; each step may be done again by whoever comes after a death in between.

    False for a late worker, whose outcome is refused.
    """
    held, trial = turn.held, turn.trial
    if not bench.patiently(lambda: settle(bench.engine, held, outcome.encode())):
        bench.say(f"trial {trial.number} is somebody else's by now; its result here is refused")
        return False
    bench.patiently(lambda: tell(bench.search, trial, outcome))
    bench.place.store.of(
        bench.search.name, trial.number, bench.say
    ).forget()  # before the slot is closed: nobody comes after
    bench.patiently(lambda: release(bench.engine, held, "failed" if outcome.state == "failed" else "finished"))
    bench.say(ending(trial.number, outcome))
    switches = bench.place.tracking.switches
    if held.outcome is not None and outcome.state == "failed":  # told in the place of workers that are dead
        worker_failed(bench.search, outcome, trial.number, switches, bench.say)
    bench.patiently(lambda: after_trial(bench.search, bench.engine, switches, bench.say))
    artifacts = bench.place.store.artifacts
    bench.patiently(lambda: show_end(bench.search, bench.engine, trial._trial_id, artifacts, bench.corpus, bench.say))
    return True


def _abandon(bench: _Bench, turn: Turn, reason: str) -> None:
    """Called from the heart: the trial hangs in a step that never ends, so nothing but the process's end frees it."""
    _finish(bench, turn, TrialOutcome("failed", None, 0, reason))
    os._exit(HUNG_EXIT)


def _careful(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` without its errors: a full disk under the log must not cost a result."""

    def carefully(line: str) -> None:
        with contextlib.suppress(OSError):
            say(line)

    return carefully


def _sign_off(engine: Engine, process: Process) -> None:
    """Say in the roster that the worker stopped of itself; one that cannot be reached will take it for dead."""
    try:
        with engine.begin() as connection:
            note(connection, process, Doing("stopped"))
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
