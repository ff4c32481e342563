"""Draw the figures of a report on several studies. search.report.figures sets their style and renders them."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from search.report.facts import MixtureFact, StudyFact, best_so_far
from search.trials import pareto_front
from training.evaluation.compare_files import draw_intervals
from training.evaluation.figures import (
    BOUND,
    HIDDEN,
    LINE_COLOURS,
    LOOKS,
    METHOD_REACH,
    clip,
    curve_range,
    ends_of,
    label_of,
    line_look,
    log_ticks,
    mark_outside,
    n_outside,
    outside_words,
    shown_range,
    title_of,
)
from training.numbers import compact
from training.report import shown_snr

BEST = LINE_COLOURS[0]
FEW_STUDIES = 3
WIDTH = 9.0


def draw_progress(studies: Sequence[StudyFact]) -> Figure:
    """Draw the best score so far against the trial number, a line for each study."""
    figure, axis = new_figure(3.6)
    for i, study in enumerate(studies):
        steps = best_so_far(study)
        if not steps:
            continue
        at = [number for number, _ in steps] + [max(t.number for t in study.trials)]
        values = [value for _, value in steps] + [steps[-1][1]]
        look = {"markevery": max(1, len(at) // 6), "markersize": 5, **line_look(i)}
        axis.step(at, values, where="post", label=study.name, linewidth=1.8, **look)
    axis.set_xlabel("trial")
    whole_numbers(axis)
    axis.set_ylabel(f"best {title_of(studies[0].source.spec.metric)}")
    ranges = [shown_range([t.score for t in s.scored if t.score is not None], rising=s.rising) for s in studies]
    shown = min(low for low, _ in ranges), max(high for _, high in ranges)  # no study is left out of the figure
    clip(axis, [v for study in studies for _, v in best_so_far(study)], shown, "steps", rising=studies[0].rising)
    _legend(figure, axis)
    return figure


def draw_snr(mixture: MixtureFact) -> Figure:
    """Draw SI-SDR against SNR of each study's best trial, and of classical methods with intervals."""
    figure, axis = new_figure(4.4)
    classical, curves = mixture.classical, list[list[float]]()
    snrs = {float(snr) for study in mixture.studies for snr in study.result.si_sdr_db}
    if classical is not None:
        snrs |= set(classical.snrs_db)
        for method in shown_classical(mixture):
            values = [classical.line(method, "si_sdr_db", snr_db).value for snr_db in classical.snrs_db]
            curves.append([value.mean for value in values])
            draw_intervals(axis, classical.snrs_db, values, LOOKS[method].in_matplotlib, label=label_of(method))
    for i, study in enumerate(mixture.studies):
        at = study.result.si_sdr_db
        if at:
            curves.append(list(at.values()))
            label = f"{study.name}, trial {study.result.best_trial}"
            width = 2.4 if i == 0 else 1.3
            axis.plot(
                [float(snr) for snr in at], curves[-1], label=label, linewidth=width, markersize=5, **line_look(i)
            )
    points = [value for curve in curves for value in curve]
    shown = curve_range(curves, rising=True, reach=METHOD_REACH)
    if n_outside(points, shown):
        clip(axis, points, shown, "means", rising=True)
    axis.set_xticks(sorted(snrs), [shown_snr(snr) for snr in sorted(snrs)])
    axis.set_xlabel("SNR of the validation mixture in dB (25-55 Hz)")
    axis.set_ylabel("SI-SDR in dB")
    _legend(figure, axis)
    return figure


def shown_classical(mixture: MixtureFact) -> list[str]:
    """Return the classical methods that draw_snr shows beside the studies.

    All but silence beside up to FEW_STUDIES studies. Beside more, the noisy mixture, the best method that is no bound,
    and the bound.
    """
    assert mixture.classical is not None
    methods = [method for method in mixture.classical.methods if method != HIDDEN]
    if len(mixture.studies) <= FEW_STUDIES:
        return methods
    usable = [method for method in methods if method not in (BOUND, "identity")]
    best = max(usable, key=lambda m: mixture.classical.line(m, "si_sdr_db", None).value.mean)  # type: ignore[union-attr]
    return ["identity", best, BOUND]


def draw_cost(studies: Sequence[StudyFact]) -> Figure:
    """Draw score against size of all complete trials with the Pareto front, and score against latency of the best."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    by_study = [
        [(float(t.n_parameters), t.score) for t in study.scored if t.n_parameters and t.score is not None]
        for study in studies
    ]
    points = [point for own in by_study for point in own]
    shown = limit(left, studies[0], [score for _, score in points], "trials")
    for i, (study, own) in enumerate(zip(studies, by_study, strict=True)):
        look = {**line_look(i), "linestyle": "none"}
        if own:
            sizes, scores = zip(*own, strict=True)
            left.plot(sizes, scores, markersize=4.5, alpha=0.75, label=study.name, **look)
            mark_outside(left, sizes, scores, shown, look["color"])
        if study.result.latency_ms is not None and study.result.best is not None:
            right.plot(study.result.latency_ms, study.result.best, markersize=7, **look)
    front = pareto_front(points, rising=studies[0].rising)
    if front:
        left.step(
            *zip(*front, strict=True), where="post", color=BEST, linewidth=1.4, linestyle="--", label="Pareto front"
        )
    latencies_ms = [s.result.latency_ms for s in studies if s.result.latency_ms]
    log_axis(left, [size for size, _ in points])
    log_axis(right, latencies_ms)
    for axis, label in ((left, "parameters"), (right, "latency of a window in ms, one CPU thread (best trials)")):
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
    left.set_ylabel(title_of(studies[0].source.spec.metric))
    _legend(figure, left)
    return figure


def log_axis(axis: Axes, values: Sequence[float], *, most: int = 6, always: bool = False) -> None:
    """Make the x axis logarithmic with short numbers at its ticks, or linear if `values` differ by a factor below 5.

    most: number of ticks. always: make it logarithmic in any case.
    """
    positive = [value for value in values if value > 0]
    if not positive or (max(positive) < 5 * min(positive) and not always):
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axis.xaxis.set_major_locator(MaxNLocator(most - 1))
        return
    axis.set_xscale("log")
    ticks = log_ticks(*ends_of(positive), most)
    axis.set_xticks(ticks, [compact(tick) for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def whole_numbers(axis: Axes) -> None:
    """Put the ticks of the x axis at whole numbers only."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def new_figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.25)
    return figure, axis


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        columns = min(len(labels), max(1, 110 // (max(map(len, labels)) + 8)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def limit(axis: Axes, study: StudyFact, scores: Sequence[float], noun: str) -> tuple[float, float]:
    """Limit the y axis to the range that shown_range gives for `scores`, state how many lie outside, return the range.

    noun: what has the scores. study: one of those with the scores, for its metric.
    """
    if not scores:
        return -math.inf, math.inf
    shown = shown_range(scores, rising=study.rising)
    clip(axis, scores, shown, noun, rising=study.rising)
    return shown


def outside_sentence(scores: Sequence[float], *, rising: bool) -> str:
    """Return the end of a caption that states how many of the trials' scores lie outside the range of limit."""
    words = (
        outside_words(n_outside(scores, shown_range(scores, rising=rising)), len(scores), "trials") if scores else ""
    )
    return f" {words} (triangles at the edge)." if words else ""
