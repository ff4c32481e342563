"""What figures have in common: titles with units, looks of methods, ranges that outliers do not stretch, ticks.

Draws nothing, and imports neither matplotlib nor Plotly: workers write plots for the dashboard without both.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.scores import CLEAN_LIMIT_DB, SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "si_sdr_db": "SI-SDR in dB",
    "snr_db": "SNR in dB",
    "snr_improvement_db": "SNR improvement in dB",
    "event_f1": "F1 of S1 and S2 events",
    "hr_within_5_bpm": "heart rate within 5 bpm",
    "hr_error_bpm": "heart-rate error in bpm",
    "prd_percent": "PRD in %",
}
UNITS = {"db": "dB", "bpm": "bpm", "hz": "Hz", "s": "s", "ms": "ms", "samples": "samples", "percent": "%"}
COLOURS = {"noisy": "#8a8f98", "clean": "#1f7a5c", "estimate": "#c2410c"}
# Distinct in hue and lightness, readable on white and on black. The reference run has the colour of estimates.
LINE_COLOURS = (COLOURS["estimate"], "#2b7bba", "#3a9d5d", "#8e5bb5", "#b8860b", "#d1588a", "#459799", "#7a6a5c")
GREY = "#8a8f98"
BOUND = "oracle"  # the method that knows the clean signal
HIDDEN = "zeros"  # at -60 dB this method would flatten the other lines
SCORE_REACH = 4.0  # see shown_range
CLEAN_WIDTH = 0.14  # of the axis of the clean windows, as a share of that over SNR
CURVE_REACH, METHOD_REACH = 1.5, 3.0  # see curve_range; of learning curves, of scores against SNR


@dataclass(frozen=True, slots=True)
class Look:
    """How the line of a classical method is drawn, in all figures alike. No two of them look alike without colour.

    marker, symbol: the same hollow marker in the words of matplotlib and of Plotly.
    dashes: lengths of line and gap in turn, in points.
    """

    colour: str
    marker: str
    symbol: str
    dashes: tuple[float, ...]

    @property
    def in_matplotlib(self) -> dict[str, Any]:
        """Return the arguments of a line in matplotlib."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markerfacecolor": "none",
            "linestyle": (0, self.dashes),
        }


LOOKS = {
    "zeros": Look(GREY, "_", "line-ew-open", (1, 4)),
    "identity": Look("#78828f", "s", "square-open", (1, 2)),
    "bandpass": Look("#8a7a1e", "^", "triangle-up-open", (5, 2, 1, 2)),
    "wavelet": Look("#a8643c", "D", "diamond-open", (2, 2)),
    "wiener": Look("#0e8a8f", "v", "triangle-down-open", (5, 2)),
    "nlms": Look("#c0478f", "P", "cross-open", (5, 2, 1, 2, 1, 2)),
    "oracle": Look("#7a68c4", "*", "star-open", (9, 3)),
}
RUN_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # filled; 7 with 8 colours give 56 looks
LABELS = {"wiener": "wiener (noise known)", BOUND: f"{BOUND} (bound)"}


def line_look(i: int) -> dict[str, Any]:
    """Return the arguments in matplotlib of the line of run or study `i`: solid, with a filled marker."""
    return {"color": LINE_COLOURS[i % len(LINE_COLOURS)], "marker": RUN_MARKERS[i % len(RUN_MARKERS)]}


def label_of(method: str) -> str:
    """Return the name of a method for a legend or a table, with a remark for those that know more than the mixture."""
    return LABELS.get(method, method)


def title_of(score: str) -> str:
    """Return the title of an axis or table of `score`, with its unit."""
    unit = SCORES[score].unit
    return TITLES.get(score, f"{score} in {unit}" if unit else score)


def parameter_title(name: str) -> str:
    """Return the title of an axis of a hyperparameter: its name, with the unit that the name ends with."""
    unit = UNITS.get(name.rpartition("_")[2]) if "_" in name else None
    return f"{name} in {unit}" if unit else name


def is_logarithmic(name: str, low: float, *, log: bool) -> bool:
    """Return whether the axis of a hyperparameter is logarithmic: as its range is, and for each learning rate.

    low: the least value of its range. log: whether its range is logarithmic.
    """
    return log or (name.endswith("learning_rate") and low > 0)


def shown_range(values: Iterable[float], *, rising: bool) -> tuple[float, float]:
    """Return the range of values to show, (low, high).

    It has the best value, and the worse ones up to SCORE_REACH times the distance between the best and the median, so
    that outliers do not compress the others.

    values: at least one that is finite; the others are ignored.
    rising: whether a higher value is better.
    """
    known = _finite(values)
    return _range(known, float(np.median(known)), SCORE_REACH, rising)


def curve_range(curves: Iterable[Iterable[float]], *, rising: bool, reach: float = CURVE_REACH) -> tuple[float, float]:
    """Return the range of curves to show, (low, high).

    It has the best value, and the worse ones up to `reach` times the distance between the best and the worst value of a
    typical curve (the median over the curves), so that one curve does not compress the others.

    curves: at least one with a finite value; other values are ignored.
    rising: whether a higher value is better.
    reach: CURVE_REACH or METHOD_REACH.
    """
    known = [values for curve in curves if len(values := _finite(curve))]
    ends = [float(values.min() if rising else values.max()) for values in known]
    return _range(np.concatenate(known), float(np.median(ends)), reach, rising)


def _finite(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array([value for value in values if math.isfinite(value)], dtype=np.float64)


def _range(known: NDArray[np.float64], typical: float, reach: float, rising: bool) -> tuple[float, float]:
    """Return the range of the values `known` from just beyond the best to the last one within the reach."""
    sign = 1.0 if rising else -1.0
    ordered = sign * known
    best = float(ordered.max())
    limit = reach * (best - sign * typical)
    worst = float(ordered[ordered >= best - limit].min())
    margin = 0.06 * (best - worst) or 0.5
    low, high = worst - margin, best + margin
    return (low, high) if rising else (-high, -low)


def n_outside(values: Iterable[float], shown: tuple[float, float]) -> int:
    """Return how many of `values` lie outside the range `shown`."""
    return sum(not shown[0] <= value <= shown[1] for value in values)


def outside_words(n: int, total: int, noun: str) -> str:
    """Return "2 of 40 trials lie outside the range shown"; "" for none. noun: in the plural."""
    return f"{n} of {total} {noun} lie{'s' * (n == 1)} outside the range shown" if n else ""


def clip(axis: "Axes", values: Sequence[float], shown: tuple[float, float], noun: str, *, rising: bool) -> None:
    """Limit the y axis of a matplotlib figure to `shown`, and write above it how many of `values` lie outside.

    noun: what the values are of, in the plural. rising: whether a higher value is better.
    """
    axis.set_ylim(*shown)
    if n := n_outside(values, shown):
        mark = "\N{BLACK DOWN-POINTING SMALL TRIANGLE}" if rising else "\N{BLACK UP-POINTING SMALL TRIANGLE}"
        axis.set_title(f"{mark} {n} of {len(values)} {noun} outside", loc="right", fontsize=7)


def mark_outside(
    axis: "Axes", at: Sequence[float], values: Sequence[float], shown: tuple[float, float], colour: str
) -> None:
    """Draw a triangle at the edge of the range `shown` for each of `values`, at the positions `at`, outside it."""
    margin = 0.02 * (shown[1] - shown[0])
    rows = list(zip(at, values, strict=True))
    below, above = [x for x, value in rows if value < shown[0]], [x for x, value in rows if value > shown[1]]
    for outside, edge, marker in ((below, shown[0] + margin, "v"), (above, shown[1] - margin, "^")):
        if outside:
            axis.plot(outside, [edge] * len(outside), marker, color=colour, markersize=5, zorder=3)


def spread(i: int, n: int) -> float:
    """Return the position of method `i` of `n` on the axis of the clean windows, so that equal values are all seen."""
    return 0.7 * ((i + 0.5) / n - 0.5)


def finish_clean(axis: "Axes", score: str, *, limited: bool = True) -> None:
    """Finish the narrow axis of the clean windows, at position 0, that stands beside an axis over SNR.

    limited: whether values in dB are limited to CLEAN_LIMIT_DB, as those of methods are and differences are not.
    """
    axis.set_xticks([0.0], ["clean"])
    axis.set_xlim(-0.6, 0.6)
    axis.grid(alpha=0.25)
    axis.yaxis.tick_right()
    if limited and SCORES[score].unit == "dB":
        axis.yaxis.set_major_formatter(lambda value, _: f"{'> ' if value == CLEAN_LIMIT_DB else ''}{value:g}")


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values for the ticks of a logarithmic axis from `low` to `high`, both positive, and at most `most`.

    They are powers of ten with round values between them where there is room; where the ends are too near to each other
    for three of these, round values in even steps.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside: list[float] = []
    for digits in ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        ticks = [_round(digit * 10.0**power) for power in range(first, last + 1) for digit in digits]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if 3 <= len(inside) <= most:
            return inside
    if len(inside) > most:
        return inside[:: -(-len(inside) // most)]
    steps = (_round(digit * 10.0**power) for power in range(first - 3, last + 2) for digit in (1, 2, 5))
    step = next(step for step in steps if high - low <= (most - 1) * step)
    return [_round(step * i) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def ends_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest of `values`, a little apart where they are equal."""
    low, high = min(values), max(values)
    return (low, high) if low < high else (0.9 * low, 1.1 * high)
