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

from data.files import atomic
from training.evaluation.compare import Comparison, Line
from training.evaluation.intervals import CONFIDENCE, FEW_RECORDINGS, Interval
from training.evaluation.scores import SCORES
from training.evaluation.showcase import COLOURS, save
from training.numbers import finite
from training.report import shown_snr

CSV_FILE, FIGURE_FILE = "compare.csv", "compare.png"
TITLES = {
    "si_sdr_db": "SI-SDR in dB",
    "event_f1": "F1 of S1 and S2 events",
    "hr_within_5_bpm": "heart rate within 5 bpm",
}
# Distinct in hue and lightness, readable on white and on black. The reference run has the colour of estimates.
LINE_COLOURS = (COLOURS["estimate"], "#2b7bba", "#3a9d5d", "#8e5bb5", "#b8860b", "#d1588a", "#4fa3a5", "#7a6a5c")
GREY = "#8a8f98"
BOUND = "oracle"  # the method that knows the clean signal
HIDDEN = "zeros"  # at -60 dB this method would flatten the other lines


def title_of(score: str) -> str:
    """Return the title of an axis or table of `score`."""
    unit = SCORES[score].unit
    return TITLES.get(score, f"{score} in {unit}" if unit else score)


def comparison_table(found: Comparison, score: str) -> Table:
    """Return a table of one score: a row per method, a column per SNR and one for the mean; the differences follow.

    The interval of a value stands under it. Differences whose interval excludes zero are bold if there are at least
    FEW_RECORDINGS recordings.
    """
    table = Table(title=title_of(score), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("", overflow="fold")
    for heading in (*(f"{shown_snr(snr_db)} dB" for snr_db in found.snrs_db), "mean"):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = (*found.snrs_db, None)
    digits = 1 if SCORES[score].unit == "dB" else 2
    for method in found.methods:
        cells = [_cell(found.line(method, score, at).value, digits) for at in columns]
        table.add_row(f"{method} (bound)" if method == BOUND else method, *cells)
    table.add_section()
    are_enough = found.n_recordings >= FEW_RECORDINGS
    for method in found.methods:
        if method in (HIDDEN, BOUND):
            continue
        differences = [found.line(method, score, at).difference for at in columns]
        shown = [d for d in differences if d is not None]
        if shown:
            cells = [_cell(d, digits, sign="+", bold=are_enough and d.excludes_zero) for d in shown]
            table.add_row(f"{method} over\n{found.reference}", *cells)
    return table


def _cell(interval: Interval, digits: int, *, sign: str = "", bold: bool = False) -> str:
    """Return a table cell with a mean and, below it, its interval if there is one."""
    value = "none" if math.isnan(interval.mean) else f"{interval.mean:{sign}.{digits}f}"
    if bold:
        value = f"[bold]{value}[/bold]"
    return value if math.isnan(interval.low) else f"{value}\n{interval.low:.{digits}f}..{interval.high:.{digits}f}"


def method_lines(found: Comparison) -> list[str]:
    """Return sentences that say how the comparison was made, and a warning if there are few recordings."""
    are_enough = found.n_recordings >= FEW_RECORDINGS
    windows = f"{found.n_windows} windows of {found.n_recordings} clean recording{'s' * (found.n_recordings != 1)}"
    bold = "; bold ones exclude zero, uncorrected for their number" if are_enough else ""
    lines = [
        f"{found.split} mixture: {windows} at each SNR, data {found.fingerprint}. {interval_words(found)} Differences "
        f"over {found.reference} are paired by window{bold}."
    ]
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
    """Return a comparison as plain values for JSON; unknown numbers are None."""
    about = {
        field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name not in ("lines",)
    }
    lines = [dataclasses.asdict(line) for line in found.lines]
    return {**finite(about), "confidence": CONFIDENCE, "lines": finite(lines)}


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
    numbers = [*dataclasses.astuple(line.value)]
    difference = [""] * 3 if line.difference is None else [f"{x:.4f}" for x in dataclasses.astuple(line.difference)]
    snr = "mean" if line.snr_db is None else f"{line.snr_db:g}"
    return [line.method, line.score, snr, str(line.n_windows), *(f"{x:.4f}" for x in numbers), *difference, reference]


def draw_comparison(found: Comparison) -> Figure:
    """Draw every score against SNR and, below, the differences from the reference; with their intervals."""
    scores = list(dict.fromkeys(line.score for line in found.lines))
    shown = [m for m in found.methods if m != HIDDEN]
    others = [m for m in shown if m != found.reference]
    figure = Figure(figsize=(4.2 * len(scores), 7.2 if others else 4.2), layout="constrained", dpi=110)
    panels = figure.subplots(2 if others else 1, len(scores), squeeze=False, sharex=True)
    colours = colours_of(found)
    for column, score in enumerate(scores):
        draw_values(panels[0, column], found, score, shown, colours)
        panels[0, column].set_title(title_of(score), fontsize=10, loc="left")
        if others:
            _draw_differences(panels[1, column], found, score, others, colours)
        panels[-1, column].set_xlabel("SNR of the mixture in dB")
    if others:
        panels[1, 0].set_ylabel(f"difference from {found.reference}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False, fontsize=9)
    return figure


def colours_of(found: Comparison) -> dict[str, str]:
    """Return a colour for each method that has one: the reference takes the first, then the others in their order."""
    order = [found.reference, *(m for m in found.methods if m not in (found.reference, HIDDEN, BOUND, "identity"))]
    return {m: LINE_COLOURS[i % len(LINE_COLOURS)] for i, m in enumerate(order)}


def draw_values(axis: Axes, found: Comparison, score: str, methods: list[str], colours: Mapping[str, str]) -> None:
    """Draw one score against SNR, a line for each of `methods`, with its intervals as bars."""
    for i, method in enumerate(methods):
        values = [found.line(method, score, snr_db).value for snr_db in found.snrs_db]
        is_reference = method == found.reference
        draw_intervals(
            axis,
            _spread(found, i, len(methods)),
            values,
            colour=colours.get(method, GREY),
            label=f"{method} (bound)" if method == BOUND else method,
            width=2.4 if is_reference else 1.3,
            style="--" if method == BOUND else "-",
        )
    _finish(axis, found)


def _draw_differences(
    axis: Axes, found: Comparison, score: str, methods: list[str], colours: Mapping[str, str]
) -> None:
    """Draw differences from the reference. Those of the bound would flatten the others and are left out."""
    methods = [m for m in methods if m != BOUND] or methods
    for i, method in enumerate(methods):
        found_differences = [found.line(method, score, snr_db).difference for snr_db in found.snrs_db]
        values = [d for d in found_differences if d is not None]
        draw_intervals(axis, _spread(found, i, len(methods)), values, colour=colours.get(method, GREY), label=method)
    axis.axhline(0, color=colours[found.reference], linewidth=1.6, zorder=1)
    _finish(axis, found)


def _spread(found: Comparison, i: int, n: int) -> list[float]:
    """Return the SNRs, shifted a little for method i of n, so that bars do not cover one another."""
    step_db = float(np.min(np.diff(sorted(found.snrs_db)))) if len(found.snrs_db) > 1 else 1.0
    return [snr_db + 0.25 * step_db * ((i + 0.5) / n - 0.5) for snr_db in found.snrs_db]


def draw_intervals(
    axis: Axes,
    at: Sequence[float],
    values: Sequence[Interval],
    *,
    colour: str,
    label: str,
    width: float = 1.3,
    style: str = "-",
    marker: str = "o",
) -> None:
    """Draw a line through the means of `values` at the positions `at`, with their intervals as bars."""
    order = np.argsort(at)
    means = np.array([v.mean for v in values])[order]
    reach = np.array([[v.mean - v.low for v in values], [v.high - v.mean for v in values]])[:, order]
    axis.errorbar(
        np.array(at)[order],
        means,
        yerr=np.maximum(np.nan_to_num(reach), 0.0),
        color=colour,
        label=label,
        linewidth=width,
        linestyle=style,
        elinewidth=1.2,
        capsize=2.5,
        marker=marker,
        markersize=4,
    )


def _finish(axis: Axes, found: Comparison) -> None:
    """Set ticks, grid and frame of an axis over SNR."""
    axis.set_xticks(sorted(found.snrs_db))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
