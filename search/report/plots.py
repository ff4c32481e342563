"""Draw the figures of a report. search.report.figures sets their style and renders them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.report.facts import MixtureFact, StudyFact, TrialFact, best_so_far
from search.trials import Fate, pareto_front
from training.evaluation.compare_files import BOUND, GREY, LINE_COLOURS, draw_intervals, title_of

BEST, PRUNED = LINE_COLOURS[0], GREY
MANY = 1500  # with more points a figure contains them as a bitmap
CURVES = 150  # learning curves, or lines of a parallel plot, that are shown
WIDTH = 9.0


def draw_progress(studies: Sequence[StudyFact]) -> Figure:
    """Draw the best score so far against the trial number, a line for each study."""
    figure, axis = _figure(3.6)
    for i, study in enumerate(studies):
        steps = best_so_far(study)
        if not steps:
            continue
        at = [number for number, _ in steps] + [max(t.number for t in study.trials)]
        values = [value for _, value in steps] + [steps[-1][1]]
        colour = LINE_COLOURS[i % len(LINE_COLOURS)]
        style = ("-", "--", ":")[i // len(LINE_COLOURS) % 3]
        axis.step(at, values, where="post", color=colour, linestyle=style, label=study.name, linewidth=1.8)
    axis.set_xlabel("trial")
    whole_numbers(axis)
    axis.set_ylabel(f"best {title_of(studies[0].source.spec.metric)}")
    limit(axis, studies, [v for study in studies for _, v in best_so_far(study)])
    _legend(figure, axis)
    return figure


def draw_history(study: StudyFact) -> Figure:
    """Draw the score of every trial on the left, and the learning curves on the right."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.4, 1))
    scored = [t for t in study.trials if t.score is not None]
    for fate, marker, colour in (
        (Fate.COMPLETE, "o", LINE_COLOURS[1]),
        (Fate.PRUNED, "x", PRUNED),
        (Fate.INFEASIBLE, "+", PRUNED),
    ):
        own = [t for t in scored if t.fate == fate]
        if own:
            at, scores = [t.number for t in own], [t.score for t in own]
            left.plot(at, scores, marker, color=colour, markersize=4.5, label=fate, rasterized=len(own) > MANY)
    steps = best_so_far(study)
    if steps:
        at_best, best = zip(*steps, strict=True)
        left.step(at_best, best, where="post", color=BEST, linewidth=2, label="best so far")
    left.set_xlabel("trial")
    left.set_ylabel(title_of(study.source.spec.metric))
    best_number = study.best.number if study.best is not None else None
    for trial in sorted(_curves(study), key=lambda t: t.number == best_number):
        epochs = np.arange(1, len(trial.curve) + 1)
        if trial.number == best_number:
            right.plot(epochs, trial.curve, color=BEST, linewidth=2.4, label=f"trial {trial.number}, the best")
        elif trial.fate == Fate.COMPLETE:
            right.plot(epochs, trial.curve, color=LINE_COLOURS[1], linewidth=0.9, alpha=0.6)
        else:
            right.plot(epochs, trial.curve, color=PRUNED, linewidth=0.8, alpha=0.7)
            right.plot(epochs[-1], trial.curve[-1], "x", color=PRUNED, markersize=5)
    right.set_xlabel("epoch")
    whole_numbers(left)
    whole_numbers(right)
    limit(left, (study,), [t.score for t in scored if t.score is not None])
    for axis in (left, right):
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8, loc="lower right" if study.rising else "upper right")
    return figure


def _curves(study: StudyFact) -> list[TrialFact]:
    """Return the latest CURVES trials that have a learning curve, and the best trial."""
    reported = [t for t in study.trials if t.curve]
    best = study.best.number if study.best is not None else None
    return [t for i, t in enumerate(reported) if i >= len(reported) - CURVES or t.number == best]


def draw_importances(study: StudyFact) -> Figure:
    """Draw the parameter importances as bars."""
    names = sorted(study.importances, key=lambda name: study.importances[name])
    figure, axis = _figure(0.7 + 0.28 * len(names))
    values = [study.importances[name] for name in names]
    bars = axis.barh(names, values, color=LINE_COLOURS[1], height=0.65)
    axis.bar_label(bars, [f" {value:.2f}" for value in values])
    axis.set_xlim(0, max(1.15 * max(values), 0.05))
    axis.set_xlabel("share of the differences in score")
    axis.grid(visible=False)
    return figure


def draw_snr(mixture: MixtureFact) -> Figure:
    """Draw SI-SDR against SNR of each study's best trial, and of classical methods with intervals."""
    figure, axis = _figure(4.4)
    classical = mixture.classical
    if classical is not None:
        for method, style in _shown_classical(mixture):
            values = [classical.line(method, "si_sdr_db", snr_db).value for snr_db in classical.snrs_db]
            label = f"{method} (bound)" if method == BOUND else method
            draw_intervals(axis, classical.snrs_db, values, colour=GREY, label=label, style=style, marker="s")
    for i, study in enumerate(mixture.studies):
        at = study.result.si_sdr_db
        if at:
            axis.plot(
                [float(snr) for snr in at],
                list(at.values()),
                marker="o",
                markersize=4.5,
                linewidth=2.4 if i == 0 else 1.3,
                color=LINE_COLOURS[i % len(LINE_COLOURS)],
                linestyle=("-", "--", ":")[i // len(LINE_COLOURS) % 3],
                label=f"{study.name}, trial {study.result.best_trial}",
            )
    axis.set_xlabel("SNR of the validation mixture in dB (25-55 Hz)")
    axis.set_ylabel("SI-SDR in dB")
    _legend(figure, axis)
    return figure


def _shown_classical(mixture: MixtureFact) -> list[tuple[str, str]]:
    """Return (method, line style) of three methods.

    They are the noisy mixture, the best method that uses only the noisy signal as a model does, and the upper bound.
    """
    assert mixture.classical is not None
    usable = [m for m in mixture.classical.methods if m not in (BOUND, "identity", "zeros")]
    best = max(usable, key=lambda m: mixture.classical.line(m, "si_sdr_db", None).value.mean)  # type: ignore[union-attr]
    return [("identity", ":"), (best, "-"), (BOUND, "--")]


def draw_cost(studies: Sequence[StudyFact]) -> Figure:
    """Draw score against size of all complete trials with the Pareto front, and score against latency of the best."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    points: list[tuple[float, float]] = []
    for i, study in enumerate(studies):
        own = [(t.n_parameters, t.score) for t in study.scored if t.n_parameters and t.score is not None]
        points += [(float(size), score) for size, score in own]
        colour = LINE_COLOURS[i % len(LINE_COLOURS)]
        if own:
            left.plot(*zip(*own, strict=True), "o", color=colour, markersize=4.5, alpha=0.75, label=study.name)
        if study.result.latency_ms is not None and study.result.best is not None:
            right.plot(study.result.latency_ms, study.result.best, "o", color=colour, markersize=7)
    front = pareto_front(points, rising=studies[0].rising)
    if front:
        left.step(
            *zip(*front, strict=True), where="post", color=BEST, linewidth=1.4, linestyle="--", label="Pareto front"
        )
    latencies_ms = [s.result.latency_ms for s in studies if s.result.latency_ms]
    log_axis(left, [size for size, _ in points])
    log_axis(right, latencies_ms)
    for axis, label in ((left, "parameters"), (right, "ms per window on one CPU thread (best trials)")):
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    left.set_ylabel(title_of(studies[0].source.spec.metric))
    limit(left, studies, [score for _, score in points])
    _legend(figure, left)
    return figure


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic with plain numbers at its ticks, or linear if `values` differ by a factor below 5."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) < 5 * min(positive):
        axis.ticklabel_format(axis="x", style="plain", useOffset=False)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        return
    subs = (1.0,) if max(positive) > 100 * min(positive) else (1.0, 3.0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(
        EngFormatter(sep="") if max(positive) >= 1000 else FuncFormatter(lambda x, _: f"{x:g}")
    )
    axis.xaxis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Axes) -> None:
    """Put the ticks of the x axis at whole numbers only."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.25)
    return figure, axis


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        columns = min(len(labels), max(1, 110 // (max(map(len, labels)) + 8)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def shown_range(scores: Sequence[float], *, rising: bool) -> tuple[float, float]:
    """Return the range of scores to show, (low, high).

    It ends just beyond the best score. Towards worse scores it is limited to four times the distance between best and
    median, so that outliers do not compress the other trials.

    scores: at least one.
    rising: whether a higher score is better.
    """
    best, worst = (max(scores), min(scores)) if rising else (min(scores), max(scores))
    reach = 4 * abs(best - float(np.median(scores))) or abs(best - worst) or 1.0
    end = max(worst, best - reach) if rising else min(worst, best + reach)
    margin = 0.06 * abs(best - end) or 0.5
    return (end - margin, best + margin) if rising else (best - margin, end + margin)


def limit(axis: Axes, studies: Sequence[StudyFact], scores: Sequence[float]) -> None:
    """Limit the y axis to the range that shown_range gives for `scores`. The studies have the same metric."""
    if scores:
        axis.set_ylim(*shown_range(scores, rising=studies[0].rising))


def draw_slices(study: StudyFact) -> Figure:
    """Draw the score of complete trials against each parameter."""
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
        row[0].set_ylabel(title_of(study.source.spec.metric))
    limit(panels[0, 0], (study,), [t.score for t in trials if t.score is not None])
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
    scores = [t.score for t in trials if t.score is not None]
    low, high = min(scores), max(scores)
    for height, value in ((0.0, low), (1.0, high)):
        axis.annotate(f"{value:.3g}", (len(names), height), xytext=(3, 0), textcoords="offset points", fontsize=7)
    axis.set_xticks(range(len(names) + 1), [*names, study.source.spec.metric], fontsize=8)
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
    elif isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log:
        log_axis(axis, (distribution.low, distribution.high))
    elif isinstance(distribution, IntDistribution):
        whole_numbers(axis)


def _ends(study: StudyFact, name: str) -> tuple[float, float, bool]:
    """Return the lowest and highest position of a parameter, and whether its axis is logarithmic."""
    choices, distribution = _choices(study, name), study.source.space.sampled[name]
    if choices:
        return 0.0, float(len(choices) - 1), False
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return float(distribution.low), float(distribution.high), distribution.log


def _shares(study: StudyFact, name: str, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    """Return the position of each trial on the axis of `name`, from 0 to 1."""
    low, high, log = _ends(study, name)
    values = np.array(_positions(study, name, trials))
    if log:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _score_shares(study: StudyFact, trials: Sequence[TrialFact]) -> NDArray[np.float64]:
    """Return the position of each trial on the axis of the score, from 0 to 1."""
    scores = np.array([t.score for t in trials], dtype=float)
    return np.asarray(
        Normalize(scores.min(), scores.max() if scores.max() > scores.min() else scores.min() + 1)(scores)
    )


def _ticks(study: StudyFact, name: str) -> list[tuple[float, str]]:
    """Return (position from 0 to 1, label) of the ticks on the axis of a parameter."""
    choices = _choices(study, name)
    if choices:
        return [(i / max(len(choices) - 1, 1), text) for i, text in enumerate(choices)]
    low, high, _ = _ends(study, name)
    return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]


def _colours() -> Colormap:
    """Return a colour map from grey over blue to orange. All its colours are visible on white and on black."""
    return LinearSegmentedColormap.from_list("grey_blue_orange", [GREY, LINE_COLOURS[1], BEST])
