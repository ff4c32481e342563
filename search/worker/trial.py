"""One trial: params -> RunConfig -> train -> report or prune -> score; its story is told in
search.pages.trial_results.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import optuna
import torch
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from data.corpus import Corpus
from objectives.cost import latency_ms, n_parameters
from search.artifacts.base import Checkpoints, Store
from search.pages.trial_results import tell_story
from search.storage.fast.storage import batch
from search.storage.retry import is_away, patiently
from search.study.record import COLLAPSED, RUN
from search.study.spec import ConstraintSpec, run_of
from search.study.study import SearchStudy
from search.worker.assign import Turn
from search.worker.result import TrialOutcome
from search.worker.tracking import Tracking, kept
from training.config import RunConfig, from_document, to_document
from training.decode import ConfigError
from training.device import arithmetic, resolve_device
from training.report import EpochReport
from training.trackers.base import Tracker
from training.trainer import TrainingFailed, train

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a trial runs: the store of artifacts and checkpoints, its share of the CPU threads, its trackers."""

    store: Store
    threads: int | None
    tracking: Tracking = field(default_factory=Tracking)


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """Who looks on: `check` is called before every step and may raise to end the trial, `at` after every epoch."""

    check: Callable[[], None]
    at: Callable[[int, float], None]
    say: Callable[[str], None]

    def patiently(self, call: Callable[[], T]) -> T:
        """What `call` returns, once the database answers."""
        return patiently(call, self.say, check=self.check)


def run_trial(turn: Turn, search: SearchStudy, corpus: Corpus, place: Place, watch: Watch) -> TrialOutcome:
    """Train the run that the turn's params stand for; what comes of it goes into the trial's attributes and
    artifacts, but telling its state is left to the caller. A trial that another worker began goes on from its
    newest checkpoint with the very run that was stored then.

    Raises TrainingFailed, and whatever else the run comes to.
    """
    trial = turn.trial
    began = time.monotonic()
    stored = watch.patiently(lambda: trial.user_attrs.get(RUN))
    try:
        if stored is not None:
            run = from_document(json.loads(stored), f"trial {trial.number}")
        else:
            run = run_of(search.spec, search.space, turn.params, f"trial {trial.number}")
            # equal results need equal threads, so a deterministic study takes one wherever it runs
            run = with_threads(run, 1 if search.spec.deterministic else place.threads)
            if place.tracking.switches.only_first_batch:
                run = dataclasses.replace(run, fit=dataclasses.replace(run.fit, steps_per_epoch=1))
    except ConfigError as error:  # every value is in its range, but the model does not exist for all of them together
        return TrialOutcome("infeasible", None, 0, str(error))
    cost = _measure(run, search.spec.constraints, corpus)
    watch.patiently(lambda: _announce(trial, run, cost))
    if cost.broken:
        return TrialOutcome("infeasible", None, 0, cost.broken)
    checkpoints = place.store.of(search.name, trial.number, watch.say)
    if stored is None:  # what lies there is of another trial of this number, in a study that is gone
        checkpoints.forget()
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    sinks = place.tracking.sinks(search.name, trial.number)
    sinks.start(run, f"{search.name} {trial.number}")
    try:
        last, pruned = _train(trial, run, corpus, checkpoints, watch, sinks)
    except BaseException as error:
        sinks.finish({"end": f"{type(error).__name__}: {error}"})
        raise
    watch.patiently(lambda: trial.set_user_attr("seconds", round(time.monotonic() - began, 1)))
    note = ""
    try:
        watch.patiently(lambda: _tell_story(trial, run, corpus, checkpoints, place, last))
    except OSError as error:  # a full disk costs the pictures, not the result
        note = f"artifacts are missing: {error}"
    sinks.files(kept(checkpoints.folder))
    ended = "collapsed" if last.collapsed else "pruned" if pruned else last.stopped or "finished"
    sinks.finish({run.fit.score: last.score if last.best_score is None else last.best_score, "end": ended})
    if last.collapsed:  # nothing that it learns from here on is worth the device's time
        reason = f"{COLLAPSED}: {last.collapsed} in epochs {last.epoch} and {last.epoch + 1}"
        return TrialOutcome("pruned", None, last.epoch + 1, f"{reason}; {note}" if note else reason)
    if pruned:
        return TrialOutcome("pruned", None, last.epoch + 1, note or f"behind the others after epoch {last.epoch + 1}")
    assert last.best_score is not None, "the last epoch is always past the ramps"
    if not math.isfinite(last.best_score):
        raise TrainingFailed(f"{run.fit.score} is {last.best_score} at best")
    return TrialOutcome("complete", last.best_score, last.epoch + 1, note)


def with_threads(run: RunConfig, threads: int | None) -> RunConfig:
    """`run` with the worker's share of CPU threads written into it, unless the study fixes one."""
    if run.fit.threads is not None or threads is None:
        return run
    return dataclasses.replace(run, fit=dataclasses.replace(run.fit, threads=threads))


def _train(
    trial: optuna.Trial, run: RunConfig, corpus: Corpus, checkpoints: Checkpoints, watch: Watch, sinks: Tracker
) -> tuple[EpochReport, bool]:
    """Train to the end, to where the output collapsed or to where the pruner ends it; the last report, and whether
    the pruner did.

    While the database is away reports are kept, training goes on, and nothing is pruned.
    """
    report: EpochReport | None = None
    told = set(watch.patiently(lambda: trial.storage.get_trial(trial._trial_id).intermediate_values))
    kept: list[EpochReport] = []
    n_kept = checkpoints.restore()
    reports = train(run, corpus, checkpoints.folder, check_stop=watch.check)
    try:
        for report in reports:
            if report.epoch >= n_kept:
                checkpoints.keep(report.epoch + 1)
            watch.at(report.epoch, report.score)
            sinks.report(report)
            if report.epoch not in told:
                kept.append(report)
            elif report.epoch < max(told):
                continue  # of before the trial changed hands: told and judged then
            watch.check()
            if _told_and_pruned(trial, kept, report.last, watch):
                return report, True
            if report.collapsed:
                break
        watch.patiently(lambda: _tell_kept(trial, kept))
    finally:
        reports.close()  # type: ignore[attr-defined]  # a generator: frees model and device
    assert report is not None
    return report, False


def _told_and_pruned(trial: optuna.Trial, kept: list[EpochReport], last: bool, watch: Watch) -> bool:
    try:
        _tell_kept(trial, kept)
        return not last and trial.should_prune()
    except (SQLAlchemyError, StorageInternalError) as error:
        if not is_away(error):
            raise
        if len(kept) == 1:
            watch.say(f"trial {trial.number}: the database does not answer; its reports are kept and told later")
        return False


def _tell_kept(trial: optuna.Trial, kept: list[EpochReport]) -> None:
    while kept:
        trial.report(kept[0].score, kept[0].epoch)
        kept.pop(0)


def _tell_story(
    trial: optuna.Trial, run: RunConfig, corpus: Corpus, checkpoints: Checkpoints, place: Place, last: EpochReport
) -> None:
    with batch(trial.storage, trial._trial_id):
        tell_story(trial, run, corpus, checkpoints.folder, place.store.artifacts, last)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a model costs, by how much it is over each limit (feasible <= 0), and the first limit broken in words."""

    attributes: Mapping[str, float]
    over: Mapping[str, float]
    broken: str


def _announce(trial: optuna.Trial, run: RunConfig, cost: _Cost) -> None:
    """Store the whole run before training, so that even a killed trial says what it was and can be taken on."""
    with batch(trial.storage, trial._trial_id):
        for name, value in cost.over.items():
            trial.set_constraint(name, value)
        trial.set_user_attr(RUN, json.dumps(to_document(run)))
        trial.set_user_attr("device", str(resolve_device(run.fit.device)))
        for name, value in cost.attributes.items():
            trial.set_user_attr(name, value)


def _measure(run: RunConfig, limits: ConstraintSpec, corpus: Corpus) -> _Cost:
    with arithmetic(run.fit.seed, torch.device("cpu"), run.fit.threads):
        model = run.build_model(corpus.n_channels)
        size = n_parameters(model)
        attributes: dict[str, float] = {"n_parameters": size}
        over: dict[str, float] = {}
        broken = ""
        if limits.max_parameters is not None:
            over["n_parameters"] = size - limits.max_parameters
            if size > limits.max_parameters:
                broken = f"{size:,} parameters, {limits.max_parameters:,} allowed"
        if limits.max_latency_ms is not None:
            latency = latency_ms(model, corpus.n_channels, run.data.window_samples)
            attributes["latency_ms"] = round(latency, 2)
            over["latency_ms"] = latency - limits.max_latency_ms
            if latency > limits.max_latency_ms:
                broken = broken or f"{latency:.1f} ms a window, {limits.max_latency_ms:g} ms allowed"
    return _Cost(attributes, over, broken)
