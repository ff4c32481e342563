"""A worker: claim a slot, run a trial, tell how it ended, until the budget is spent."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
from sqlalchemy import Engine

from data.config import DataConfig
from data.corpus import Corpus, load
from search.ledger import Claim, claim, orphans, release, set_trial
from search.samplers import build_sampler
from search.storage import open_engine, open_storage
from search.study import SearchStudy, load_study
from search.trial import TrialOutcome, run_trial
from training.decode import ConfigError
from training.trainer import TrainingFailed

MAX_SAME_FAILURES = 3


class Stopped(Exception):
    """Somebody asked the worker to stop."""


class WorkerError(ConfigError):
    """The worker gives up; the message says why."""


def work(
    names: Sequence[str],
    url: str,
    artifacts_folder: Path,
    *,
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run trials of the studies `names`, one study after the other, until their budgets are spent; the number run.

    SIGTERM and SIGINT stop it after the current epoch: the trial is told failed ("interrupted") and its slot given
    back. Raises WorkerError after three failures in a row for one reason.
    """
    storage, engine = open_storage(url), open_engine(url)
    searches = [load_study(name, storage) for name in names]
    artifacts_folder.mkdir(parents=True, exist_ok=True)
    artifacts = FileSystemArtifactStore(str(artifacts_folder))
    stop = _stop_on_signals()
    corpora: dict[DataConfig, Corpus] = {}
    n_trials = 0
    for search in searches:
        if search.spec.data not in corpora:
            corpora[search.spec.data] = load(search.spec.data)
        corpus = corpora[search.spec.data]
        if corpus.fingerprint != search.fingerprint:
            raise WorkerError(
                f"study {search.name} was made on other recordings (fingerprint {search.fingerprint}, here "
                f"{corpus.fingerprint}); put them back or create a study of another name"
            )
        bench = _Bench(search, engine, corpus, artifacts, threads, stop, say)
        n_trials += _until_spent(bench, f"{socket.gethostname()}:{os.getpid()}")
    engine.dispose()
    return n_trials


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """What every trial of a worker has in common."""

    search: SearchStudy
    engine: Engine
    corpus: Corpus
    artifacts: FileSystemArtifactStore
    threads: int | None
    stop: threading.Event
    say: Callable[[str], None]


def _until_spent(bench: _Bench, worker: str) -> int:
    n_trials, failures = 0, 0
    last_reason = ""
    while not bench.stop.is_set():
        held = claim(bench.engine, bench.search.name, worker)
        if held is None:
            break
        reason = _one(bench, held)
        n_trials += 1
        failures = failures + 1 if reason and reason == last_reason else int(bool(reason))
        last_reason = reason
        if failures >= MAX_SAME_FAILURES:
            raise WorkerError(f"worker stops: {failures} trials in a row failed: {reason}")
    return n_trials


def _one(bench: _Bench, held: Claim) -> str:
    """One trial in slot `held`; the reason of its failure, or "" where it ended well."""
    search, engine = bench.search, bench.engine
    spec, study = search.spec, search.study
    study.sampler = build_sampler(spec.sampler, search.space.sampled, spec.seed, held.slot)
    trial = study.ask()
    set_trial(engine, held, trial.number)

    def check_stop() -> None:
        if bench.stop.is_set():
            raise Stopped

    try:
        outcome = run_trial(trial, search, bench.corpus, bench.artifacts, bench.threads, check_stop)
    except Stopped:
        _fail(study, trial, engine, held, "interrupted", "lost")
        bench.say(f"trial {trial.number} interrupted, its slot given back")
        return ""
    except (TrainingFailed, ConfigError, OSError, MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        _fail(study, trial, engine, held, reason, "failed")
        bench.say(f"trial {trial.number} failed: {reason}")
        return reason
    _tell(study, trial, outcome)
    release(engine, held, "finished")
    bench.say(_line(trial.number, outcome))
    return ""


def _tell(study: optuna.Study, trial: optuna.Trial, outcome: TrialOutcome) -> None:
    if outcome.reason:
        trial.set_user_attr("reason", outcome.reason)
    if outcome.state == "complete":
        study.tell(trial, outcome.value)
    else:
        study.tell(trial, state=TrialState.PRUNED)


def _fail(study: optuna.Study, trial: optuna.Trial, engine: Engine, held: Claim, reason: str, slot_state: str) -> None:
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.FAIL)
    release(engine, held, slot_state)


def _line(number: int, outcome: TrialOutcome) -> str:
    value = f" {outcome.value:+.3f}" if outcome.value is not None else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"trial {number} {outcome.state}{value} ({outcome.n_epochs} epochs){reason}"


def sweep(search: SearchStudy, engine: Engine) -> list[int]:
    """Fail the trials and give back the slots of workers of this host that are gone; the trials' numbers."""
    swept = []
    for held, number in orphans(engine, search.name):
        if number is not None:
            trials = search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for frozen in trials:
                if frozen.number == number:
                    storage = search.study._storage
                    storage.set_trial_user_attr(frozen._trial_id, "reason", f"worker {held.worker} died")
                    search.study.tell(number, state=TrialState.FAIL)
                    swept.append(number)
        release(engine, held, "lost")
    return swept


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ask)
        signal.signal(signal.SIGINT, ask)
    return stop
