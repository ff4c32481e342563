"""Values and SNRs of a score for people, CSV and JSON; those of clean windows are limited, unknown or infinite."""

import math

from training.evaluation.intervals import Interval
from training.evaluation.scores import CLEAN_LIMIT_DB, SCORES


def shown_score(name: str, snr_db: float | None, value: float, digits: int) -> str:
    """Return a value of the score `name` for people: "> 60" at the limit of clean windows, "" if it is unknown there.

    snr_db: None for the mean over the SNRs.
    """
    if snr_db == math.inf and math.isnan(value):
        return ""
    is_limit = snr_db == math.inf and SCORES[name].unit == "dB" and value >= CLEAN_LIMIT_DB
    return f"> {CLEAN_LIMIT_DB:g}" if is_limit else f"{value:.{digits}f}"


def shown_value(name: str, snr_db: float | None, value: Interval, digits: int) -> tuple[str, str]:
    """Return a mean of the score `name` and its interval for people; "" for no interval.

    Clean windows that are all at the limit or at the floor have no interval.
    """
    if snr_db != math.inf:
        return value.mean_text(digits), value.ends_text(digits)
    ends = "" if value.low == value.high else value.ends_text(digits)
    return shown_score(name, snr_db, value.mean, digits), ends


def csv_numbers(*values: float, snr_db: float | None) -> list[str]:
    """Return a score, or its mean and interval, for a CSV file: empty if all are unknown on clean windows.

    snr_db: None for the mean over the SNRs.
    """
    is_empty = snr_db == math.inf and all(map(math.isnan, values))
    return ["" if is_empty else f"{value:.4f}" for value in values]


def plain_snr(snr_db: float) -> float | str:
    """Return an SNR for JSON, which has no infinity: "inf" for clean windows. float() reads both."""
    return "inf" if snr_db == math.inf else snr_db
