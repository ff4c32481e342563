"""How much of short windows can be used: a score by which a search chooses models."""

import numpy as np
from numpy.typing import NDArray

from objectives.heart import SILENCE_SHARE, WITHIN_BPM, heart_rates_bpm
from objectives.rhythm.decode import RateSpan, decode
from objectives.rhythm.durations import Floats
from objectives.rhythm.frames import FRAME_HZ, envelope_evidence

# Probability of the decoder from which on the heart rate of a span is sure.
THRESHOLD = 0.9
# A sure span that is wrong costs as much as so many that are right bring. So at a share of 1 / 11 that is wrong nothing
# is left, and a model that is sure of twice as much does not win if 5 % of it becomes wrong.
WRONG_COST = 10.0


def usable_values(
    estimates: NDArray[np.floating], cleans: NDArray[np.floating], rate_hz: float, reference_bpm: Floats
) -> Floats:
    """Return the usable share of each window of estimates[window, time], float64[window] in [-WRONG_COST, 1].

    A window has spans of 10 s, the last as long as is left; a shorter window is one span. A span counts 1 if its heart
    rate is sure and right within 5 bpm, -WRONG_COST if it is sure and wrong, and 0 if it is not sure; by its duration.
    The rate and its probability are those of the decoder, by the envelope of the window alone. A window that is silent
    (below 1e-6 of the clean RMS) or not finite is wrong throughout, so that no model gains by it.

    cleans: [window, time]. reference_bpm: float64[window], of R peaks; NaN takes the rate of the clean span, or of the
    clean window where the span does not tell. Windows without any of these are left out of the result.

    Both signals are in the heart's band. Raises ValueError as objectives.heart.envelope does.
    """
    whole_bpm = heart_rates_bpm(cleans, rate_hz)
    values = []
    for estimate, clean, stated_bpm, clean_bpm in zip(estimates, cleans, reference_bpm, whole_bpm, strict=True):
        if np.isnan(stated_bpm) and np.isnan(clean_bpm):
            continue
        if not _is_heard(estimate, clean):
            values.append(-WRONG_COST)
            continue
        spans = decode(envelope_evidence(estimate, rate_hz), FRAME_HZ).spans
        known = [_rate_bpm(clean, rate_hz, span, clean_bpm) if np.isnan(stated_bpm) else stated_bpm for span in spans]
        gains = [_gain(span, rate_bpm) for span, rate_bpm in zip(spans, known, strict=True)]
        durations_s = [span.end_s - span.start_s for span in spans]
        values.append(float(np.average(gains, weights=durations_s)))
    return np.array(values, dtype=np.float64)


def _is_heard(estimate: NDArray[np.floating], clean: NDArray[np.floating]) -> bool:
    level, clean_level = (float(np.linalg.norm(signal.astype(np.float64))) for signal in (estimate, clean))
    return bool(np.isfinite(level)) and level > SILENCE_SHARE * clean_level


def _rate_bpm(clean: NDArray[np.floating], rate_hz: float, span: RateSpan, whole_bpm: float) -> float:
    """Return the heart rate of a span of a clean window [time]; whole_bpm where the span does not tell."""
    part = clean[round(span.start_s * rate_hz) : round(span.end_s * rate_hz)]
    own_bpm = float(heart_rates_bpm(part[None], rate_hz)[0]) if part.size > 1 else np.nan
    return own_bpm if np.isfinite(own_bpm) else float(whole_bpm)


def _gain(span: RateSpan, rate_bpm: float) -> float:
    if span.probability < THRESHOLD:
        return 0.0
    return 1.0 if abs(span.rate_bpm - rate_bpm) < WITHIN_BPM else -WRONG_COST
