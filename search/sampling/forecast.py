"""Forecast the final score of a trial from the complete trials of its study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from scipy.special import stdtr

Features = tuple[float, float, float]
Row = tuple[float, float, float, float]
N_FEATURES = 3
MIN_TRIALS = N_FEATURES + 2
N_NEAR = 30


@dataclass(frozen=True, slots=True)
class Forecast:
    """A final score, as Student's t distribution with mean `end`, scale `error` and `free` degrees of freedom.

    Scores have a sign with which higher is better.
    """

    end: float
    error: float
    free: int

    def chance_of(self, end: float) -> float:
        """Return the probability that the final score is `end` or above."""
        if self.error <= 0:
            return 1.0 if self.end >= end else 0.0
        return float(1.0 - stdtr(self.free, (end - self.end) / self.error))


@dataclass(slots=True, eq=False)
class CurveTable:
    """Features at one step and final scores of complete trials, which do not change, so each is read once.

    sign: makes higher scores better. numbers: of the trials read. rows: float64[trial, features and final score].
    """

    step: int
    sign: float
    numbers: set[int] = field(default_factory=set)
    rows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, N_FEATURES + 1)))

    def with_all(self, complete: Sequence[FrozenTrial]) -> NDArray[np.float64]:
        """Add trials that are new, and return float64[trial, features and final score] of those that have both.

        complete: all complete trials of the study.
        """
        new = [trial for trial in complete if trial.number not in self.numbers]
        if new:
            self.numbers.update(trial.number for trial in new)
            rows = [row for trial in new if (row := _row(trial, self.step, self.sign)) is not None]
            self.rows = np.concatenate([self.rows, np.array(rows).reshape(-1, N_FEATURES + 1)])
        return self.rows


def forecast(now: Features, table: NDArray[np.float64], n_near: int = N_NEAR) -> Forecast:
    """Forecast the final score of a trial with features `now`, by linear least squares.

    table: float64[trial, features and final score], at least MIN_TRIALS complete trials. The fit uses the `n_near` of
    them whose score at this step is nearest. The method is that of Baker et al. 2017, arXiv:1705.10823, with fewer
    features. With few trials, or features unlike all others', the error is large.
    """
    x = np.array(now)
    near = table[np.argsort(np.abs(table[:, 1] - x[1]), kind="stable")[:n_near]]
    rows, ends = near[:, :N_FEATURES], near[:, N_FEATURES]
    inverse = np.linalg.pinv(rows.T @ rows)
    weights = inverse @ rows.T @ ends
    free = len(rows) - N_FEATURES
    variance = float(np.sum((ends - rows @ weights) ** 2)) / free * (1.0 + float(x @ inverse @ x))
    return Forecast(float(x @ weights), math.sqrt(max(0.0, variance)), free)


def features_of(reports: Mapping[int, float], step: int, sign: float) -> Features | None:
    """Return 1, the best score up to `step`, and its gain since `step` // 2; None where a score is missing.

    reports: step -> score, of which a higher one times `sign` is better.
    """
    score = best_by(reports, step, sign)
    earlier = best_by(reports, step // 2, sign)
    return None if step not in reports or math.isnan(score + earlier) else (1.0, score, score - earlier)


def best_by(reports: Mapping[int, float], step: int, sign: float) -> float:
    """Return the best finite score up to and including `step`, times `sign`; NaN where there is none."""
    scores = [sign * value for epoch, value in reports.items() if epoch <= step and math.isfinite(value)]
    return max(scores, default=math.nan)


def _row(trial: FrozenTrial, step: int, sign: float) -> Row | None:
    """Return the features of a complete trial at `step` and its final score; None where one of them is missing."""
    features = features_of(trial.intermediate_values, step, sign)
    if features is None or trial.value is None or not math.isfinite(trial.value):
        return None
    return (*features, sign * trial.value)
