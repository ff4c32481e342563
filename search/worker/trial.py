"""Run one trial: claim, assign, build, train, report, prune, tell, write its pages."""

import contextlib
import gc
import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from data.files import make_folder
from search.artifacts.base import Checkpoints
from search.errors import TrainingFailed
from search.exit_codes import ExitCode
from search.messages import after_trial, worker_failed
from search.pages.study_page import update_pages
from search.pages.trial_artifacts import store_results
from search.pages.weights import store_weights
from search.queue.slots import close, record_result
from search.storage.locks import exclusive
from search.storage.retry import is_transient
from search.study.study import untried
from search.trials import COLLAPSED, SECONDS, Fate
from search.worker.assign import assign, claim_slot, free_slot
from search.worker.build import BuiltTrial, Infeasible, build
from search.worker.context import Assignment, Stopped, WorkerContext
from search.worker.result import TrialResult, ended_elsewhere, failure, memory_as_constraint, summary, tell
from training.learner import check_progress
from training.report import EpochReport
from training.trackers.base import Trackers, tracked_files
from training.trainer import train

# An assignment takes seconds at most. A worker that holds the lock for longer is suspended, and loses the lock.
ASSIGN_S = 60.0
HUNG_GRACE_S = 60.0


class LeaseLost(Exception):
    """Another worker has taken over the trial."""


class TrialEnded(Exception):
    """Another program has ended the trial, or deleted it."""


class OutOfTime(Exception):
    """The trial exceeded the study's trial_minutes."""


def run_trial(context: WorkerContext) -> TrialResult | None:
    """Run the next trial of the study, and return its result; None where there is no trial to run now.

    A trial that another worker started is continued from its newest checkpoint. If that worker recorded a result,
    nothing is trained, and Optuna gets the result. A trial that fails, that another worker takes over, or that another
    program has ended, has a result too. Raises Stopped, and KeyError where the study was deleted.
    """
    study, engine = context.study, context.engine
    assignment = context.retry(partial(_claim_and_assign, context))
    if assignment is None:
        return None
    result = TrialResult.recorded(assignment.claim)
    if result is None and assignment.ended is not None:
        result = ended_elsewhere(assignment.ended)
    built: BuiltTrial | None = None
    run: _Run | None = None
    if result is None:
        try:
            with _renewed(context, assignment) as check:
                built = build(context, assignment)
                with _training(context, assignment, built, check) as run:
                    for report in run.epochs:
                        run.publish(report)
                        if report.collapsed or run.should_prune(report):
                            break
                result = _score(context, assignment, built, run)
        except Infeasible as limit:
            result = TrialResult(Fate.INFEASIBLE, None, 0, str(limit))
        except Stopped:
            context.log(f"trial {assignment.trial.number} interrupted; the next worker continues it")
            context.retry(partial(close, engine, assignment.claim, "open"))
            raise
        except LeaseLost:
            return _refused(context, assignment)
        except (TrialEnded, UpdateFinishedTrialError, KeyError) as error:
            result = _ended_elsewhere(context, assignment, error)
            if result is None:
                return _deleted(context, assignment)
        except (RuntimeError, ValueError, OSError, MemoryError, OutOfTime) as error:
            result = memory_as_constraint(study, failure(error))
        del built, run
        _free_memory()
    if not context.retry(partial(record_result, engine, assignment.claim, result.encode())):
        return _refused(context, assignment)
    result = context.retry(partial(tell, study, assignment.trial, result))
    _close(context, assignment, result)
    _show(context, assignment)
    return result


def _claim_and_assign(context: WorkerContext) -> Assignment | None:
    """Claim a slot and assign it a trial, one worker at a time; None where there is none to run."""
    study = context.study.optuna
    study.get_trials(deepcopy=False)  # a new worker reads the whole study before the others wait for it
    with exclusive(context.engine, f"turn {context.study.identity}", expires_s=ASSIGN_S):
        trials = study.get_trials(deepcopy=False)
        accept = untried(context.study, trials)
        claimed = claim_slot(context, trials, accept)
        return None if claimed is None else assign(context, claimed, trials, accept)


@dataclass(slots=True, eq=False)
class _Run:
    """A running training: its epochs, and the reports that Optuna does not have yet.

    check: raises to end the training. n_restored: number of epochs in the checkpoint that it continues. reported:
    epochs that an earlier worker reported to Optuna. pending: reports still to be sent. began: monotonic time in
    seconds.
    """

    context: WorkerContext
    assignment: Assignment
    check: Callable[[], None]
    checkpoints: Checkpoints
    trackers: Trackers
    epochs: Generator[EpochReport, None, None]
    n_restored: int
    reported: frozenset[int]
    pending: list[EpochReport] = field(default_factory=list)
    last: EpochReport | None = None
    pruned: bool = False
    began: float = field(default_factory=time.monotonic)

    def publish(self, report: EpochReport) -> None:
        """Keep the epoch's checkpoint, and pass its report to the heartbeat and the trackers."""
        self.last = report
        if report.epoch >= self.n_restored:
            self.checkpoints.rotate(report.epoch + 1)
        self.context.heartbeat.epoch(report.epoch, report.score)
        self.trackers.report(report)
        if report.epoch not in self.reported:
            self.pending.append(report)

    def should_prune(self, report: EpochReport) -> bool:
        """Report to Optuna, and return whether its pruner ends the trial.

        While the database is unavailable, reports are kept and the answer is False.
        """
        if report.epoch in self.reported and report.epoch < max(self.reported):
            return False  # the pruner was asked about this epoch by an earlier worker
        trial = self.assignment.trial
        self.check()
        try:
            self.flush()
            self.pruned = not report.last and trial.should_prune()
        except (SQLAlchemyError, StorageInternalError) as error:
            if not is_transient(error):
                raise
            if len(self.pending) == 1:
                self.context.log(f"trial {trial.number}: the database does not answer; its reports are kept for later")
        return self.pruned

    def flush(self) -> None:
        """Send the pending reports to Optuna."""
        while self.pending:
            self.assignment.trial.report(self.pending[0].score, self.pending[0].epoch)
            self.pending.pop(0)


@contextlib.contextmanager
def _renewed(context: WorkerContext, assignment: Assignment) -> Iterator[Callable[[], None]]:
    """Renew the lease while the block runs.

    Yields a check that raises Stopped, LeaseLost, TrialEnded or OutOfTime where the training must end.
    """
    minutes = context.study.spec.budget.trial_minutes
    limit_s = math.inf if minutes is None else 60 * minutes
    reason = f"over the limit of {limit_s / 60:g} minutes a trial"
    deadline = time.monotonic() + limit_s

    def check() -> None:
        if context.stop.is_set():
            raise Stopped
        if context.heartbeat.lost.is_set():
            raise LeaseLost
        if context.heartbeat.ended.is_set():
            raise TrialEnded
        if time.monotonic() > deadline:
            raise OutOfTime(reason)

    def abandon() -> None:
        # called by the heartbeat's thread: only the end of the process ends a training step that hangs
        result = TrialResult(Fate.FAILED, None, 0, f"hung: {reason}")
        if context.retry(partial(record_result, context.engine, assignment.claim, result.encode())):
            context.retry(partial(tell, context.study, assignment.trial, result))
            _close(context, assignment, result)
        os._exit(ExitCode.HUNG)

    trial = assignment.trial
    context.heartbeat.start(assignment.claim, trial.number, trial._trial_id, limit_s + HUNG_GRACE_S, abandon)
    try:
        yield check
    finally:
        context.heartbeat.stop()


@contextlib.contextmanager
def _training(
    context: WorkerContext, assignment: Assignment, built: BuiltTrial, check: Callable[[], None]
) -> Iterator[_Run]:
    """Start the training, or continue it from its checkpoint. The end of the block frees its device."""
    trial, name = assignment.trial, context.study.name
    reported = frozenset(context.retry(partial(trial.storage.get_trial, trial._trial_id)).intermediate_values)
    checkpoints = context.store.checkpoints(context.study.identity, trial.number, context.log)
    if not built.continued:  # any files are left from a deleted study of this name
        checkpoints.delete()
    make_folder(checkpoints.folder)
    n_restored = checkpoints.restore(partial(check_progress, built.run, context.corpus.fingerprint))
    trackers = context.tracking.trackers(name, trial.number)
    trackers.start(built.run, f"{name} {trial.number}")
    epochs = train(
        built.run,
        context.corpus,
        checkpoints.folder,
        model=built.model,
        validation=built.validation,
        check_stop=check,
    )
    run = _Run(context, assignment, check, checkpoints, trackers, epochs, n_restored, reported)
    try:
        with contextlib.closing(epochs):
            yield run
        context.retry(run.flush)
    except BaseException as error:
        trackers.finish({"end": f"{type(error).__name__}: {error}"})
        raise


def _score(context: WorkerContext, assignment: Assignment, built: BuiltTrial, run: _Run) -> TrialResult:
    """Store scores and artifacts of the best weights, and return the result. Raises TrainingFailed for a NaN score."""
    trial, last, score = assignment.trial, run.last, built.run.fit.score
    assert last is not None, "a run has at least one epoch"
    context.retry(partial(trial.set_user_attr, SECONDS, round(time.monotonic() - run.began, 1)))
    folder, note = run.checkpoints.folder, ""
    try:
        context.retry(
            partial(
                store_results, trial, built.run, built.model, built.validation, folder, context.store.artifacts, last
            )
        )
        if last.best_score is not None and not (last.collapsed or run.pruned) and math.isfinite(last.best_score):
            context.retry(
                partial(
                    store_weights,
                    context.study,
                    trial.number,
                    built.run,
                    last.best_score,
                    folder,
                    context.engine,
                    context.store.artifacts,
                )
            )
    except OSError as error:  # a full disk must not cost the result
        note = f"artifacts are missing: {error}"
    run.trackers.files(tracked_files(folder))
    end = "collapsed" if last.collapsed else "pruned" if run.pruned else last.stopped or "finished"
    run.trackers.finish({score: last.score if last.best_score is None else last.best_score, "end": end})
    n_epochs = last.epoch + 1
    if last.collapsed:
        reason = f"{COLLAPSED}: {last.collapsed} in epochs {n_epochs - 1} and {n_epochs}"
        return TrialResult(Fate.PRUNED, None, n_epochs, f"{reason}; {note}" if note else reason)
    if run.pruned:
        return TrialResult(Fate.PRUNED, None, n_epochs, note or f"behind the others after epoch {n_epochs}")
    assert last.best_score is not None, "the last epoch is always past the ramps"
    if not math.isfinite(last.best_score):
        raise TrainingFailed(f"{score} is {last.best_score} at best")
    return TrialResult(Fate.COMPLETE, last.best_score, n_epochs, note)


def _free_memory() -> None:
    """Free the memory that a trial leaves in reference cycles; other workers may share the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _close(context: WorkerContext, assignment: Assignment, result: TrialResult) -> None:
    """Close the slot of a trial whose result Optuna has, log it and send messages. Another worker may repeat this."""
    study, engine, switches = context.study, context.engine, context.tracking.switches
    # before the slot is closed: no worker returns to a closed slot
    context.store.checkpoints(study.identity, assignment.trial.number, context.log).delete()
    state = "failed" if result.fate == Fate.FAILED else "finished"
    context.retry(partial(close, engine, assignment.claim, state))
    context.log(summary(assignment.trial.number, result))
    if assignment.claim.result is not None and result.fate == Fate.FAILED:  # recover() gave it up: its workers died
        worker_failed(study.name, result.reason, assignment.trial.number, switches, context.log)
    if context.tracking.messages:
        context.retry(partial(after_trial, study, engine, switches, context.log))


def _show(context: WorkerContext, assignment: Assignment) -> None:
    """Write the trial's note, and the study page if it is due."""
    artifacts, trial_id = context.store.artifacts, assignment.trial._trial_id
    context.retry(
        partial(update_pages, context.study, context.engine, trial_id, artifacts, context.corpus, context.log)
    )


def _ended_elsewhere(context: WorkerContext, assignment: Assignment, error: Exception) -> TrialResult | None:
    """Return the result that another program gave the trial; None where it was deleted.

    Raises `error` where the trial is still running, so that it has another cause, and KeyError where the study was
    deleted.
    """
    study, number = context.study.optuna, assignment.trial.number
    try:
        trials = context.retry(partial(study.get_trials, deepcopy=False))
    except KeyError:
        context.log(f"trial {number} ends here: its study was deleted or replaced")
        context.store.checkpoints(context.study.identity, number, context.log).delete()
        raise
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        return None
    if not trial.state.is_finished():
        raise error
    return ended_elsewhere(trial)


def _deleted(context: WorkerContext, assignment: Assignment) -> TrialResult:
    """Free the slot of a trial that was deleted, and its checkpoints."""
    number = assignment.trial.number
    context.store.checkpoints(context.study.identity, number, context.log).delete()
    context.retry(partial(free_slot, context, assignment.claim, number))
    return TrialResult(Fate.RUNNING, None, 0)


def _refused(context: WorkerContext, assignment: Assignment) -> TrialResult:
    context.log(f"trial {assignment.trial.number} was taken over by another worker; its result here is refused")
    return TrialResult(Fate.RUNNING, None, 0)
