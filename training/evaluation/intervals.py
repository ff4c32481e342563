"""Confidence intervals of means by a bootstrap that draws recordings, not windows.

Windows of one recording share its heart and its sensor. A bootstrap that drew windows would treat them as independent,
and its intervals would be far too narrow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

N_RESAMPLES = 5000
CONFIDENCE = 0.95
# With G recordings an interval reaches at most from the worst recording to the best, and covers the true mean with a
# probability of about 1 - 2 / 2^G: 50 % for two recordings, 75 % for three, 88 % for four.
FEW_RECORDINGS = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval from `low` to `high`; both are NaN if there is no interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Return whether the interval lies on one side of zero; False if there is no interval."""
        return self.low > 0 or self.high < 0

    def mean_text(self, digits: int, sign: str = "") -> str:
        """Return the mean with `digits` decimals; "none" if there is none. sign: "+" writes that of every number."""
        return "none" if np.isnan(self.mean) else f"{self.mean:{sign}.{digits}f}"

    def ends_text(self, digits: int, sign: str = "") -> str:
        """Return both ends, such as "0.40..2.02"; "" if there is no interval."""
        return "" if np.isnan(self.low) else f"{self.low:{sign}.{digits}f}..{self.high:{sign}.{digits}f}"


def bootstrap_mean(
    values: NDArray[np.float64],
    recording: NDArray[np.int64],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of values[window] and its confidence interval.

    Recordings are drawn with replacement, with all their windows, `n_resamples` times. The interval is the expanded
    percentile interval: its level is changed so that means of few recordings are covered as by Student's t (Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 69:371-386, 2015). Fewer than two
    recordings give a mean without an interval.

    values: float64[window]; NaN marks a window that has no score and is left out.
    recording: int64[window], the index of each window's recording.

    Raises ValueError if shapes differ, a value is infinite, or a number is out of range.
    """
    if values.ndim != 1 or values.shape != recording.shape:
        raise ValueError(f"values {values.shape} and recording {recording.shape} must have one shape [window]")
    if n_resamples < 100:
        raise ValueError(f"n_resamples is {n_resamples}; at least 100 is needed, {N_RESAMPLES} is usual")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; a share between 0 and 1 is needed, 0.95 say")
    if np.isinf(values).any():
        raise ValueError("values hold an infinity, whose mean says nothing; take a share or a median instead")
    known = ~np.isnan(values)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    recordings = np.unique(recording[known], return_inverse=True)[1]
    counts = np.bincount(recordings)
    sums = np.bincount(recordings, weights=values[known])
    mean = float(sums.sum() / counts.sum())
    n = len(counts)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    draws = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    level = float(norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - confidence) / 2, n - 1)))
    low, high = np.quantile(means, (level, 1 - level))
    return Interval(mean, float(low), float(high))
