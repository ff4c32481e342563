"""Figures of a report about scores, each a function that draws one. Their ink is search.report.figures's."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from search.report.facts import MixtureFact, StudyFact, TrialFact, best_so_far
from training.evaluation.compare_files import BOUND, GREY, LINE_COLOURS, draw_intervals, title_of

BEST, PRUNED = LINE_COLOURS[0], GREY
MANY = 1500  # points from which on a figure holds a bitmap of them
CURVES = 150
WIDTH = 9.0


def draw_progress(studies: Sequence[StudyFact]) -> Figure:
    """The best score so far against the trial's number, a line for each study."""
    figure, axis = _one(3.6)
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
    axis.set_ylabel(f"best {title_of(studies[0].search.spec.metric)}")
    limit(axis, studies, [v for study in studies for _, v in best_so_far(study)])
    _legend(figure, axis)
    return figure


def draw_history(study: StudyFact) -> Figure:
    """Left every trial's score and the best so far; right the learning curves, pruned ones ending in a cross."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.4, 1))
    told = [t for t in study.trials if t.score is not None]
    for state, marker, colour in (
        ("complete", "o", LINE_COLOURS[1]),
        ("pruned", "x", PRUNED),
        ("infeasible", "+", PRUNED),
    ):
        own = [t for t in told if t.state == state]
        if own:
            at, scores = [t.number for t in own], [t.score for t in own]
            left.plot(at, scores, marker, color=colour, markersize=4.5, label=state, rasterized=len(own) > MANY)
    steps = best_so_far(study)
    if steps:
        at_best, best = zip(*steps, strict=True)
        left.step(at_best, best, where="post", color=BEST, linewidth=2, label="best so far")
    left.set_xlabel("trial")
    left.set_ylabel(title_of(study.search.spec.metric))
    best_number = study.best.number if study.best is not None else None
    for trial in sorted(_curves(study), key=lambda t: t.number == best_number):
        epochs = np.arange(1, len(trial.curve) + 1)
        if trial.number == best_number:
            right.plot(epochs, trial.curve, color=BEST, linewidth=2.4, label=f"trial {trial.number}, the best")
        elif trial.state == "complete":
            right.plot(epochs, trial.curve, color=LINE_COLOURS[1], linewidth=0.9, alpha=0.6)
        else:
            right.plot(epochs, trial.curve, color=PRUNED, linewidth=0.8, alpha=0.7)
            right.plot(epochs[-1], trial.curve[-1], "x", color=PRUNED, markersize=5)
    right.set_xlabel("epoch")
    whole_numbers(left)
    whole_numbers(right)
    limit(left, (study,), [t.score for t in told if t.score is not None])
    for axis in (left, right):
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, fontsize=8, loc="lower right" if study.rising else "upper right")
    return figure


def _curves(study: StudyFact) -> list[TrialFact]:
    """The trials with reports, the latest CURVES of them and the best one."""
    told = [t for t in study.trials if t.curve]
    best = study.best.number if study.best is not None else None
    return [t for i, t in enumerate(told) if i >= len(told) - CURVES or t.number == best]


def draw_importances(study: StudyFact) -> Figure:
    """How much of the differences in score each parameter explains, as bars."""
    names = sorted(study.importances, key=lambda name: study.importances[name])
    figure, axis = _one(0.7 + 0.28 * len(names))
    values = [study.importances[name] for name in names]
    bars = axis.barh(names, values, color=LINE_COLOURS[1], height=0.65)
    axis.bar_label(bars, [f" {value:.2f}" for value in values])
    axis.set_xlim(0, max(1.15 * max(values), 0.05))
    axis.set_xlabel("share of the differences in score")
    axis.grid(visible=False)
    return figure


def draw_snr(mixture: MixtureFact) -> Figure:
    """SI-SDR of each study's best trial against SNR, beside classical methods with their intervals."""
    figure, axis = _one(4.4)
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
    """(method, line style): the mixture itself, the best that knows no more than a model, and the bound."""
    assert mixture.classical is not None
    honest = [m for m in mixture.classical.methods if m not in (BOUND, "identity", "zeros")]
    best = max(honest, key=lambda m: mixture.classical.line(m, "si_sdr_db", None).value.mean)  # type: ignore[union-attr]
    return [("identity", ":"), (best, "-"), (BOUND, "--")]


def draw_cost(studies: Sequence[StudyFact]) -> Figure:
    """Score against size of all complete trials with the Pareto front; score against latency of the best ones."""
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
    for axis, label in ((left, "parameters"), (right, "ms for a window on one CPU thread (best trials)")):
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    left.set_ylabel(title_of(studies[0].search.spec.metric))
    limit(left, studies, [score for _, score in points])
    _legend(figure, left)
    return figure


def pareto_front(points: Sequence[tuple[float, float]], *, rising: bool) -> list[tuple[float, float]]:
    """Those (cost, score) that no other point beats at equal or smaller cost, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda p: (p[0], -p[1] if rising else p[1])):
        if not front or (score > front[-1][1] if rising else score < front[-1][1]):
            front.append((cost, score))
    return front


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with plain numbers at its ticks; a linear one where `values` lie close together."""
    known = [value for value in values if value > 0]
    if not known or max(known) < 5 * min(known):
        axis.ticklabel_format(axis="x", style="plain", useOffset=False)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        return
    subs = (1.0,) if max(known) > 100 * min(known) else (1.0, 3.0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(EngFormatter(sep="") if max(known) >= 1000 else FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _one(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.25)
    return figure, axis


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        columns = min(len(labels), max(1, 110 // (max(map(len, labels)) + 8)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def shown_from(scores: Sequence[float], *, rising: bool) -> tuple[float, float]:
    """The range of scores that is shown: to the best one, and no further down than four times its distance from the
    median, so that a trial that went wrong does not flatten the rest."""
    best, worst = (max(scores), min(scores)) if rising else (min(scores), max(scores))
    reach = 4 * abs(best - float(np.median(scores))) or abs(best - worst) or 1.0
    end = max(worst, best - reach) if rising else min(worst, best + reach)
    margin = 0.06 * abs(best - end) or 0.5
    return (end - margin, best + margin) if rising else (best - margin, end + margin)


def limit(axis: Axes, studies: Sequence[StudyFact], scores: Sequence[float]) -> None:
    """Show `scores` of `studies` that share a metric, as shown_from has it."""
    if scores:
        axis.set_ylim(*shown_from(scores, rising=studies[0].rising))
