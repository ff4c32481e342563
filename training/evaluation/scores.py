"""The scores of estimates, and tables of them for several methods.

A score takes the windows of a mixture at one SNR and returns a value per window; the mean or median summarises them.
SCORES holds all scores by name: the sample-by-sample metrics of objectives.metrics, and those that `register_score`
adds, such as the scores of heart sounds and heart rate at the end of the file.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data.config import HEART_BAND_HZ
from data.filters import bandpass
from data.mixing.mixture import HeldOut
from models.classical import classical_estimates
from objectives.heart import WITHIN_BPM, event_counts, heart_rates_bpm
from objectives.metrics import METRICS, MetricSpec
from objectives.rhythm.windows import usable_values

Values = NDArray[np.float64]
EVENT_TOLERANCE_S = 0.060
# Of scores in dB of windows without noise. Rounding ends at some 140 dB in float32; above 60 dB no difference matters.
CLEAN_LIMIT_DB = 60.0
# Scores in the table of an evaluation.
TABLE_SCORES = (
    "si_sdr_db",
    "snr_improvement_db",
    "prd_percent",
    "cosine_similarity",
    "mad",
    "event_f1",
    "hr_within_5_bpm",
    "hr_error_bpm",
)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of a mixture at one SNR, with their estimates.

    estimate, noisy, clean: float32[window, time].
    reference_bpm: float64[window], heart rate from R peaks; NaN if none are known.
    in_band: whether the signals are already band-passed to the heart's band.
    """

    estimate: NDArray[np.float32]
    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    reference_bpm: Values
    rate_hz: float
    in_band: bool


@dataclass(frozen=True, slots=True)
class Score:
    """A score of estimates.

    values: returns float64, one value for each window that can be scored.
    direction: whether larger or smaller values are better.
    silence_wins: whether an all-zero output beats the noisy input. A study must not choose models by such a score.
    summary: how the values of all windows are summarised.
    needs_noise: whether it says nothing about a window without noise; its value is then unknown.
    """

    values: Callable[[Windows], Values]
    unit: str
    direction: Literal["maximize", "minimize"]
    silence_wins: bool = False
    summary: Literal["mean", "median"] = "mean"
    needs_noise: bool = False

    def sum_up(self, values: Values) -> float:
        """Return the mean or median of the windows' values; NaN if there are none."""
        if not values.size:
            return float("nan")
        return float(np.mean(values) if self.summary == "mean" else np.median(values))


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one method at one SNR, by name.

    snr_db: infinite for the clean windows without noise. Their scores in dB are limited to CLEAN_LIMIT_DB, and a score
        without a meaning there is NaN.
    """

    method: str
    snr_db: float
    scores: Mapping[str, float]


class _Scores(Mapping[str, Score]):
    """Every metric of objectives.metrics as a score, also those that are registered later, and those in OWN_SCORES."""

    def __getitem__(self, name: str) -> Score:
        return OWN_SCORES[name] if name in OWN_SCORES else _metric(METRICS[name])

    def __iter__(self) -> Iterator[str]:
        return iter((*METRICS, *OWN_SCORES))

    def __len__(self) -> int:
        return len(METRICS) + len(OWN_SCORES)


OWN_SCORES: dict[str, Score] = {}
SCORES: Mapping[str, Score] = _Scores()


def register_score(name: str, score: Score) -> None:
    """Add a score to SCORES. For a metric that compares sample by sample use objectives.metrics.register_metric.

    Raises ValueError for a name that is registered already.
    """
    if name in SCORES:
        found = OWN_SCORES[name].values if name in OWN_SCORES else METRICS[name].function
        raise ValueError(f"metric {name!r} is registered already, by {found.__module__}; rename one")
    OWN_SCORES[name] = score


def better(score: Score, value: float, than: float) -> bool:
    """Return whether `value` is better than `than`; NaN never is."""
    return value > than if score.direction == "maximize" else value < than


def windows_at(mixture: HeldOut, estimates: NDArray[np.float32], snr: int) -> Windows:
    """Return the windows of a held-out mixture at one SNR, with their estimates.

    estimates: float32[snr, window, time]. snr: index of the SNR in mixture.snrs_db.
    """
    return Windows(
        estimates[snr],
        mixture.noisy[snr, :, 0],
        mixture.clean,
        mixture.reference_bpm,
        mixture.rate_hz,
        mixture.in_band,
    )


def values_at(name: str, mixture: HeldOut, estimates: NDArray[np.float32], snr: int) -> Values:
    """Return the score `name` of the windows at one SNR that can be scored: float64[window].

    On windows without noise, a score in dB is limited to CLEAN_LIMIT_DB, and NaN stands for a score that needs noise
    and for infinite values whose mean says nothing.

    estimates, snr: as in windows_at.
    """
    score = SCORES[name]
    values = score.values(windows_at(mixture, estimates, snr))
    if math.isfinite(mixture.snrs_db[snr]):
        return values
    if score.needs_noise:
        return np.full_like(values, np.nan)
    if score.unit == "dB":
        return np.clip(values, -CLEAN_LIMIT_DB, CLEAN_LIMIT_DB)
    return values if score.summary == "median" else np.where(np.isinf(values), np.nan, values)


def score_by_snr(name: str, estimates: NDArray[np.float32], mixture: HeldOut) -> dict[str, float]:
    """Return the score `name` at each SNR of the mixture, by the SNR in dB with its sign ("-10", "+5").

    estimates: float32[snr, window, time].
    """
    return {
        f"{snr_db:+g}": SCORES[name].sum_up(values_at(name, mixture, estimates, i))
        for i, snr_db in enumerate(mixture.snrs_db)
    }


def score_rows(
    estimates: Mapping[str, NDArray[np.float32]], mixture: HeldOut, columns: Sequence[str] = TABLE_SCORES
) -> list[Row]:
    """Return a row for each method and SNR.

    estimates: method -> float32[snr, window, time]. columns: names of the scores.
    """
    rows = []
    for method, estimate in estimates.items():
        for i, snr_db in enumerate(mixture.snrs_db):
            scores = {name: SCORES[name].sum_up(values_at(name, mixture, estimate, i)) for name in columns}
            rows.append(Row(method, snr_db, scores))
    return rows


def means_of(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Return the mean of each score over the SNRs for one method, without the clean windows."""
    own = [row.scores for row in rows if row.method == method and math.isfinite(row.snr_db)]
    return {name: float(np.mean([scores[name] for scores in own])) for name in own[0]}


def classical_rows(mixture: HeldOut, band_hz: tuple[float, float] | None) -> dict[str, NDArray[np.float32]]:
    """Return the estimates float32[snr, window, time] of the classical methods, by name.

    band_hz: band of the signals; None takes the heart's band.
    """
    band = band_hz or HEART_BAND_HZ
    return classical_estimates(mixture.noisy, mixture.clean, mixture.noise, mixture.rate_hz, band)


def values_by_window(score: str, mixture: HeldOut, estimates: NDArray[np.float32]) -> Values:
    """Return the score of each window of estimates float32[snr, window, time]: float64[snr, window].

    A window that cannot be scored has NaN. The values of clean windows are those of values_at.
    """
    rows = []
    for i in range(len(mixture.snrs_db)):
        values = values_at(score, mixture, estimates, i)
        if len(values) < len(mixture.clean):  # scores of heart rate leave out windows without a reference
            values = _spread(values, _has_rate(windows_at(mixture, estimates, i)))
        rows.append(values)
    return np.stack(rows)


def _spread(values: Values, at: NDArray[np.bool_]) -> Values:
    """Return an array with `values` where `at` is true and NaN elsewhere."""
    spread = np.full(len(at), np.nan)
    spread[at] = values
    return spread


def _has_rate(windows: Windows) -> NDArray[np.bool_]:
    """Return bool[window]: whether the R peaks or the clean window give a heart rate."""
    own = heart_rates_bpm(in_heart_band(windows.clean, windows), windows.rate_hz)
    return np.isfinite(windows.reference_bpm) | np.isfinite(own)


def heart_rate_errors_bpm(windows: Windows) -> Values:
    """Return |estimated - reference| heart rate in bpm of each window with a reference, float64[window].

    The reference is that of the R peaks if they are known, else the heart rate of the clean window. Windows without
    a reference are left out. The error of an estimate without a heart rate is infinite.
    """
    reference = windows.reference_bpm.copy()
    unknown = np.isnan(reference)
    if unknown.any():
        reference[unknown] = heart_rates_bpm(in_heart_band(windows.clean[unknown], windows), windows.rate_hz)
    known = np.isfinite(reference)
    found = heart_rates_bpm(in_heart_band(windows.estimate[known], windows), windows.rate_hz)
    return np.nan_to_num(np.abs(found - reference[known]), nan=np.inf)


def in_heart_band(signals: NDArray[np.float32], of: Windows | HeldOut) -> NDArray[np.float32]:
    """Return signals float32[..., time] of the windows `of`, band-passed to the heart's band if they are not yet.

    Heart-sound events and heart rates are measured in this band.
    """
    return signals if of.in_band else bandpass(signals, of.rate_hz, *HEART_BAND_HZ)


@cache
def _metric(spec: MetricSpec) -> Score:
    """Return a metric as a score."""

    def values(windows: Windows) -> Values:
        tensors = (torch.tensor(x) for x in (windows.estimate, windows.noisy, windows.clean))
        result: Values = spec.function(*tensors).numpy().astype(np.float64)
        return result

    return Score(values, spec.unit, spec.direction, spec.silence_wins, needs_noise=spec.needs_noise)


def _event_f1(windows: Windows) -> Values:
    estimate, clean = in_heart_band(windows.estimate, windows), in_heart_band(windows.clean, windows)
    return event_counts(estimate, clean, windows.rate_hz, EVENT_TOLERANCE_S).per_window


def _within_5_bpm(windows: Windows) -> Values:
    return (heart_rate_errors_bpm(windows) < WITHIN_BPM).astype(np.float64)


def _usable_time(windows: Windows) -> Values:
    """Return the usable share of each window with a reference, see objectives.rhythm.windows."""
    estimate, clean = in_heart_band(windows.estimate, windows), in_heart_band(windows.clean, windows)
    return usable_values(estimate, clean, windows.rate_hz, windows.reference_bpm)


register_score("event_f1", Score(_event_f1, "", "maximize"))
register_score("hr_within_5_bpm", Score(_within_5_bpm, "", "maximize"))
register_score("hr_error_bpm", Score(heart_rate_errors_bpm, "bpm", "minimize", summary="median"))
register_score("usable_time", Score(_usable_time, "", "maximize"))
