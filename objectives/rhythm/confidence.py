"""Are probabilities right? Reliability, calibration, and the time that can be used at a chosen error."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from objectives.rhythm.durations import Floats, Ints

MAX_WRONG = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """The numbers of a reliability diagram, in bins of equal width in [0, 1].

    edges: float64[bin + 1]. counts: int64[bin], cases in each bin. probability: float64[bin], their mean probability.
    share: float64[bin], share of them that came true. The last two are NaN for an empty bin.
    """

    edges: Floats
    counts: Ints
    probability: Floats
    share: Floats

    @property
    def error(self) -> float:
        """Return the expected calibration error: mean of |probability - share|, weighted by cases; NaN without any."""
        used = self.counts > 0
        if not used.any():
            return float("nan")
        return float(np.average(np.abs(self.probability - self.share)[used], weights=self.counts[used]))


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, n_bins: int = 10) -> Reliability:
    """Return the reliability of probabilities [case] of outcomes [case], which are true or false.

    Raises ValueError for probabilities outside [0, 1], arrays of other shapes, or no bin.
    """
    p, came = _cases(probabilities, outcomes)
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; at least 1 is needed")
    bins = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, values, n_bins) / counts for values in (p, came.astype(np.float64))]
    return Reliability(np.linspace(0.0, 1.0, n_bins + 1), counts.astype(np.int64), means[0], means[1])


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A rising map of probabilities, linear between knots and constant beyond them; fit it with `calibrator`.

    knots, values: ascending numbers in [0, 1], equally many.

    Raises ValueError for knots or values that are not ascending in [0, 1], or not equally many.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.knots) != len(self.values) or not self.knots:
            raise ValueError(
                f"a calibrator has {len(self.knots)} knots and {len(self.values)} values; equally many are needed"
            )
        for name, numbers in (("knots", self.knots), ("values", self.values)):
            if not (numbers[0] >= 0 and numbers[-1] <= 1 and all(np.diff(numbers) >= 0)):
                raise ValueError(f"a calibrator's {name} are {numbers}; ascending numbers in [0, 1] are needed")

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """Return the calibrated probabilities, float64 in the shape given."""
        return np.asarray(np.interp(np.asarray(probabilities, np.float64), self.knots, self.values), dtype=np.float64)

    def to_json(self) -> dict[str, list[float]]:
        """Return a value that JSON can hold."""
        return {"knots": list(self.knots), "values": list(self.values)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Calibrator":
        """Return the calibrator of a value of `to_json`.

        Raises ValueError for another value.
        """
        numbers = [value.get(name) for name in ("knots", "values")]
        if set(value) != {"knots", "values"} or not all(
            isinstance(row, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in row)
            for row in numbers
        ):
            raise ValueError(
                f"a calibrator is {dict(value)!r}; an object with the lists of numbers knots and values is needed"
            )
        knots, values = (tuple(float(x) for x in row) for row in numbers if isinstance(row, list))
        return cls(knots, values)


def calibrator(probabilities: ArrayLike, outcomes: ArrayLike) -> Calibrator:
    """Fit a calibrator to the probabilities and outcomes of validation recordings, by isotonic regression.

    Each level of the regression is a knot. Two more cases, one true and one false, are counted in each level, so that
    no finite number of cases is certain.

    Raises ValueError as `reliability` does, and without any case.
    """
    p, came = _cases(probabilities, outcomes)
    if not p.size:
        raise ValueError("there are no cases to calibrate with; at least one probability is needed")
    knots, first = np.unique(np.sort(p), return_index=True)
    counts = np.diff(np.append(first, p.size)).astype(np.float64)
    order = np.argsort(p, kind="stable")
    sums = np.add.reduceat(came[order].astype(np.float64), first)
    blocks = isotonic_regression(sums / counts, weights=counts).blocks[:-1].astype(np.int64)
    level_count, level_sum = (np.add.reduceat(row, blocks) for row in (counts, sums))
    middle = np.add.reduceat(knots * counts, blocks) / level_count
    # Counting two more cases in each level may turn a pair of levels around: the later is then at least the earlier.
    values = np.maximum.accumulate((level_sum + 1.0) / (level_count + 2.0))
    return Calibrator(tuple(middle.tolist()), tuple(values.tolist()))


@dataclass(frozen=True, slots=True)
class Usable:
    """Spans whose heart rate is sure. share: of all spans. wrong: share of the sure ones that is wrong, or NaN."""

    share: float
    wrong: float


def usable_time(probabilities: ArrayLike, is_right: ArrayLike, threshold: float) -> Usable:
    """Return the share of spans with a probability of at least `threshold`, and of these the share that is wrong.

    Raises ValueError as `reliability` does.
    """
    p, right = _cases(probabilities, is_right)
    sure = p >= threshold
    if not sure.any():
        return Usable(0.0, float("nan"))
    # Counts are divided, as in threshold_for: 1 - 2/3 is above 1/3 by a rounding.
    return Usable(float(sure.mean()), float(np.count_nonzero(~right[sure]) / np.count_nonzero(sure)))


def threshold_for(probabilities: ArrayLike, is_right: ArrayLike, max_wrong: float = MAX_WRONG) -> float:
    """Return the lowest probability from which on at most a share `max_wrong` of the spans is wrong.

    It is infinite where no threshold does it: then nothing is sure. Choose it on validation recordings.

    Raises ValueError as `reliability` does.
    """
    p, right = _cases(probabilities, is_right)
    order = np.argsort(-p, kind="stable")
    wrong = np.cumsum(~right[order]) / np.arange(1, p.size + 1)
    # Spans of one probability are sure together.
    allowed = (wrong <= max_wrong) & np.append(np.diff(p[order]) < 0, True)[: p.size]
    return float(p[order][np.flatnonzero(allowed)[-1]]) if allowed.any() else float("inf")


def _cases(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    p, came = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes)
    if p.ndim != 1 or p.shape != came.shape:
        raise ValueError(f"probabilities {p.shape} and outcomes {came.shape} must have one shape [case]")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities are outside [0, 1] or not finite")
    return p, came.astype(bool)
