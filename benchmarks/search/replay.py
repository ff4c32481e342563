"""Replay a search over a table of learning curves, in simulated time, with asynchronous workers.

What samples and what prunes are real Optuna studies in memory; only the training is looked up.
"""

import heapq
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from benchmarks.search.curves import Table

Ask = Callable[[optuna.Study, int], optuna.Trial]
"""The next trial of a study, given how many were asked for before; StopAsking where none is left."""


class StopAsking(Exception):
    """The method has no point left."""


class Space(Protocol):
    """What a method searches: a table or the pool of a suite."""

    @property
    def distributions(self) -> dict[str, BaseDistribution]: ...

    @property
    def n_points(self) -> int: ...

    @property
    def n_epochs(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search. start: (space, seed) -> a study and what asks it. stopped_counts: a trial that was stopped
    early counts as complete with its last score, as Ray Tune's Optuna search does."""

    name: str
    start: Callable[[Space, int], tuple[optuna.Study, Ask]]
    stopped_counts: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """What a search came to. Of every trial trained to its end, in order: at_s, its simulated time, compute_s, what
    all workers had trained until then, n_trials, how many trials had ended, and best, the best value so far."""

    at_s: NDArray[np.float64]
    compute_s: NDArray[np.float64]
    n_trials: NDArray[np.int64]
    best: NDArray[np.float64]
    spent_s: float
    n_ended: int

    def until(self, value: float) -> tuple[float, float]:
        """(time, compute) in seconds to a value of at least `value`; infinite where it was not reached."""
        reached = np.flatnonzero(self.best >= value - 1e-9)
        return (self.at_s[reached[0]], self.compute_s[reached[0]]) if reached.size else (math.inf, math.inf)

    def best_at(self, compute_s: float) -> float:
        """The best value that `compute_s` of compute had found; minus infinity before the first."""
        n = int(np.searchsorted(self.compute_s, compute_s, side="right"))
        return float(self.best[n - 1]) if n else -math.inf

    def best_after(self, n_trials: int) -> float:
        """The best value when so many trials had ended, of whatever length."""
        n = int(np.searchsorted(self.n_trials, n_trials, side="right"))
        return float(self.best[n - 1]) if n else -math.inf


@dataclass(slots=True, eq=False)
class _Running:
    trial: optuna.Trial
    row: int
    epoch: int = 0


def replay(table: Table, method: Method, seed: int, n_workers: int, budget_s: float, enough: float) -> Replay:
    """One search by `method` until it spent `budget_s` of compute, found `enough`, or has no point left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _replay(table, method, seed, n_workers, budget_s, enough)


def _replay(table: Table, method: Method, seed: int, n_workers: int, budget_s: float, enough: float) -> Replay:
    study, ask = method.start(table, seed)
    values = table.values
    spent_s, best, n_asked, n_ended = 0.0, -math.inf, 0, 0
    found: list[tuple[float, float, int, float]] = []
    running: dict[int, _Running] = {}
    # (when an epoch ends, when its worker was served last, worker): ties go to whoever waits longest
    due: list[tuple[float, int, int]] = [(0.0, worker, worker) for worker in range(n_workers)]
    turn = n_workers
    while due and spent_s < budget_s and best < enough:
        now, _, worker = heapq.heappop(due)
        job = running.get(worker)
        if job is not None:
            spent_s += table.seconds[job.row]
            score = float(table.scores[job.row, job.epoch])
            job.trial.report(score, job.epoch)
            job.epoch += 1
            if job.epoch == table.n_epochs:
                value = float(values[job.row])
                study.tell(job.trial, value)
                best = max(best, value)
                n_ended += 1
                found.append((now, spent_s, n_ended, best))
                job = None
            elif job.trial.should_prune():
                if method.stopped_counts:
                    study.tell(job.trial, score)
                else:
                    study.tell(job.trial, state=TrialState.PRUNED)
                n_ended += 1
                job = None
        if job is None:
            running.pop(worker, None)
            try:
                trial = ask(study, n_asked)
            except StopAsking:
                continue
            n_asked += 1
            job = running[worker] = _Running(trial, table.cells[_cell(trial, table)])
        heapq.heappush(due, (now + table.seconds[job.row], turn, worker))
        turn += 1
    at_s, compute_s, n_trials, bests = (np.array([row[i] for row in found]) for i in range(4))
    return Replay(at_s, compute_s, n_trials.astype(np.int64), bests, spent_s, n_ended)


def _cell(trial: optuna.Trial, table: Table) -> tuple[int, ...]:
    place = suggested(trial, table)
    return tuple(place[name] for name in table.axes)


def suggested(trial: optuna.Trial, table: Table) -> Mapping[str, Any]:
    """A place on every axis of the table, asked of the trial in the ordinary way."""
    return {
        name: trial.suggest_categorical(name, distribution.choices)
        if isinstance(distribution, CategoricalDistribution)
        else trial.suggest_int(name, 0, len(table.axes[name]) - 1)
        for name, distribution in table.distributions.items()
    }
