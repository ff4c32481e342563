"""How good a trained run is: a table against the classical rows, pictures and sounds."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.corpus import HEART_BAND_HZ
from data.files import atomic
from data.mixing.mixture import HeldOut
from models.classical import CLASSICAL, ClassicalInput
from training.evaluation.scores import SCORES, heard, windows_at
from training.evaluation.showcase import draw_scores, draw_window, write_sound
from training.report import shown_snr

COLUMNS = (
    "si_sdr_db",
    "snr_improvement_db",
    "prd_percent",
    "cosine_similarity",
    "mad",
    "event_f1",
    "hr_within_5_bpm",
    "hr_error_bpm",
)
SHOWN_SNR_DB = -5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one SNR: score name -> value."""

    method: str
    snr_db: float
    scores: Mapping[str, float]


def classical_rows(mixture: HeldOut, band_hz: tuple[float, float] | None) -> dict[str, NDArray[np.float32]]:
    """Classical method -> its estimates float32[snr, window, time]."""
    band = band_hz or HEART_BAND_HZ
    return {
        name: np.stack(
            [
                method(ClassicalInput(mixture.noisy[i], mixture.rate_hz, band, mixture.clean, mixture.noise[i]))
                for i in range(len(mixture.snrs_db))
            ]
        )
        for name, method in CLASSICAL.items()
    }


def score_rows(
    estimates: Mapping[str, NDArray[np.float32]], mixture: HeldOut, columns: Sequence[str] = COLUMNS
) -> list[Row]:
    """A row for each method and SNR."""
    rows = []
    for method, estimate in estimates.items():
        for i, snr_db in enumerate(mixture.snrs_db):
            windows = windows_at(mixture, estimate, i)
            scores = {name: SCORES[name].sum_up(SCORES[name].values(windows)) for name in columns}
            rows.append(Row(method, snr_db, scores))
    return rows


def mean_by_method(rows: Sequence[Row], score: str) -> dict[str, float]:
    """Method -> `score`, mean over the SNRs."""
    methods = dict.fromkeys(row.method for row in rows)
    return {m: float(np.mean([row.scores[score] for row in rows if row.method == m])) for m in methods}


def write_table(rows: Sequence[Row], path: Path) -> None:
    """The rows as CSV: method, snr_db, then one column a score."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = list(rows[0].scores)
        writer.writerow(["method", "snr_db", *names])
        for row in rows:
            writer.writerow([row.method, f"{row.snr_db:g}", *(f"{row.scores[name]:.4f}" for name in names)])


def write_score_figure(rows: Sequence[Row], score: str, highlight: str, path: Path) -> None:
    """`score` against SNR, a line for each method; zeros are left out where they would flatten the rest."""
    snrs_db = list(dict.fromkeys(row.snr_db for row in rows))
    lines = {
        method: [row.scores[score] for row in rows if row.method == method]
        for method in dict.fromkeys(row.method for row in rows)
        if method != "zeros"
    }
    unit = SCORES[score].unit
    draw_scores(lines, snrs_db, f"{score}{f' in {unit}' if unit else ''}", path, highlight)


def typical_window(mixture: HeldOut, estimates: NDArray[np.float32]) -> tuple[int, int]:
    """(snr, window): the SNR nearest to -5 dB and the window whose SI-SDR is the median one: neither best nor worst."""
    snr = int(np.argmin(np.abs(np.asarray(mixture.snrs_db) - SHOWN_SNR_DB)))
    values = SCORES["si_sdr_db"].values(windows_at(mixture, estimates, snr))
    return snr, int(np.argsort(values)[len(values) // 2])


def write_showcase(mixture: HeldOut, estimates: NDArray[np.float32], title: str, folder: Path) -> list[Path]:
    """A typical window in the heart's band as picture and as three sounds; the files written."""
    snr, window = typical_window(mixture, estimates)
    traces = np.stack([mixture.noisy[snr, window, 0], mixture.clean[window], estimates[snr, window]])
    noisy, clean, estimate = heard(traces, mixture)
    score = float(SCORES["si_sdr_db"].values(windows_at(mixture, estimates, snr))[window])
    picture = folder / "window.png"
    caption = f"{title}: mixture at {shown_snr(mixture.snrs_db[snr])} dB, estimate at {score:+.1f} dB SI-SDR"
    draw_window(noisy, clean, estimate, mixture.rate_hz, caption, picture)
    paths = [picture]
    for name, signal in (("noisy", noisy), ("clean", clean), ("estimate", estimate)):
        write_sound(signal, mixture.rate_hz, folder / f"{name}.wav")
        paths.append(folder / f"{name}.wav")
    return paths
