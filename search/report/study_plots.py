"""Draw the figures of a report on one study. search.report.figures sets their style and renders them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.report.facts import StudyFact, TrialFact, best_so_far
from search.report.plots import BEST, WIDTH, limit, log_axis, new_figure, whole_numbers
from search.trials import Fate
from training.evaluation.figures import (
    GREY,
    LINE_COLOURS,
    clip,
    curve_range,
    is_logarithmic,
    mark_outside,
    n_outside,
    outside_words,
    parameter_title,
    shown_range,
    title_of,
)
from training.numbers import compact

PRUNED = GREY
MANY = 1500  # with more points a figure contains them as a bitmap
CURVES = 150  # learning curves, or lines of a parallel plot, that are shown


def draw_history(study: StudyFact) -> Figure:
    """Draw the score of every trial on the left, and the learning curves on the right."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    _draw_scores(left, study)
    _draw_curves(right, study)
    for axis in (left, right):
        whole_numbers(axis)
        axis.set_ylabel(title_of(study.source.spec.metric))
        if axis.get_legend_handles_labels()[1]:
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}  # no corner is free of points
            axis.legend(frameon=False, fontsize=8, ncols=4, **below)
    return figure


def _draw_scores(axis: Axes, study: StudyFact) -> None:
    scored = [t for t in study.trials if t.score is not None]
    scores = [t.score for t in scored if t.score is not None]
    shown = limit(axis, study, scores, "trials")
    for fate, marker, colour in (
        (Fate.COMPLETE, "o", LINE_COLOURS[1]),
        (Fate.PRUNED, "x", PRUNED),
        (Fate.INFEASIBLE, "+", PRUNED),
    ):
        own = [(t.number, t.score) for t in scored if t.fate == fate and t.score is not None]
        if own:
            at, values = zip(*own, strict=True)
            axis.plot(at, values, marker, color=colour, markersize=4.5, label=fate, rasterized=len(own) > MANY)
            mark_outside(axis, at, values, shown, colour)
    steps = best_so_far(study)
    if steps:
        at_best, best = zip(*steps, strict=True)
        axis.step(at_best, best, where="post", color=BEST, linewidth=2, label="best so far")
    axis.set_xlabel("trial")


def _draw_curves(axis: Axes, study: StudyFact) -> None:
    best_number = study.best.number if study.best is not None else None
    for trial in sorted(_curves(study), key=lambda t: t.number == best_number):
        epochs, values = zip(*trial.curve, strict=True)
        if trial.number == best_number:
            axis.plot(epochs, values, color=BEST, linewidth=2.4, label=f"trial {trial.number}, the best")
        elif trial.fate == Fate.COMPLETE:
            axis.plot(epochs, values, color=LINE_COLOURS[1], linewidth=0.9, alpha=0.6)
        else:
            axis.plot(epochs, values, color=PRUNED, linewidth=0.8, alpha=0.7)
            axis.plot(epochs[-1], values[-1], "x", color=PRUNED, markersize=5, zorder=3)
    axis.set_xlabel("epoch")
    if points := curve_points(study):
        clip(axis, points, curves_shown(study), "points", rising=study.rising)


def curve_points(study: StudyFact) -> list[float]:
    """Return the scores of the learning curves that draw_history shows."""
    return [score for trial in _curves(study) for _, score in trial.curve]


def curves_shown(study: StudyFact) -> tuple[float, float]:
    """Return the range of scores that draw_history shows of the learning curves, of which there is at least one."""
    return curve_range(([score for _, score in trial.curve] for trial in _curves(study)), rising=study.rising)


def _curves(study: StudyFact) -> list[TrialFact]:
    """Return the latest CURVES trials that have a learning curve, and the best trial."""
    reported = [t for t in study.trials if t.curve]
    best = study.best.number if study.best is not None else None
    return [t for i, t in enumerate(reported) if i >= len(reported) - CURVES or t.number == best]


def draw_importances(study: StudyFact) -> Figure:
    """Draw the parameter importances as bars."""
    names = sorted(study.importances, key=lambda name: study.importances[name])
    figure, axis = new_figure(0.7 + 0.28 * len(names))
    values = [study.importances[name] for name in names]
    bars = axis.barh(names, values, color=LINE_COLOURS[1], height=0.65)
    axis.bar_label(bars, [f" {value:.2f}" for value in values])
    axis.set_xlim(0, max(1.15 * max(values), 0.05))
    axis.set_xlabel("share of the differences in score")
    axis.grid(visible=False)
    return figure


def draw_slices(study: StudyFact) -> Figure:
    """Draw the score of complete trials against each parameter; triangles at the edge are trials outside the range."""
    names, trials = searched(study), study.scored
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 2.2 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    scores = [t.score for t in trials if t.score is not None]
    shown = shown_range(scores, rising=study.rising)
    for axis, name in zip(panels.flat, names, strict=False):
        own = [t for t in trials if name in t.params]
        positions, values = _positions(study, name, own), [t.score for t in own if t.score is not None]
        axis.plot(positions, values, "o", color=LINE_COLOURS[1], markersize=4, alpha=0.75)
        mark_outside(axis, positions, values, shown, LINE_COLOURS[1])
        if own and own[0] is trials[0]:
            ring = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 2}
            axis.plot(positions[0], own[0].score, "o", color=BEST, **ring)
        axis.set_title(parameter_title(name), fontsize=9, loc="left")
        axis.grid(alpha=0.25)
        _scale(axis, study, name)
    for axis in panels.flat[len(names) :]:
        axis.set_visible(False)
    for row in panels:
        row[0].set_ylabel(title_of(study.source.spec.metric))
    panels[0, 0].set_ylim(*shown)
    if words := outside_words(n_outside(scores, shown), len(scores), "trials"):
        figure.supxlabel(f"{words} (triangles at the edge)", fontsize=8)
    return figure


def draw_parallel(study: StudyFact) -> Figure:
    """Draw each complete trial as a line through its parameters to its score, coloured by rank."""
    names = searched(study)
    trials = [t for t in study.scored[:CURVES] if all(name in t.params for name in names)]
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axis = figure.subplots()
    heights = np.stack([*(_shares(study, name, trials) for name in names), _score_shares(study, trials)], axis=1)
    colours = _colours()
    for rank in reversed(range(len(trials))):
        share = 1 - rank / max(len(trials) - 1, 1)
        width = 2.6 if rank == 0 else 0.9
        axis.plot(heights[rank], color=colours(share), linewidth=width, alpha=0.9, zorder=2 + share)
    for i, name in enumerate(names):
        axis.axvline(i, color=GREY, linewidth=0.8, zorder=1)
        for height, text in _ticks(study, name):
            axis.annotate(text, (i, height), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center")
    axis.axvline(len(names), color=GREY, linewidth=0.8, zorder=1)
    for height, text in zip((0.0, 1.0), _score_ticks(study, trials), strict=True):
        axis.annotate(text, (len(names), height), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center")
    titles = [*map(parameter_title, names), title_of(study.source.spec.metric)]
    axis.set_xticks(range(len(names) + 1), titles, fontsize=8)
    if len(names) > 6:
        axis.tick_params(axis="x", rotation=20)
    axis.set_xlim(-0.1, len(names) + 0.35)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    return figure


def searched(study: StudyFact) -> list[str]:
    """Return the names of the sampled parameters, the most important first."""
    return sorted(study.source.space.sampled, key=lambda name: (-study.importances.get(name, 0.0), name))


def _choices(study: StudyFact, name: str) -> list[str] | None:
    """Return the choices of a categorical parameter as text, None for another parameter."""
    distribution = study.source.space.sampled[name]
    return [str(c) for c in distribution.choices] if isinstance(distribution, CategoricalDistribution) else None


def _positions(study: StudyFact, name: str, trials: Sequence[TrialFact]) -> list[float]:
    """Return the value of a parameter for each trial, of a categorical parameter the index of the choice."""
    choices = _choices(study, name)
    values = [t.params[name] for t in trials]
    return [float(choices.index(str(v))) for v in values] if choices else [float(v) for v in values]


def _scale(axis: Axes, study: StudyFact, name: str) -> None:
    choices, distribution = _choices(study, name), study.source.space.sampled[name]
    if choices:
        axis.set_xticks(range(len(choices)), choices, fontsize=8)
        axis.set_xlim(-0.5, len(choices) - 0.5)
        return
    low, high, log = _ends(study, name)
    if log:
        log_axis(axis, (low, high), most=4, always=True)
    elif isinstance(distribution, IntDistribution):
        whole_numbers(axis)


def _ends(study: StudyFact, name: str) -> tuple[float, float, bool]:
    """Return the lowest and highest position of a parameter, and whether its axis is logarithmic."""
    choices, distribution = _choices(study, name), study.source.space.sampled[name]
    if choices:
        return 0.0, float(len(choices) - 1), False
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    return low, high, is_logarithmic(name, low, log=distribution.log)


def _shares(study: StudyFact, name: str, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    """Return the position of each trial on the axis of `name`, from 0 to 1."""
    low, high, log = _ends(study, name)
    values = np.array(_positions(study, name, trials))
    if log:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _score_shares(study: StudyFact, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    """Return the position of each trial on the axis of the score, from 0 to 1; of a trial outside its range, an end."""
    low, high = score_axis(study, trials)
    scores = np.array([t.score for t in trials], dtype=float)
    return np.asarray(Normalize(low, high if high > low else low + 1, clip=True)(scores))


def score_axis(study: StudyFact, trials: Sequence[TrialFact]) -> tuple[float, float]:
    """Return the ends of the score's axis in draw_parallel: the least and the largest score in the range of limit."""
    scores = [t.score for t in trials if t.score is not None]
    low, high = shown_range(scores, rising=study.rising)
    inside = [score for score in scores if low <= score <= high]
    return min(inside), max(inside)


def _score_ticks(study: StudyFact, trials: Sequence[TrialFact]) -> tuple[str, str]:
    """Return the labels of the ends of the score's axis; trials beyond an end are drawn at it."""
    low, high = score_axis(study, trials)
    scores = [t.score for t in trials if t.score is not None]
    below, above = min(scores) < low, max(scores) > high
    return f"{'≤ ' * below}{compact(low)}", f"{'≥ ' * above}{compact(high)}"


def _ticks(study: StudyFact, name: str) -> list[tuple[float, str]]:
    """Return (position from 0 to 1, label) of the ticks on the axis of a parameter."""
    choices = _choices(study, name)
    if choices:
        return [(i / max(len(choices) - 1, 1), text) for i, text in enumerate(choices)]
    low, high, _ = _ends(study, name)
    return [(0.0, compact(low)), (1.0, compact(high))]


def _colours() -> Colormap:
    """Return a colour map from grey over blue to orange. All its colours are visible on white and on black."""
    return LinearSegmentedColormap.from_list("grey_blue_orange", [GREY, LINE_COLOURS[1], BEST])
