"""Summarise the replays of a suite: normalised regret, ranks of methods, wins and losses by task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.search.suites.methods import OURS
from benchmarks.search.suites.pool import Pool, regret
from benchmarks.search.summary import interval

Counted = Literal["reported", "complete"]
LEVEL = 0.005  # regrets that differ by less are a draw


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """regrets: float64[method, task, seed, budget], normalised. trials: float64[method, task, seed, 3]: started,
    complete and failed trials. n_full: epochs of a training."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    budgets: tuple[int, ...]
    n_full: int
    regrets: NDArray[np.float64]
    trials: NDArray[np.float64]

    @property
    def ranks(self) -> NDArray[np.float64]:
        """float64[method, task, seed, budget]: 1 is the lowest regret; equal ones share the mean of their places."""
        ranks: NDArray[np.float64] = rankdata(self.regrets, axis=0)
        return ranks

    @property
    def by_task(self) -> NDArray[np.float64]:
        """float64[method, task, budget]: mean regret over the seeds."""
        mean: NDArray[np.float64] = self.regrets.mean(axis=2)
        return mean


def best_by(course: Mapping[str, Sequence[float]], budgets: Sequence[int]) -> NDArray[np.float64]:
    """float64[budget]: the best value by each budget; minus infinity before the first."""
    best = np.array([-np.inf, *course["best"]])
    found: NDArray[np.float64] = best[np.searchsorted(course["epochs"], budgets, side="right")]
    return found


def judged(
    pools: Sequence[Pool],
    budgets: Sequence[int],
    methods: Sequence[str],
    replays: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    counted: Counted,
) -> Outcome:
    """Regrets of all replays. replays: (task, method) -> a line of run.encode for each seed.

    counted: whether the best value is that of any report, or of trainings to the end only.
    """
    regrets = [
        [[regret(pool, best_by(line[counted], budgets)) for line in replays[pool.name, method]] for pool in pools]
        for method in methods
    ]
    trials = [[[line["trials"] for line in replays[pool.name, method]] for pool in pools] for method in methods]
    return Outcome(
        tuple(methods),
        tuple(pool.name for pool in pools),
        tuple(budgets),
        max(pool.n_epochs for pool in pools),
        np.array(regrets),
        np.array(trials, dtype=np.float64),
    )


def over_tasks(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean over tasks of float64[task], and its bootstrap interval of 95 %, drawing tasks."""
    return interval(lambda sample: float(np.mean(sample)), values)


def against(mine: NDArray[np.float64], others: NDArray[np.float64], level: float = LEVEL) -> tuple[int, int, int]:
    """Wins, draws and losses of float64[task] mean regrets against others'."""
    return (
        int((mine < others - level).sum()),
        int((np.abs(mine - others) <= level).sum()),
        int((mine > others + level).sum()),
    )


def lines_of_suite(outcome: Outcome) -> Iterable[str]:
    """Markdown tables: mean regret, mean rank, then ours against each method, and regret by task at the last budget."""
    heads = [_budget(budget, outcome.n_full) for budget in outcome.budgets]
    yield "Mean normalised regret (interval over tasks):"
    yield ""
    yield from _table(["method", *heads], _means(outcome, outcome.by_task, 3))
    yield ""
    yield "Mean rank of the methods (interval over tasks):"
    yield ""
    yield from _table(["method", *heads], _means(outcome, outcome.ranks.mean(axis=2), 2))
    if OURS in outcome.methods and len(outcome.methods) > 1:
        yield ""
        yield f"{OURS} against each method, wins-draws-losses by task (a draw is within {LEVEL}):"
        yield ""
        yield from _table(["against", *heads, "loses at the last on"], _duels(outcome))
    yield ""
    yield f"Regret at {heads[-1]} by task, and mean numbers of trials:"
    yield ""
    yield from _table(["task", *outcome.methods], _tasks(outcome))


def _means(outcome: Outcome, values: NDArray[np.float64], digits: int) -> Iterable[list[str]]:
    for i, method in enumerate(outcome.methods):
        middles = [over_tasks(values[i, :, k]) for k in range(len(outcome.budgets))]
        yield [method, *(f"{mean:.{digits}f} ({low:.{digits}f} .. {high:.{digits}f})" for mean, low, high in middles)]


def _duels(outcome: Outcome) -> Iterable[list[str]]:
    mine = outcome.by_task[outcome.methods.index(OURS)]
    for i, method in enumerate(outcome.methods):
        if method == OURS:
            continue
        others = outcome.by_task[i]
        counts = ["-".join(map(str, against(mine[:, k], others[:, k]))) for k in range(len(outcome.budgets))]
        lost = [task for j, task in enumerate(outcome.tasks) if mine[j, -1] > others[j, -1] + LEVEL]
        yield [method, *counts, ", ".join(lost) or "-"]


def _tasks(outcome: Outcome) -> Iterable[list[str]]:
    for j, task in enumerate(outcome.tasks):
        yield [task, *(f"{value:.3f}" for value in outcome.by_task[:, j, -1])]
    for k, kind in enumerate(("trials", "complete", "failed")):
        yield [kind, *(f"{value:.0f}" for value in outcome.trials[..., k].mean(axis=(1, 2)))]


def _budget(epochs: int, n_full: int) -> str:
    times = epochs / n_full
    return f"{epochs} epochs ({times:g}x)"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
