"""Figures of a report about a study's space: slices and parallel coordinates."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.report.facts import StudyFact, TrialFact
from search.report.plots import BEST, CURVES, WIDTH, limit, log_axis, whole_numbers
from training.evaluation.compare_files import GREY, LINE_COLOURS, title_of


def draw_slices(study: StudyFact) -> Figure:
    """The score against each parameter, complete trials."""
    names, trials = searched(study), study.scored
    n_columns = min(4, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = Figure(figsize=(WIDTH, 0.4 + 2.2 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axis, name in zip(panels.flat, names, strict=False):
        own = [t for t in trials if name in t.params]
        positions = _positions(study, name, own)
        axis.plot(positions, [t.score for t in own], "o", color=LINE_COLOURS[1], markersize=4, alpha=0.75)
        if own and own[0] is trials[0]:
            axis.plot(
                positions[0], own[0].score, "o", color=BEST, markersize=8, markerfacecolor="none", markeredgewidth=2
            )
        axis.set_title(name, fontsize=9, loc="left")
        axis.grid(alpha=0.25)
        _scale(axis, study, name)
    for axis in panels.flat[len(names) :]:
        axis.set_visible(False)
    for row in panels:
        row[0].set_ylabel(title_of(study.search.spec.metric))
    limit(panels[0, 0], (study,), [t.score for t in trials if t.score is not None])
    return figure


def draw_parallel(study: StudyFact) -> Figure:
    """Each complete trial as a line through its parameters to its score; the better, the warmer."""
    names = searched(study)
    trials = [t for t in study.scored[:CURVES] if all(name in t.params for name in names)]
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axis = figure.subplots()
    heights = np.stack([*(_shares(study, name, trials) for name in names), _score_shares(study, trials)], axis=1)
    colours = _warming()
    for rank in reversed(range(len(trials))):
        share = 1 - rank / max(len(trials) - 1, 1)
        width = 2.6 if rank == 0 else 0.9
        axis.plot(heights[rank], color=colours(share), linewidth=width, alpha=0.9, zorder=2 + share)
    for i, name in enumerate(names):
        axis.axvline(i, color=GREY, linewidth=0.8, zorder=1)
        for height, text in _ticks(study, name):
            axis.annotate(text, (i, height), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center")
    axis.axvline(len(names), color=GREY, linewidth=0.8, zorder=1)
    scores = [t.score for t in trials if t.score is not None]
    low, high = min(scores), max(scores)
    for height, value in ((0.0, low), (1.0, high)):
        axis.annotate(f"{value:.3g}", (len(names), height), xytext=(3, 0), textcoords="offset points", fontsize=7)
    axis.set_xticks(range(len(names) + 1), [*names, study.search.spec.metric], fontsize=8)
    if len(names) > 6:
        axis.tick_params(axis="x", rotation=20)
    axis.set_xlim(-0.1, len(names) + 0.35)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    return figure


def searched(study: StudyFact) -> list[str]:
    """The sampled parameters, the most important first."""
    return sorted(study.search.space.sampled, key=lambda name: (-study.importances.get(name, 0.0), name))


def _choices(study: StudyFact, name: str) -> list[str] | None:
    distribution = study.search.space.sampled[name]
    return [str(c) for c in distribution.choices] if isinstance(distribution, CategoricalDistribution) else None


def _positions(study: StudyFact, name: str, trials: Sequence[TrialFact]) -> list[float]:
    choices = _choices(study, name)
    values = [t.params[name] for t in trials]
    return [float(choices.index(str(v))) for v in values] if choices else [float(v) for v in values]


def _scale(axis: Axes, study: StudyFact, name: str) -> None:
    choices, distribution = _choices(study, name), study.search.space.sampled[name]
    if choices:
        axis.set_xticks(range(len(choices)), choices, fontsize=8)
        axis.set_xlim(-0.5, len(choices) - 0.5)
    elif isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log:
        log_axis(axis, (distribution.low, distribution.high))
    elif isinstance(distribution, IntDistribution):
        whole_numbers(axis)


def _ends(study: StudyFact, name: str) -> tuple[float, float, bool]:
    """Lowest, highest, and whether the axis is logarithmic."""
    choices, distribution = _choices(study, name), study.search.space.sampled[name]
    if choices:
        return 0.0, float(len(choices) - 1), False
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return float(distribution.low), float(distribution.high), distribution.log


def _shares(study: StudyFact, name: str, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    """Where on the axis of `name` each trial lies, from 0 to 1."""
    low, high, log = _ends(study, name)
    values = np.array(_positions(study, name, trials))
    if log:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _score_shares(study: StudyFact, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    scores = np.array([t.score for t in trials], dtype=float)
    return np.asarray(
        Normalize(scores.min(), scores.max() if scores.max() > scores.min() else scores.min() + 1)(scores)
    )


def _ticks(study: StudyFact, name: str) -> list[tuple[float, str]]:
    choices = _choices(study, name)
    if choices:
        return [(i / max(len(choices) - 1, 1), text) for i, text in enumerate(choices)]
    low, high, _ = _ends(study, name)
    return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]


def _warming() -> Colormap:
    """From grey over blue to orange: every part of it can be told from white and from black."""
    return LinearSegmentedColormap.from_list("warming", [GREY, LINE_COLOURS[1], BEST])
