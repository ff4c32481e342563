"""A task of a suite: a fixed pool of configurations whose learning curves are known."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution

Half = Literal["choosing", "judging", "all"]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The configurations of a task and their curves, higher scores being better.

    number: place of the task in its suite, from 1. axes: names of the hyperparameters. places: float64[configuration,
    axis], in the unit cube, where the prior is uniform. scores: float64[configuration, epoch]; NaN from the epoch in
    which a training fails.
    """

    name: str
    number: int
    axes: tuple[str, ...]
    places: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def n_points(self) -> int:
        return len(self.scores)

    @property
    def n_epochs(self) -> int:
        return int(self.scores.shape[1])

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {name: FloatDistribution(0.0, 1.0) for name in self.axes}

    @property
    def values(self) -> NDArray[np.float64]:
        """float64[configuration]: the best finite score of each curve; minus infinity where there is none."""
        best: NDArray[np.float64] = np.where(np.isfinite(self.scores), self.scores, -math.inf).max(axis=1)
        return best

    @property
    def scale(self) -> tuple[float, float]:
        """The best value, and that of the median configuration; the worst that a configuration has, where it has none.

        Configurations whose training failed before its first score are the worst.
        """
        values = self.values
        finite = values[np.isfinite(values)]
        return float(finite.max()), max(float(np.median(values)), float(finite.min()))


def regret(pool: Pool, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (best - found) / (best - median), clipped to 0 ... 1. found: values; minus infinity before the first.

    1 is a search that has found nothing better than a median configuration.
    """
    best, middle = pool.scale
    if best <= middle:
        return np.where(found >= best, 0.0, 1.0)
    result: NDArray[np.float64] = np.clip((best - found) / (best - middle), 0.0, 1.0)
    return result


def failed_from(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `scores` with NaN in every epoch from the first NaN on: a training that fails does not go on."""
    return np.where(np.maximum.accumulate(np.isnan(scores), axis=1), np.nan, scores)


def is_in(number: int, half: Half) -> bool:
    """Return whether a task is in a half: odd numbers are for choosing defaults, even ones for judging."""
    return half == "all" or number % 2 == (1 if half == "choosing" else 0)


class Untried:
    """The configurations of a pool that a search has not started yet."""

    def __init__(self, pool: Pool) -> None:
        self._places = pool.places
        self._is_left = np.ones(pool.n_points, dtype=np.bool_)

    def __len__(self) -> int:
        return int(self._is_left.sum())

    def take(self, place: NDArray[np.float64]) -> int:
        """Remove the configuration that is nearest to `place`, float64[axis], and return its row."""
        distances = ((self._places - place) ** 2).sum(axis=1)
        row = int(np.argmin(np.where(self._is_left, distances, np.inf)))
        self._is_left[row] = False
        return row
