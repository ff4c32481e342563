"""Write a comparison of runs as terminal tables, plain values for JSON, a CSV file and a figure."""

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from data.files import atomic
from training.evaluation.compare import Comparison, Line
from training.evaluation.figures import (
    BOUND,
    CLEAN_WIDTH,
    HIDDEN,
    LOOKS,
    METHOD_REACH,
    clip,
    curve_range,
    finish_clean,
    label_of,
    line_look,
    n_outside,
    spread,
    title_of,
)
from training.evaluation.intervals import CONFIDENCE, FEW_RECORDINGS, Interval
from training.evaluation.scores import CLEAN_LIMIT_DB, SCORES
from training.evaluation.showcase import save
from training.evaluation.shown import csv_numbers, plain_snr, shown_value
from training.numbers import finite
from training.report import shown_snr, snr_heading

CSV_FILE, FIGURE_FILE = "compare.csv", "compare.png"


def comparison_table(found: Comparison, score: str) -> Table:
    """Return a table of one score: a row per method, a column per SNR and one for the mean; the differences follow.

    The interval of a value stands under it. Differences whose interval excludes zero have a * and are bold if there are
    at least FEW_RECORDINGS recordings.
    """
    table = Table(title=title_of(score), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", overflow="fold")
    for heading in (*map(snr_heading, found.snrs_db), "mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = (*found.snrs_db, None)
    digits = 1 if SCORES[score].unit == "dB" else 2
    for method in found.methods:
        cells = [_value_cell(found.line(method, score, at), digits) for at in columns]
        table.add_row(label_of(method), *cells)
    table.add_section()
    for method in _compared(found):
        differences = [found.line(method, score, at).difference for at in columns]
        cells = [_cell(d, digits, sign="+", clear=is_clear(found, d)) for d in differences if d is not None]
        table.add_row(f"{method} over\n{found.reference}", *cells)
    return table


def _compared(found: Comparison) -> list[str]:
    """Return the methods whose differences from the reference are shown: neither silence nor the bound is a rival."""
    return [method for method in found.methods if method not in (HIDDEN, BOUND, found.reference)]


def is_clear(found: Comparison, difference: Interval) -> bool:
    """Return whether a difference is told to be one: its interval excludes zero, and there are enough recordings."""
    return found.n_recordings >= FEW_RECORDINGS and difference.excludes_zero


def _value_cell(line: Line, digits: int) -> Text:
    """Return the cell of a method's value."""
    mean, ends = shown_value(line.score, line.snr_db, line.value, digits)
    return Text(mean).append(f"\n{ends}" if ends else "")


def _cell(interval: Interval, digits: int, *, sign: str = "", clear: bool = False) -> Text:
    """Return a table cell with a mean and, below it, its interval if there is one."""
    value, ends = interval.mean_text(digits, sign), interval.ends_text(digits)
    cell = Text(f"{value}*", style="bold") if clear else Text(value)
    return cell.append(f"\n{ends}", style="not bold") if ends else cell


def verdict_lines(found: Comparison) -> list[str]:
    """Return a line for each compared method and score: which is better by how much, and whether that is clear.

    Such as "b over a, SI-SDR in dB: +1.21 (+0.40..+2.02), b is better: the interval excludes 0". They are about the
    trained runs, or about the classical methods where there is one run only.
    """
    scores = list(dict.fromkeys(line.score for line in found.lines))
    compared = _compared(found)
    runs = [method for method in compared if method not in LOOKS]
    return [_verdict(found, method, score) for method in runs or compared for score in scores]


def _verdict(found: Comparison, method: str, score: str) -> str:
    difference = found.line(method, score, None).difference
    assert difference is not None
    head = f"{method} over {found.reference}, {title_of(score)}:"
    if math.isnan(difference.mean):
        return f"{head} not known"
    if math.isnan(difference.low):
        return f"{head} {difference.mean:+.2f}, no interval"
    shown = f"{head} {difference.mean:+.2f} ({difference.ends_text(2, '+')})"
    if not difference.excludes_zero:
        return f"{shown}, not clear: the interval holds 0"
    rising = SCORES[score].direction == "maximize"
    winner = method if (difference.mean > 0) == rising else found.reference
    if not is_clear(found, difference):
        return f"{shown}, not clear: the interval excludes 0, but {found.n_recordings} recordings are too few to tell"
    return f"{shown}, {winner} is better: the interval excludes 0"


def method_lines(found: Comparison) -> list[str]:
    """Return sentences that say how the comparison was made, and a warning if there are few recordings."""
    are_enough = found.n_recordings >= FEW_RECORDINGS
    windows = f"{found.n_windows} windows of {found.n_recordings} clean recording{'s' * (found.n_recordings != 1)}"
    starred = "; * marks intervals that exclude 0, uncorrected for their number" if are_enough else ""
    lines = [
        f"{found.split} mixture: {windows} at each SNR, data {found.fingerprint}. {interval_words(found)} Differences "
        f"over {found.reference} are paired by window{starred}."
    ]
    if math.inf in found.snrs_db:
        lines.append(
            "clean: the same windows without noise, not in the mean; scores in dB are limited to "
            f"{CLEAN_LIMIT_DB:g} dB."
        )
    if warning := few_recordings(found.n_recordings):
        lines.append(warning)
    return lines


def interval_words(found: Comparison) -> str:
    """Return a sentence that says how the intervals were made."""
    return (
        f"Intervals: {CONFIDENCE:.0%}, expanded percentile bootstrap by recording, {found.n_resamples} resamples, "
        f"seed {found.seed}."
    )


def few_recordings(n: int) -> str:
    """Return a warning for `n` clean recordings; "" if they are enough."""
    if n < 2:
        return "One clean recording gives no interval by recording; give more recordings to the split."
    if n < FEW_RECORDINGS:
        share = 1 - 2 / 2**n
        return f"With {n} clean recordings an interval holds the true mean with a chance of about {share:.0%} at most."
    return ""


def comparison_document(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values for JSON; unknown numbers are None, the SNR of clean windows is "inf"."""
    about = {
        field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name not in ("lines",)
    }
    about["snrs_db"] = [plain_snr(snr_db) for snr_db in found.snrs_db]
    lines = [_line_document(line) for line in found.lines]
    return {**finite(about), "confidence": CONFIDENCE, "lines": finite(lines)}


def _line_document(line: Line) -> dict[str, Any]:
    document = dataclasses.asdict(line)
    document["snr_db"] = None if line.snr_db is None else plain_snr(line.snr_db)
    if line.difference is not None:
        document["difference"]["excludes_zero"] = line.difference.excludes_zero
    return document


def write_comparison(found: Comparison, folder: Path) -> None:
    """Write a comparison to `folder` as compare.csv and compare.png."""
    with atomic(folder / CSV_FILE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        ends = ("mean", "low", "high")
        writer.writerow(
            ["method", "score", "snr_db", "n_windows", *ends, *(f"difference_{end}" for end in ends), "reference"]
        )
        writer.writerows(_csv_row(line, found.reference) for line in found.lines)
    save(draw_comparison(found), folder / FIGURE_FILE)


def _csv_row(line: Line, reference: str) -> list[str]:
    """Return the cells of a line."""
    value, difference = (
        [""] * 3 if found is None else csv_numbers(*dataclasses.astuple(found), snr_db=line.snr_db)
        for found in (line.value, line.difference)
    )
    snr = "mean" if line.snr_db is None else f"{line.snr_db:g}"
    return [line.method, line.score, snr, str(line.n_windows), *value, *difference, reference]


def draw_comparison(found: Comparison) -> Figure:
    """Draw every score against SNR and, below, the differences from the reference; with their intervals."""
    scores = list(dict.fromkeys(line.score for line in found.lines))
    shown = [m for m in found.methods if m != HIDDEN]
    others = [m for m in shown if m != found.reference]
    figure = Figure(figsize=(4.2 * len(scores), 7.2 if others else 4.2), layout="constrained", dpi=110)
    n_each = 1 + (math.inf in found.snrs_db)  # beside the axis over SNR that of the clean windows
    widths = [1.0, CLEAN_WIDTH][:n_each] * len(scores)
    panels = figure.subplots(
        2 if others else 1, len(widths), squeeze=False, sharex="col", gridspec_kw={"width_ratios": widths}
    )
    looks = looks_of(found)
    for column, score in enumerate(scores):
        own = panels[:, n_each * column : n_each * (column + 1)]
        _draw_values(own[0], found, score, shown, looks)
        own[0, 0].set_title(title_of(score), fontsize=10, loc="left")
        if others:
            _draw_differences(own[1], found, score, others, looks)
        own[-1, 0].set_xlabel("SNR of the mixture in dB")
    if others:
        panels[1, 0].set_ylabel(f"{others[0] if len(others) == 1 else 'each'} over {found.reference}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False, fontsize=9)
    return figure


def looks_of(found: Comparison) -> dict[str, dict[str, Any]]:
    """Return method -> arguments of its lines in matplotlib: the reference's first, then the other runs' in order."""
    runs = [found.reference, *(m for m in found.methods if m != found.reference)]
    runs = [method for method in runs if method not in LOOKS]
    own = {method: line_look(i) for i, method in enumerate(runs)}
    return {m: own[m] if m in own else LOOKS[m].in_matplotlib for m in found.methods}


def _draw_values(
    axes: Sequence[Axes], found: Comparison, score: str, methods: list[str], looks: Mapping[str, dict[str, Any]]
) -> None:
    """Draw one score against SNR, a line for each of `methods`, with its intervals as bars.

    axes: over SNR, and that of the clean windows where there are any.
    """
    curves = []
    for i, method in enumerate(methods):
        curves.append([found.line(method, score, snr_db).value for snr_db in _noisy(found)])
        at, width = _spread(found, i, len(methods)), 2.4 if method == found.reference else 1.3
        draw_intervals(axes[0], at, curves[-1], looks[method], label=label_of(method), width=width)
        for axis in axes[1:]:
            value = found.line(method, score, math.inf).value
            draw_intervals(axis, [spread(i, len(methods))], [value], looks[method], label=method)
    _finish(axes, found, score, curves, limited=True)


def _draw_differences(
    axes: Sequence[Axes], found: Comparison, score: str, methods: list[str], looks: Mapping[str, dict[str, Any]]
) -> None:
    """Draw differences from the reference. Those of the bound would flatten the others and are left out.

    axes: as in _draw_values.
    """
    methods = [m for m in methods if m != BOUND] or methods
    curves = []
    for i, method in enumerate(methods):
        differences = [found.line(method, score, snr_db).difference for snr_db in _noisy(found)]
        curves.append([d for d in differences if d is not None])
        draw_intervals(axes[0], _spread(found, i, len(methods)), curves[-1], looks[method], label=method)
        for axis in axes[1:]:
            difference = found.line(method, score, math.inf).difference
            assert difference is not None
            draw_intervals(axis, [spread(i, len(methods))], [difference], looks[method], label=method)
    for axis in axes:
        axis.axhline(0, color=looks[found.reference]["color"], linewidth=1.6, zorder=1)
    _finish(axes, found, score, [*curves, [Interval(0.0, 0.0, 0.0)]], limited=False)


def _noisy(found: Comparison) -> list[float]:
    """Return the SNRs of a comparison without the infinite one of the clean windows."""
    return [snr_db for snr_db in found.snrs_db if math.isfinite(snr_db)]


def _spread(found: Comparison, i: int, n: int) -> list[float]:
    """Return the SNRs, shifted a little for method i of n, so that bars do not cover one another."""
    snrs_db = _noisy(found)
    step_db = float(np.min(np.diff(sorted(snrs_db)))) if len(snrs_db) > 1 else 1.0
    return [snr_db + 0.25 * step_db * ((i + 0.5) / n - 0.5) for snr_db in snrs_db]


def draw_intervals(
    axis: Axes,
    at: Sequence[float],
    values: Sequence[Interval],
    look: Mapping[str, Any],
    *,
    label: str,
    width: float = 1.3,
) -> None:
    """Draw a line through the means of `values` at the positions `at`, with their intervals as bars.

    look: arguments of the line in matplotlib.
    """
    order = np.argsort(at)
    means = np.array([v.mean for v in values])[order]
    reach = np.array([[v.mean - v.low for v in values], [v.high - v.mean for v in values]])[:, order]
    axis.errorbar(
        np.array(at)[order],
        means,
        yerr=np.maximum(np.nan_to_num(reach), 0.0),
        label=label,
        linewidth=width,
        elinewidth=1.2,
        capsize=2.5,
        markersize=5,
        **look,
    )


def _finish(
    axes: Sequence[Axes], found: Comparison, score: str, curves: Sequence[Sequence[Interval]], *, limited: bool
) -> None:
    """Set ticks, grid and frame of an axis over SNR, and its range where a method would flatten the others.

    axes: as in _draw_values. curves: on the axis over SNR. limited: see finish_clean.
    """
    axis = axes[0]
    for clean_axis in axes[1:]:
        finish_clean(clean_axis, score, limited=limited)
        clean_axis.spines["top"].set_visible(False)
    means = [value.mean for curve in curves for value in curve if math.isfinite(value.mean)]
    ends = [[end for value in curve for end in dataclasses.astuple(value)] for curve in curves]
    rising = SCORES[score].direction == "maximize"
    if means and n_outside(means, shown := curve_range(ends, rising=rising, reach=METHOD_REACH)):
        clip(axis, means, shown, "means", rising=rising)
    axis.set_xticks(sorted(_noisy(found)), [shown_snr(snr_db) for snr_db in sorted(_noisy(found))])
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
