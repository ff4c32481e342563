"""Decide whether the rows of a matrix continue each other: segments of one signal do, channels do not."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from data.readers.contents import Numbers

ORDER = 16  # samples before a join, from which the samples after it are predicted
AHEAD = 8  # samples after a join
FITTED = 50_000  # samples that the predictor is fitted to, at most
CERTAIN = 1e-4  # probability that rows which do not continue each other look as if they did
RARE = 1e-3  # share of places in the rows, with errors as large as at a join, below which the join is a jump
ALIKE = 6.0  # standard deviations of the correlation of unrelated rows
CHECKED = 64  # rows, at most: more say nothing new

Floats = NDArray[np.float64]


def verdict(matrix: Numbers) -> str:
    """Return "continuous", "broken", "alike" or "unclear" for the joins from each row [row, time] to the next.

    A linear predictor, fitted to all rows, predicts the first samples of a row from the last samples of the row before.

    - continuous: the errors at the joins are as small as within the rows, and so much smaller than if the next row
      began at another of its samples that chance does so once in 10,000 times; and no other order of the rows would do
      as well, as in rows that fade to zero.
    - alike: two rows correlate sample by sample after that prediction is taken away, as channels of one measurement.
    - broken: at half of the joins or more, the errors are larger than at 99.9 % of the places within the rows.
    - unclear: none of these, as for white noise, which no sample of it predicts.
    """
    rows = np.asarray(matrix[:CHECKED], np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2 or rows.shape[1] < 4 * (ORDER + AHEAD) or not np.ptp(rows):
        return "unclear"
    rows -= float(rows.mean())
    rows /= float(rows.std())
    weights = _predictor(rows)
    predicted = np.stack([np.convolve(row, weights[::-1], "valid")[:-1] for row in rows])
    errors = rows[:, ORDER:] - predicted
    inside = np.stack([np.convolve(row**2, np.ones(AHEAD), "valid") for row in errors])
    joins = np.array([_error(a, b[:AHEAD], weights) for a, b in pairwise(rows)])
    pairs = zip(joins, inside, inside[1:], strict=False)
    jumps = [max((before >= e).mean(), (after >= e).mean()) < RARE for e, before, after in pairs]
    if 2 * sum(jumps) < len(joins):
        others = [_error(a, b[:AHEAD], weights) for i, a in enumerate(rows) for j, b in enumerate(rows) if j != i + 1]
        chances = [_chance(a, b, weights, e) for a, b, e in zip(rows, rows[1:], joins, strict=False)]
        together = chi2.sf(-2 * np.log(chances).sum(), 2 * len(chances))  # Fisher's method
        if together < CERTAIN and np.median(others) > 10 * np.median(joins):
            return "continuous"
    if _correlate(errors):
        return "alike"
    return "broken" if 2 * sum(jumps) >= len(joins) else "unclear"


def _predictor(rows: Floats) -> Floats:
    """Return the weights with which the last ORDER samples predict the next one."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, ORDER + 1, axis=1)
    chosen = np.linspace(0, windows.shape[1] - 1, min(windows.shape[1], max(64, FITTED // len(rows)))).astype(int)
    fitted = windows[:, chosen].reshape(-1, ORDER + 1)
    weights = np.linalg.lstsq(fitted[:, :ORDER], fitted[:, ORDER], rcond=1e-9)[0]
    return np.asarray(weights, np.float64)


def _correlate(errors: Floats) -> bool:
    deviations = errors.std(axis=1)
    if not deviations.all():
        return False
    alike: Floats = np.atleast_2d(np.corrcoef(errors))
    return bool(np.abs(alike[~np.eye(len(errors), dtype=bool)]).max() > ALIKE / np.sqrt(errors.shape[1]))


def _error(before: Floats, starts: Floats, weights: Floats) -> float:
    """Return the squared error of the AHEAD samples that follow `before`."""
    return float(_errors(before, starts[None], weights)[0])


def _errors(before: Floats, starts: Floats, weights: Floats) -> Floats:
    joined = np.concatenate([np.broadcast_to(before[-ORDER:], (len(starts), ORDER)), starts], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(joined, ORDER + 1, axis=1)
    errors = windows[..., ORDER] - windows[..., :ORDER] @ weights
    return np.asarray((errors**2).sum(axis=1), np.float64)


def _chance(before: Floats, after: Floats, weights: Floats, found: float) -> float:
    """Return how often a place in the next row, chosen at random, would follow with an error as small as `found`."""
    starts = np.lib.stride_tricks.sliding_window_view(after, AHEAD)
    chosen = starts[1 :: max(1, len(starts) // FITTED)]
    return float((1 + np.count_nonzero(_errors(before, chosen, weights) <= found)) / (1 + len(chosen)))
