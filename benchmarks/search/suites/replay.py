"""Replay a search over a pool of known curves, in simulated time, with asynchronous workers.

An epoch of any training costs 1. A training whose score is NaN fails in that epoch, as in search.worker: its trial has
the state FAIL, and the epochs before are spent. An infinite score is reported, and a huge loss is a bad score.
"""

import heapq
import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.search.replay import Ask, StopAsking
from benchmarks.search.suites.pool import Pool, Untried


@dataclass(slots=True, eq=False)
class Work:
    """A trial that is trained or paused. row: of its configuration in the pool. n_epochs: trained so far."""

    trial: optuna.Trial
    row: int
    n_epochs: int = 0


class Scheduler(Protocol):
    """What a method decides. The replay asks it for work, and stores every report in its trial."""

    def next(self) -> Work | None:
        """Return a new trial or one to go on with; None where there is none now."""

    def goes_on(self, work: Work, score: float) -> bool:
        """Return whether the worker goes on with a trial after `score`, which is not that of the last epoch."""

    def complete(self, work: Work, value: float) -> None:
        """Take the value of a training that ended."""

    def fail(self, work: Work) -> None:
        """Take that a training failed in its last epoch."""


class Starter:
    """Starts new trials of an Optuna study: the untried configuration that is nearest to the proposal."""

    def __init__(self, pool: Pool, study: optuna.Study, ask: Ask) -> None:
        self._pool, self._study, self._ask = pool, study, ask
        self._untried = Untried(pool)
        self._n_asked = 0

    def start(self) -> Work | None:
        """Return a new trial, which has the parameters of its configuration; None where none is untried."""
        if not len(self._untried):
            return None
        try:
            trial = self._ask(self._study, self._n_asked)
        except StopAsking:
            return None
        self._n_asked += 1
        place = np.array([trial.suggest_float(name, 0.0, 1.0) for name in self._pool.axes])
        row = self._untried.take(place)
        for i, (name, distribution) in enumerate(self._pool.distributions.items()):
            # samplers learn from what was trained, not from what was proposed
            trial.storage.set_trial_param(trial._trial_id, name, float(self._pool.places[row, i]), distribution)
        return Work(trial, row)

    def tell(self, work: Work, value: float | None, state: TrialState = TrialState.COMPLETE) -> None:
        self._study.tell(work.trial, value, state=state)


class StoppingScheduler:
    """A study whose pruner ends trials for good. stopped_counts: see benchmarks.search.replay.Method."""

    def __init__(self, starter: Starter, stopped_counts: bool) -> None:
        self._starter, self._stopped_counts = starter, stopped_counts

    def next(self) -> Work | None:
        return self._starter.start()

    def goes_on(self, work: Work, score: float) -> bool:
        if not work.trial.should_prune():
            return True
        if self._stopped_counts:
            self._starter.tell(work, score)
        else:
            self._starter.tell(work, None, TrialState.PRUNED)
        return False

    def complete(self, work: Work, value: float) -> None:
        self._starter.tell(work, value)

    def fail(self, work: Work) -> None:
        self._starter.tell(work, None, TrialState.FAIL)


class PromotingScheduler:
    """ASHA (Li et al. 2020, arXiv:1810.05934, algorithm 2), which pauses every trial at the rungs and resumes the best.

    Rungs are after 1, r, r^2 ... epochs, r being `reduction_factor`. A free worker takes the first trial, from the
    highest rung down, that is among the best n // r of the n at its rung and not promoted yet; else a new trial. A
    training that fails is the worst of the rung that it does not reach, so that it counts among the n.
    """

    def __init__(self, starter: Starter, n_epochs: int, reduction_factor: int = 3) -> None:
        self._starter, self._reduction_factor = starter, reduction_factor
        self._rungs = rungs_below(n_epochs, reduction_factor)
        self._recorded: dict[int, list[tuple[float, Work]]] = defaultdict(list)
        self._promoted: dict[int, set[int]] = defaultdict(set)

    def next(self) -> Work | None:
        for rung in reversed(self._rungs):
            recorded, promoted = self._recorded[rung], self._promoted[rung]
            best = heapq.nlargest(len(recorded) // self._reduction_factor, recorded, key=lambda pair: pair[0])
            for score, work in best:
                if work.row not in promoted and score > -math.inf:
                    promoted.add(work.row)
                    return work
        return self._starter.start()

    def goes_on(self, work: Work, score: float) -> bool:
        if work.n_epochs not in self._rungs:
            return True
        self._recorded[work.n_epochs].append((score, work))
        return False

    def complete(self, work: Work, value: float) -> None:
        self._starter.tell(work, value)

    def fail(self, work: Work) -> None:
        missed = next((rung for rung in self._rungs if rung >= work.n_epochs), None)
        if missed is not None:
            self._recorded[missed].append((-math.inf, work))
        self._starter.tell(work, None, TrialState.FAIL)


def rungs_below(n_epochs: int, reduction_factor: int) -> tuple[int, ...]:
    """Return 1, r, r^2 ... below `n_epochs`, r being `reduction_factor`."""
    rungs = [1]
    while rungs[-1] < n_epochs:
        rungs.append(rungs[-1] * reduction_factor)
    return tuple(rungs[:-1])


@dataclass(frozen=True, slots=True)
class SuiteMethod:
    """A way to search a pool. start: (pool, seed) -> a scheduler of a new search."""

    name: str
    start: Callable[[Pool, int], Scheduler]


@dataclass(slots=True, eq=False)
class Course:
    """The improvements of a search: epochs spent by all workers until then, and the best value so far."""

    epochs: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def add(self, spent: int, value: float) -> None:
        if math.isfinite(value) and (not self.best or value > self.best[-1]):
            self.epochs.append(spent)
            self.best.append(value)


@dataclass(frozen=True, slots=True, eq=False)
class SuiteReplay:
    """What a search came to.

    reported: improvements by any report. complete: those by trainings to the end. spent: epochs of all workers. time:
    epochs by the clock.
    """

    reported: Course
    complete: Course
    spent: int
    time: int
    n_trials: int
    n_complete: int
    n_failed: int


def replay_pool(pool: Pool, method: SuiteMethod, seed: int, n_workers: int, budget: int) -> SuiteReplay:
    """Replay one search until it spent `budget` epochs, or has nothing left to train."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _replay(pool, method.start(pool, seed), n_workers, budget)


def _replay(pool: Pool, scheduler: Scheduler, n_workers: int, budget: int) -> SuiteReplay:
    values = pool.values
    reported, complete = Course(), Course()
    spent, now, n_complete, n_failed = 0, 0, 0, 0
    rows: set[int] = set()
    running: dict[int, Work] = {}
    while spent < budget:
        for worker in range(n_workers):
            if worker not in running and (work := scheduler.next()) is not None:
                running[worker] = work
                rows.add(work.row)
        if not running:
            break
        now += 1
        for worker, work in list(running.items()):  # all epochs take equally long, so the workers end theirs together
            if spent == budget:
                break
            spent += 1
            score = float(pool.scores[work.row, work.n_epochs])
            work.n_epochs += 1
            if not math.isnan(score):
                work.trial.report(score, work.n_epochs - 1)
                reported.add(spent, score)
            ended = work.n_epochs == pool.n_epochs
            if math.isnan(score) or (ended and not math.isfinite(values[work.row])):
                scheduler.fail(work)
                n_failed += 1
            elif ended:
                complete.add(spent, float(values[work.row]))
                scheduler.complete(work, float(values[work.row]))
                n_complete += 1
            elif scheduler.goes_on(work, score):
                continue
            del running[worker]
    return SuiteReplay(reported, complete, spent, now, len(rows), n_complete, n_failed)
