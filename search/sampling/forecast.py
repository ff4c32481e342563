"""How a trial will end, forecast from the complete trials of its study."""

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
LEAST_KNOWN = N_FEATURES + 2
N_NEAR = 30


@dataclass(frozen=True, slots=True)
class Forecast:
    """Student's t about `end` with scale `error` and `free` degrees of freedom; scores with higher being better."""

    end: float
    error: float
    free: int

    def chance_of(self, end: float) -> float:
        """The chance to end at `end` or above."""
        if self.error <= 0:
            return 1.0 if self.end >= end else 0.0
        return float(1.0 - stdtr(self.free, (end - self.end) / self.error))


@dataclass(slots=True, eq=False)
class CurveTable:
    """What complete trials had by one step and how they ended: such a trial changes no more, so each is looked through
    once."""

    step: int
    sign: float
    numbers: set[int] = field(default_factory=set)
    rows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, N_FEATURES + 1)))

    def with_all(self, complete: Sequence[FrozenTrial]) -> NDArray[np.float64]:
        """float64[trial, feature and end] of all `complete` trials that have both."""
        new = [trial for trial in complete if trial.number not in self.numbers]
        if new:
            self.numbers.update(trial.number for trial in new)
            rows = [row for trial in new if (row := _row(trial, self.step, self.sign)) is not None]
            self.rows = np.concatenate([self.rows, np.array(rows).reshape(-1, N_FEATURES + 1)])
        return self.rows


def forecast(now: Features, known: NDArray[np.float64], n_near: int = N_NEAR) -> Forecast:
    """How a trial with features `now` will end, by least squares over `known`[trial, feature and end], at least
    LEAST_KNOWN trials: the `n_near` of them whose score at this step was nearest.

    Curves of the same space under the same schedule are the best model of a curve (Baker et al. 2017, arXiv:1705.10823,
    with fewer features). Few trials, or one unlike all, give a wide error.
    """
    x = np.array(now)
    near = known[np.argsort(np.abs(known[:, 1] - x[1]), kind="stable")[:n_near]]
    rows, ends = near[:, :N_FEATURES], near[:, N_FEATURES]
    inverse = np.linalg.pinv(rows.T @ rows)
    weights = inverse @ rows.T @ ends
    free = len(rows) - N_FEATURES
    variance = float(np.sum((ends - rows @ weights) ** 2)) / free * (1.0 + float(x @ inverse @ x))
    return Forecast(float(x @ weights), math.sqrt(max(0.0, variance)), free)


def features_of(reports: Mapping[int, float], step: int, sign: float) -> Features | None:
    """1, the best score by `step`, and what it gained since half of it; None where a score is missing."""
    score = best_by(reports, step, sign)
    earlier = best_by(reports, step // 2, sign)
    return None if step not in reports or math.isnan(score + earlier) else (1.0, score, score - earlier)


def best_by(reports: Mapping[int, float], step: int, sign: float) -> float:
    """The best finite score up to and with `step`, higher being better; NaN where there is none."""
    known = [sign * value for epoch, value in reports.items() if epoch <= step and math.isfinite(value)]
    return max(known, default=math.nan)


def _row(trial: FrozenTrial, step: int, sign: float) -> Row | None:
    """The features of a complete trial at `step` and how it ended; None where it has not both."""
    features = features_of(trial.intermediate_values, step, sign)
    if features is None or trial.value is None or not math.isfinite(trial.value):
        return None
    return (*features, sign * trial.value)
