"""Summarise the replays of a method: medians over seeds with bootstrap intervals, as lines of a table."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_DB = 0.2
REGRET_AT = (10.0, 20.0, 40.0)
N_TRIALS = 100
N_RESAMPLES = 2000
GRID, OPTUNA = "grid, unpruned", "Optuna defaults"
NOTHING_DB = 30.0  # the regret of a search that has no complete trial yet


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """One method's replays, a line of benchmarks.search for each seed. Compute and time are in trainings."""

    lines: tuple[Mapping[str, Any], ...]

    def until(self, value: float, key: str) -> NDArray[np.float64]:
        """float64[seed]: "compute" or "at" (time) when a value of at least `value` was reported; inf where never."""
        return np.array(
            [
                next((x for x, y in zip(line[key], line["best"], strict=True) if y >= value - 1e-3), math.inf)
                for line in self.lines
            ]
        )

    def best_at(self, amount: float, key: str) -> NDArray[np.float64]:
        """float64[seed]: the best value reported by so much "compute", or by so many "trials"."""
        return np.array(
            [
                max((y for x, y in zip(line[key], line["best"], strict=True) if x <= amount), default=-math.inf)
                for line in self.lines
            ]
        )


def interval(
    statistic: Callable[..., float], *samples: NDArray[np.float64], seed: int = 0
) -> tuple[float, float, float]:
    """A statistic of samples, and its percentile bootstrap interval of 95 % (each sample drawn by itself)."""
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(*(sample[rng.integers(len(sample), size=len(sample))] for sample in samples))
        for _ in range(N_RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5], method="closest_observation")
    return statistic(*samples), float(low), float(high)


def median(sample: NDArray[np.float64]) -> float:
    """The middle value, the upper of two: of infinite ones too."""
    return float(np.sort(sample)[len(sample) // 2])


def ratio(mine: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How many times less `mine` took than `others`, by their medians; NaN where neither got there."""
    a, b = median(mine), median(others)
    return math.nan if math.isinf(a) and math.isinf(b) else 0.0 if math.isinf(a) else b / a


def lines_of(found: Mapping[str, Outcomes], best: float, n_points: int) -> Iterable[str]:
    """A Markdown table, a method a line: compute and time to near the best, regret at fixed compute, the very best."""
    near, close = best - NEAR_DB, best - 0.01 * abs(best)
    head = [
        "method",
        f"compute to {NEAR_DB} dB",
        "less than grid",
        "less than Optuna",
        "compute to 1 %",
        "less than grid",
        "less than Optuna",
        f"time to {NEAR_DB} dB",
        *(f"regret at {n:g}" for n in REGRET_AT),
        f"best in {N_TRIALS} trials",
        "best found",
    ]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for name, mine in found.items():
        cells = [name]
        for target in (near, close):
            cells.append(_words(*interval(median, mine.until(target, "compute"))))
            for other in (GRID, OPTUNA):
                if other not in found or other == name:
                    cells.append("1" if other == name else "-")
                    continue
                cells.append(
                    _times(*interval(ratio, mine.until(target, "compute"), found[other].until(target, "compute")))
                )
        cells.append(_words(*interval(median, mine.until(near, "at"))))
        cells += [f"{float(np.mean(np.minimum(best - mine.best_at(n, 'compute'), NOTHING_DB))):.2f}" for n in REGRET_AT]
        cells.append(_share(mine.best_at(N_TRIALS, "trials") >= best - 1e-3))
        cells.append(_share(mine.best_at(math.inf, "compute") >= best - 1e-3))
        yield "| " + " | ".join(cells) + " |"


def _words(middle: float, low: float, high: float) -> str:
    return f"{_number(middle)} ({_number(low)} .. {_number(high)})"


def _times(middle: float, low: float, high: float) -> str:
    return "-" if math.isnan(middle) else f"{_factor(middle)} ({_factor(low)} .. {_factor(high)})"


def _factor(value: float) -> str:
    """0: this method's median never gets there; infinite: the other's does not; NaN: neither's."""
    return "-" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.1f}"


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.1f}"


def _share(hits: NDArray[np.bool_]) -> str:
    return f"{int(hits.sum())}/{len(hits)}"
