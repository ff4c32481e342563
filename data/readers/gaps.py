"""Cut out or fill samples that are missing: NaN or infinite."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.contents import Contents
from data.recording import Gaps, Signal, check_finite

# The largest share of a recording, and of its ECG, that may be missing.
MAX_MISSING = 0.1
EXACT = 1e-6  # of a sample: positions may be less by rounding
HELP = f"at most {100 * MAX_MISSING:g} % may be cut or filled; cut the recording there, or repair it"


def without_gaps(contents: Contents, rate_hz: float, rule: str, *, asked: bool, where: Path) -> Contents:
    """Return contents without missing samples.

    rate_hz: of the signals.
    rule: "cut" takes the samples at which any channel has a gap out of all channels and the ECG, moves the R peaks
        accordingly and joins the rest; "fill" draws a straight line across each gap; "refuse" raises an error.
    asked: whether the caller named the channels. Otherwise channels after the first are left out if more than a tenth
        of their samples is missing.

    An ECG is filled in both cases, and left out if more than a tenth of it is missing.

    Raises DataError if more than a tenth of the samples is missing, or any with "refuse".
    """
    if rule not in get_args(Gaps):
        raise DataError(f"{where}: gaps={rule!r}; one of {', '.join(get_args(Gaps))} is needed")
    if rule == "refuse":
        for name, row in zip(contents.channels, contents.signals, strict=True):
            check_finite(row, f"{where}: channel {name}")
        if contents.ecg is not None:
            check_finite(contents.ecg, f"{where}: ECG")
        return contents
    missing = ~np.isfinite(contents.signals)
    if missing.any():
        contents, missing = (contents, missing) if asked else _without_broken(contents, missing)
    if missing.any():
        gaps: NDArray[np.bool_] = np.asarray(missing.any(axis=0))
        _check_share(gaps, missing, contents, where)
        if rule == "cut":
            contents = _cut(contents, gaps, rate_hz)
        else:
            contents = replace(contents, signals=np.stack([_filled(row) for row in contents.signals]))
        done = "cut out, and the rest joined" if rule == "cut" else "filled by straight lines"
        contents = replace(contents, notes=(*contents.notes, f"{_shown(gaps, rate_hz)} {done}"))
    return _with_whole_ecg(contents)


def _without_broken(contents: Contents, missing: NDArray[np.bool_]) -> tuple[Contents, NDArray[np.bool_]]:
    """Return the contents and `missing` without the channels after the first that miss too many samples."""
    shares = missing.mean(axis=1)
    kept = [i for i, share in enumerate(shares) if i == 0 or share <= MAX_MISSING]
    notes = [
        f"channel {name} is left out: {100 * share:.3g} % of its samples are missing"
        for i, (name, share) in enumerate(zip(contents.channels, shares, strict=True))
        if i not in kept
    ]
    names = tuple(contents.channels[i] for i in kept)
    return (
        replace(contents, signals=contents.signals[kept], channels=names, notes=(*contents.notes, *notes)),
        missing[kept],
    )


def _check_share(gaps: NDArray[np.bool_], missing: NDArray[np.bool_], contents: Contents, where: Path) -> None:
    """Raise DataError if too many samples are missing in any channel."""
    if gaps.mean() <= MAX_MISSING:
        return
    worst = int(missing.sum(axis=1).argmax())
    first = int(np.flatnonzero(missing[worst])[0])
    raise DataError(
        f"{where}: channel {contents.channels[worst]}: {int(missing[worst].sum())} of {gaps.size} samples are NaN or "
        f"infinite, the first at {first}; {HELP}"
    )


def _cut(contents: Contents, gaps: NDArray[np.bool_], rate_hz: float) -> Contents:
    ecg, peaks_s = contents.ecg, contents.r_peaks_s
    if ecg is not None:
        ecg = _cut_beside(ecg, gaps, rate_hz, contents.ecg_rate_hz or rate_hz)
    if peaks_s is not None:
        peaks_s = peaks_s[~_at(gaps, peaks_s * rate_hz)]
        cut_before = np.concatenate([[0], np.cumsum(gaps)])
        peaks_s = peaks_s - cut_before[np.clip((peaks_s * rate_hz).astype(np.int64), 0, gaps.size)] / rate_hz
    return replace(contents, signals=np.ascontiguousarray(contents.signals[:, ~gaps]), ecg=ecg, r_peaks_s=peaks_s)


def _cut_beside(ecg: Signal, gaps: NDArray[np.bool_], rate_hz: float, ecg_rate_hz: float) -> Signal:
    """Return an ECG without the stretches of time that are cut out of the signals.

    At another rate than theirs, what is left is interpolated by straight lines to even times: a stretch need not be
    that of a whole number of its samples.
    """
    at = np.arange(ecg.size) * (rate_hz / ecg_rate_hz)  # in samples of the joined signals
    lost = np.concatenate([gaps, np.zeros(int(at[-1]) + 1, bool)])  # nothing is cut beyond the end of the signals
    if ecg_rate_hz == rate_hz:
        return np.ascontiguousarray(ecg[~lost[: ecg.size]])
    whole = np.floor(at + EXACT).astype(np.int64)
    before = (np.flatnonzero(~lost)[whole] + at - whole) * (ecg_rate_hz / rate_hz)  # in samples of the ECG
    left = before[before <= ecg.size - 1 + EXACT]
    return np.asarray(np.interp(left, np.arange(ecg.size), ecg), np.float32)


def _at(gaps: NDArray[np.bool_], positions: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether each position, in samples, lies in a gap; outside the recording there is none."""
    indices = np.floor(positions + EXACT).astype(np.int64)
    inside = (indices >= 0) & (indices < gaps.size)
    return np.asarray(inside & gaps[np.clip(indices, 0, gaps.size - 1)], np.bool_)


def _filled(row: Signal) -> Signal:
    known = np.isfinite(row)
    if known.all():
        return row
    at = np.arange(row.size)
    return np.interp(at, at[known], row[known]).astype(np.float32)


def _shown(gaps: NDArray[np.bool_], rate_hz: float) -> str:
    n_gaps = int(np.count_nonzero(np.diff(gaps.astype(np.int8), prepend=0) == 1))
    lost_s = float(gaps.sum()) / rate_hz
    return f"{n_gaps} {'gap' if n_gaps == 1 else 'gaps'} of {lost_s:.3g} s in all ({100 * gaps.mean():.3g} %)"


def _with_whole_ecg(contents: Contents) -> Contents:
    if contents.ecg is None or np.isfinite(contents.ecg).all():
        return contents
    share = 1.0 - float(np.isfinite(contents.ecg).mean())
    if share > MAX_MISSING:
        note = f"the ECG is left out: {100 * share:.3g} % of its samples are missing"
        return replace(contents, ecg=None, ecg_rate_hz=None, notes=(*contents.notes, note))
    note = f"gaps of the ECG ({100 * share:.3g} %) are filled by straight lines"
    return replace(contents, ecg=_filled(contents.ecg), notes=(*contents.notes, note))
