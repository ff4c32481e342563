"""Find R peaks in an ECG, and compute the heart rate from R peaks."""

import io
import warnings
from contextlib import redirect_stdout

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from data.filters import resample
from data.recording import Recording, Signal

DETECTION_RATE_HZ = 250.0  # QRS energy lies below 40 Hz; the detector was tuned at 250 and 360 Hz
SEARCH_S = 0.06  # a QRS complex is about 100 ms wide
MIN_DURATION_S = 2.0
# Heart rate of an adult, at rest or not. Fewer beats than the lowest rate means that beats were missed.
RATES_BPM = (30.0, 220.0)
# Intervals that differ from the median of their neighbourhood by more than JUMP. Ectopic beats make some and atrial
# fibrillation more; beyond MAX_JUMPS of all intervals the peaks are not those of a heart.
JUMP = 0.3
MAX_JUMPS = 0.25
NEIGHBOURS = 5


def r_peaks(ecg: Signal, rate_hz: float) -> NDArray[np.float64]:
    """Return the times of the R peaks in seconds, float64[beat], ascending.

    The detector is XQRS of the wfdb package (Pan-Tompkins-like: band-pass, moving wave integration, adaptive
    thresholds). It runs at 250 Hz on the ECG with its R peaks made positive and scaled to its height. Each peak is then
    moved to the largest sample within 60 ms and refined by a parabola. A flat ECG, or one shorter than 2 s, has no
    peaks.

    ecg: float32[time].
    """
    if ecg.size < MIN_DURATION_S * rate_hz or not np.isfinite(ecg).all():
        return np.empty(0)
    samples = resample(ecg - np.median(ecg), rate_hz, DETECTION_RATE_HZ).astype(np.float64)
    upright = scipy.signal.sosfiltfilt(
        scipy.signal.butter(2, (5.0, 40.0), "bandpass", fs=DETECTION_RATE_HZ, output="sos"), samples
    )
    height = float(np.percentile(np.abs(upright), 99))
    if height <= 1e-9 * float(np.abs(ecg).max(initial=1e-30)):
        return np.empty(0)
    upright *= np.sign(float(np.mean(upright**3)) or 1.0) / height
    return _refined(_xqrs(upright, DETECTION_RATE_HZ), upright) / DETECTION_RATE_HZ


def heart_rate_bpm(r_peaks_s: NDArray[np.float64]) -> float:
    """Return the heart rate in beats per minute, from the median interval of the R peaks; NaN for fewer than three."""
    if r_peaks_s.size < 3:
        return float("nan")
    return float(60.0 / np.median(np.diff(np.sort(r_peaks_s))))


def problem_of(r_peaks_s: NDArray[np.float64], duration_s: float) -> str:
    """Return why R peaks cannot be the reference of a heart rate; "" if they can.

    r_peaks_s: of a recording of `duration_s` seconds.
    """
    n_beats = r_peaks_s.size
    if n_beats < max(3.0, duration_s * RATES_BPM[0] / 60.0):
        return f"{n_beats} {'beat' if n_beats == 1 else 'beats'} in {duration_s:.0f} s"
    bpm = heart_rate_bpm(r_peaks_s)
    if bpm > RATES_BPM[1]:
        return f"{bpm:.0f} bpm"
    intervals_s = np.diff(np.sort(r_peaks_s))
    around_s = median_filter(intervals_s, NEIGHBOURS, mode="nearest")
    jumps = float(np.mean(np.abs(intervals_s - around_s) > JUMP * around_s))
    return f"its rate jumps at {100 * jumps:.0f} % of the beats" if jumps > MAX_JUMPS else ""


def beats(recording: Recording) -> NDArray[np.float64] | None:
    """Return the times of the R peaks in seconds: the annotated peaks, else those found in the ECG, else None."""
    if recording.r_peaks_s is not None:
        return recording.r_peaks_s
    if recording.ecg is None or recording.ecg_rate_hz is None:
        return None
    return r_peaks(recording.ecg, recording.ecg_rate_hz)


def _xqrs(ecg: NDArray[np.float64], rate_hz: float) -> NDArray[np.int64]:
    """Return the sample indices of the R peaks that XQRS finds."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from wfdb import processing  # slow to import, and it warns about pandas

        try:
            found = processing.xqrs_detect(ecg, rate_hz, verbose=False)
        except (ValueError, IndexError, ZeroDivisionError):  # raised if it finds no peak to learn from
            found = []
    return np.asarray(found, np.int64)


def _refined(peaks: NDArray[np.int64], ecg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the positions of the maxima near `peaks` in samples, refined by a parabola, each once."""
    reach = round(SEARCH_S * DETECTION_RATE_HZ)
    tops = []
    for peak in peaks:
        start = max(int(peak) - reach, 0)
        top = start + int(np.argmax(ecg[start : int(peak) + reach + 1]))
        shift = 0.0
        if 0 < top < ecg.size - 1:
            before, here, after = ecg[top - 1 : top + 2]
            bend = before - 2 * here + after
            shift = 0.0 if bend >= 0 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
        tops.append(top + shift)
    return np.unique(np.asarray(tops, np.float64))
