"""Every score by one shape: windows at one SNR in, one value per window out, and how they are summed up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data.corpus import HEART_BAND_HZ
from data.filters import bandpass
from data.mixing.mixture import HeldOut
from models.classical import classical_estimates
from objectives.heart import WITHIN_BPM, event_counts, heart_rates_bpm
from objectives.metrics import METRICS, MetricSpec

Values = NDArray[np.float64]
EVENT_TOLERANCE_S = 0.060


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """estimate, noisy, clean: float32[window, time]; reference_bpm[window]: NaN where no R peaks are known.

    in_band: the three are band-passed to the heart's band already.
    """

    estimate: NDArray[np.float32]
    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    reference_bpm: Values
    rate_hz: float
    in_band: bool


@dataclass(frozen=True, slots=True)
class Score:
    """values: one number per window that can be judged. summary: "mean" or "median" over them.

    silence_wins: an all-zero output beats the noisy input, so a study must not choose by it (DESIGN, idea 4).
    """

    values: Callable[[Windows], Values]
    unit: str
    direction: Literal["maximize", "minimize"]
    silence_wins: bool = False
    summary: Literal["mean", "median"] = "mean"

    def sum_up(self, values: Values) -> float:
        """One number for all windows; NaN where there is none to judge by."""
        if not values.size:
            return float("nan")
        return float(np.mean(values) if self.summary == "mean" else np.median(values))


def better(score: Score, value: float, than: float) -> bool:
    """Whether `value` beats `than`; a value that is not a number beats nothing."""
    return value > than if score.direction == "maximize" else value < than


def windows_at(mixture: HeldOut, estimates: NDArray[np.float32], snr: int) -> Windows:
    """The windows of a held-out mixture at its SNR number `snr`, with estimates float32[snr, window, time]."""
    return Windows(
        estimates[snr],
        mixture.noisy[snr, :, 0],
        mixture.clean,
        mixture.reference_bpm,
        mixture.rate_hz,
        mixture.in_band,
    )


def score_by_snr(name: str, estimates: NDArray[np.float32], mixture: HeldOut) -> dict[str, float]:
    """SNR (as "-10", "+5") -> score `name`, over the windows of the mixture at that SNR."""
    score = SCORES[name]
    return {
        f"{snr_db:+g}": score.sum_up(score.values(windows_at(mixture, estimates, i)))
        for i, snr_db in enumerate(mixture.snrs_db)
    }


def _metric(spec: MetricSpec) -> Score:
    def values(windows: Windows) -> Values:
        tensors = (torch.tensor(x) for x in (windows.estimate, windows.noisy, windows.clean))
        result: Values = spec.function(*tensors).numpy().astype(np.float64)
        return result

    return Score(values, spec.unit, spec.direction, spec.silence_wins)


def _event_f1(windows: Windows) -> Values:
    estimate, clean = heard(windows.estimate, windows), heard(windows.clean, windows)
    return event_counts(estimate, clean, windows.rate_hz, EVENT_TOLERANCE_S).per_window


def heart_rate_errors_bpm(windows: Windows) -> Values:
    """|estimated - reference| heart rate; the reference is the clean window's own where no R peaks are known.

    An estimate without a heart rate is infinitely wrong. Windows without any reference are left out.
    """
    reference = windows.reference_bpm.copy()
    unknown = np.isnan(reference)
    if unknown.any():
        reference[unknown] = heart_rates_bpm(heard(windows.clean[unknown], windows), windows.rate_hz)
    known = np.isfinite(reference)
    found = heart_rates_bpm(heard(windows.estimate[known], windows), windows.rate_hz)
    return np.nan_to_num(np.abs(found - reference[known]), nan=np.inf)


def _within_5_bpm(windows: Windows) -> Values:
    return (heart_rate_errors_bpm(windows) < WITHIN_BPM).astype(np.float64)


def heard(signals: NDArray[np.float32], of: Windows | HeldOut) -> NDArray[np.float32]:
    """`signals` float32[..., time] of some windows in the heart's band: what events and heart rates are read from."""
    return signals if of.in_band else bandpass(signals, of.rate_hz, *HEART_BAND_HZ)


SCORES: dict[str, Score] = {name: _metric(spec) for name, spec in METRICS.items()} | {
    "event_f1": Score(_event_f1, "", "maximize"),
    "hr_within_5_bpm": Score(_within_5_bpm, "", "maximize"),
    "hr_error_bpm": Score(heart_rate_errors_bpm, "bpm", "minimize", summary="median"),
}


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


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one SNR: score name -> value."""

    method: str
    snr_db: float
    scores: Mapping[str, float]


def classical_rows(mixture: HeldOut, band_hz: tuple[float, float] | None) -> dict[str, NDArray[np.float32]]:
    """Classical method -> its estimates float32[snr, window, time]."""
    band = band_hz or HEART_BAND_HZ
    return classical_estimates(mixture.noisy, mixture.clean, mixture.noise, mixture.rate_hz, band)


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
