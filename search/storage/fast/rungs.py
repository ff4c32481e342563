"""What complete trials reported, kept step by step, so that a percentile of a step costs no walk through all trials."""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

MANY = 64  # so many new values are sorted together rather than put in one by one


@dataclass(slots=True, eq=False)
class Rungs:
    """Of a study's complete trials: how many there are, and their reports by step. Not to be shared by threads without
    a lock.
    """

    trials: set[int] = field(default_factory=set)
    _n_at: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    _sorted: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # without NaN
    _new: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial_ids: Iterable[int], reports: Iterable[tuple[int, int, float]]) -> None:
        """Take in complete trials with all their reports (trial_id, step, value). Trials that are known stay as they
        are, for what is complete does not change.
        """
        new = set(trial_ids) - self.trials
        for trial_id, step, value in reports:
            if trial_id in new:
                self._n_at[step] += 1
                if not math.isnan(value):
                    self._new[step].append(value)
        self.trials |= new

    def n_at(self, step: int) -> int:
        """Trials that reported at `step`; NaN counts."""
        return self._n_at.get(step, 0)

    def percentile(self, step: int, percent: float) -> float:
        """numpy.nanpercentile of the step's values, to the bit; NaN where there is none that is a number."""
        values = self._values(step)
        n = len(values)
        if n == 0:
            return math.nan
        at = (n - 1) * (percent / 100)
        low, high = (n - 1, n - 1) if at >= n - 1 else (math.floor(at), math.floor(at) + 1)
        a, b = values[low], values[high]
        if not (math.isfinite(a) and math.isfinite(b)):  # what infinities come to is numpy's to say
            with np.errstate(invalid="ignore"):
                return float(np.nanpercentile(np.array(values), percent))
        weight, apart = at - low, b - a
        return a + apart * weight if weight < 0.5 else b - apart * (1 - weight)

    def _values(self, step: int) -> list[float]:
        values, new = self._sorted[step], self._new.pop(step, [])
        if len(new) > MANY:
            values += new
            values.sort()
        else:
            for value in new:
                insort(values, value)
        return values
