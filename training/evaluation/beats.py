"""The beats of whole recordings in an evaluation: rows, a table for people, and figures of their reliability."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from data.files import atomic
from objectives.rhythm.confidence import Reliability
from objectives.rhythm.decode import SPAN_S
from training.calibration import DEFAULT, Calibration, Evidence
from training.evaluation.figures import COLOURS, GREY, LOOKS, line_look
from training.evaluation.scores import Row
from training.evaluation.showcase import save
from training.evaluation.whole import COLUMNS, IDENTITY, Measured, joined, reliabilities, scores_of
from training.report import shown_snr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "usable_share": "usable time",
    "wrong_share": "of it wrong by more than 5 bpm",
    "beat_f1": "F1 of beats, +-60 ms",
    "calibration_error": "calibration error",
}


@dataclass(frozen=True, slots=True)
class OfMethod:
    """The beats of a trained run: the name of its model, its calibration, and the evidence that they are found by."""

    name: str
    calibration: Calibration
    evidence: Evidence


def with_beats(rows: Sequence[Row], measured: Measured, method: OfMethod) -> list[Row]:
    """Return rows with the columns of training.evaluation.whole.scores_of; NaN for methods that were not measured.

    The probabilities of the noisy signal are those of the decoder itself.
    """
    found = []
    for row in rows:
        is_own = row.method == method.name
        kind = method.evidence if is_own else IDENTITY if row.method == IDENTITY else ""
        cases = measured.by_snr.get(kind, {}).get(row.snr_db)
        own = dict.fromkeys(COLUMNS, float("nan"))
        if cases is not None:
            own = scores_of(cases, method.calibration if is_own else DEFAULT)
        found.append(replace(row, scores={**row.scores, **own}))
    return found


def beats_table(rows: Sequence[Row], method: str) -> Table:
    """Return a table of the beats of whole recordings: a row for each score of `method` and of the noisy signal."""
    snrs_db = [snr_db for snr_db in dict.fromkeys(row.snr_db for row in rows) if math.isfinite(snr_db)]
    table = Table(title=f"beats of whole recordings, heart rates of {SPAN_S:g} s", title_justify="left")
    table.add_column("score")
    table.add_column("method")
    for snr_db in snrs_db:
        table.add_column(f"{shown_snr(snr_db)} dB", justify="right")
    for column, title in TITLES.items():
        for name in dict.fromkeys((IDENTITY, method)):
            values = {row.snr_db: row.scores[column] for row in rows if row.method == name}
            cells = ["-" if np.isnan(values[snr_db]) else f"{values[snr_db]:.2f}" for snr_db in snrs_db]
            table.add_row(title, name, *cells, style="bold" if name == method else "")
    return table


def described_noise(measured: Measured, method: OfMethod) -> str:
    """Return in words how many spans of noise without a heart have a sure heart rate, which is wrong."""
    cases = measured.by_snr.get(method.evidence, {}).get(-np.inf)
    if cases is None:
        return "noise without a heart: none in the recordings"
    n_sure = int((method.calibration.of_spans(cases.span_p) >= method.calibration.threshold).sum())
    return f"noise without a heart: {n_sure} of {cases.span_p.size} spans have a sure heart rate"


def write_beats(rows: Sequence[Row], measured: Measured, method: OfMethod, folder: Path) -> None:
    """Write beats.png (the scores against SNR), reliability.png and reliability.csv to `folder`."""
    reliability = reliabilities(joined(measured.by_snr.get(method.evidence, {}).values()), method.calibration)
    _write_reliability(reliability, folder / "reliability.csv")
    _draw_reliability(reliability, method, folder / "reliability.png")
    _draw_scores(rows, method.name, folder / "beats.png")


def _write_reliability(reliability: Mapping[str, Reliability], path: Path) -> None:
    """Write a CSV with a line for each bin: of, low, high, cases, probability (their mean), share (that is right)."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["of", "low", "high", "cases", "probability", "share"])
        for name, bins in reliability.items():
            for i, n in enumerate(bins.counts.tolist()):
                means = ("" if np.isnan(x) else f"{x:.4f}" for x in (bins.probability[i], bins.share[i]))
                writer.writerow([name, f"{bins.edges[i]:.2f}", f"{bins.edges[i + 1]:.2f}", n, *means])


def _draw_reliability(reliability: Mapping[str, Reliability], method: OfMethod, path: Path) -> None:
    from matplotlib.figure import Figure

    calibration = method.calibration
    figure = Figure(figsize=(10, 5), layout="constrained", dpi=110)
    for axis, (name, bins) in zip(figure.subplots(1, len(reliability)), reliability.items(), strict=True):
        _draw_bins(axis, bins)
        noun = "spans" if name == "heart rates" else "beats"
        error = "" if np.isnan(bins.error) else f", calibration error {bins.error:.3f}"
        axis.set_title(f"{name}: {int(bins.counts.sum())} {noun}{error}", fontsize=10)
        axis.set_xlabel(f"probability; numbers: {noun} in the bin")
        axis.set_ylabel("share that is right")
        if name == "heart rates" and np.isfinite(calibration.threshold):
            axis.axvline(calibration.threshold, color=GREY, linestyle=":", label="sure from here on")
            axis.legend(framealpha=0.8, fontsize=8, loc="center left")
    words = "calibrated" if calibration.fitted_on is not None else "not calibrated"
    figure.suptitle(f"{method.name}: whole recordings, all SNRs and noise without a heart, {words}", fontsize=11)
    save(figure, path)


def _draw_bins(axis: "Axes", bins: Reliability) -> None:
    """Draw the share that is right against the probability, a bar and a number of cases for each bin."""
    used = bins.counts > 0
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    middles = (bins.edges[:-1] + bins.edges[1:]) / 2
    axis.bar(middles[used], bins.share[used], 0.9 / used.size, color=COLOURS["estimate"], alpha=0.25)
    axis.plot(bins.probability[used], bins.share[used], "o-", color=COLOURS["estimate"], markersize=4, linewidth=1)
    for middle, n in zip(middles[used].tolist(), bins.counts[used].tolist(), strict=True):
        axis.text(middle, 1.02, str(n), ha="center", fontsize=7)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.08)
    axis.grid(alpha=0.25)


def _draw_scores(rows: Sequence[Row], method: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained", dpi=110)
    rows = [row for row in rows if math.isfinite(row.snr_db)]
    snrs_db = sorted({row.snr_db for row in rows})
    for axis, (column, title) in zip(figure.subplots(2, 2, sharex=True).flat, TITLES.items(), strict=True):
        for name in dict.fromkeys((IDENTITY, method)):
            own = sorted((row.snr_db, row.scores[column]) for row in rows if row.method == name)
            look = line_look(0) if name == method else LOOKS[IDENTITY].in_matplotlib
            axis.plot(*zip(*own, strict=True), label=name, **look)
        axis.set_ylabel(title)
        axis.set_xlabel("SNR of the mixture in dB (25-55 Hz)")
        axis.grid(alpha=0.25)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xticks(snrs_db, [shown_snr(snr_db) for snr_db in snrs_db])
    figure.axes[0].legend(frameon=False, fontsize=9)
    save(figure, path)
