"""Evidence of S1 and S2 in frames: from an envelope without a network, from a network's posteriors, and for training.

The envelope tells sounds from what is between them, not S1 from S2: loudness differs with the seat and the person. The
decoder tells these two apart by their durations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.heart import envelope
from objectives.rhythm.decode import Rhythm, decode, refined
from objectives.rhythm.durations import SOUND_CUT, Floats, RhythmPrior

FRAME_HZ = 125.0
# Share of frames within a sound: two of 65 ms in a cycle of 0.8 s.
SOUND_SHARE = 0.16
# The level is the mean over LEVEL_S: two beats at 40 bpm. The model is fitted to every WINDOW_S, half overlapping, as
# the noise changes with the road.
LEVEL_S = 3.0
WINDOW_S = 20.0
N_ROUNDS = 30
# The square root of the envelope of noise is nearly normal, and the logarithm of that of sounds, whose loudness differs
# from beat to beat. Between them lies the fourth root.
POWER = 0.25
# Smallest and largest envelope over its level. A fade says no more than this, nor does a bump.
SWING = (0.08, 4.5)
# Least SD of the root.
LEAST_SD = 0.02
# Independent values a second of the low-passed envelope. With 36, the probabilities of beats in generated recordings at
# 0 and -5 dB are right.
INDEPENDENT_HZ = 36.0
LEAST_PROBABILITY = 1e-6

# Times after the R peak in s, measured on paired recordings: S1, typically 45-65 ms, and half the range of S2.
S1_AFTER_R_S = (0.035, 0.078)
R_TO_S1_S = 0.055
S2_RANGE_S = 0.047
# Least peak of a sound over the median envelope of its cycle.
LEAST_HEIGHT = 1.5
# Probability from which on a beat is a label, and least share of a sound at its frame that it was heard.
SURE = 0.9
HEARD = 0.5
# Distance from a beat to the peak of its envelope.
PEAK_NEAR_S = 0.03
# A cycle that lasts longer than this many periods of the lowest rate is a gap.
LONGEST_PERIODS = 1.5


def envelope_evidence(signal: NDArray[np.floating], rate_hz: float, frame_hz: float = FRAME_HZ) -> Floats:
    """Return log-likelihoods of S1, S2 and none in each frame of signal[time] in 25-55 Hz: float64[frame, 3].

    The fourth root of the envelope over its local level is normal, with one mean between the sounds, a higher one in
    them, and one SD. The three are fitted to every 20 s by expectation maximisation, with sounds in 16 % of the frames.
    S1 and S2 are alike, and none is 0. Neighbouring frames repeat each other, so the log-likelihoods are divided by the
    number of frames to an independent value. A silent signal has no evidence.

    Raises ValueError as objectives.heart.envelope does, and for a signal that is not [time].
    """
    return _evidence(_swing(signal, rate_hz, frame_hz), frame_hz)


def _swing(signal: NDArray[np.floating], rate_hz: float, frame_hz: float) -> Floats:
    """Return the envelope of signal[time] at the starts of frames, float64[frame]."""
    if signal.ndim != 1:
        raise ValueError(f"signal has shape {signal.shape}; [time] is needed")
    return in_frames(envelope(signal[None], rate_hz)[0], rate_hz, frame_hz)


def _evidence(swing: Floats, frame_hz: float) -> Floats:
    evidence = np.zeros((swing.size, 3))
    if swing.max(initial=0.0) <= 0:
        return evidence
    root = _root(swing, frame_hz)
    slope, offset = _fitted(root, frame_hz)
    evidence[:, :2] = (slope * root + offset)[:, None] * min(1.0, INDEPENDENT_HZ / frame_hz)
    return evidence


def in_frames(swing: Floats, rate_hz: float, frame_hz: float) -> Floats:
    """Return an envelope [time] at the starts of frames, float64[frame]. A low-passed envelope needs no more."""
    n_frames = int((swing.size - 1) * frame_hz / rate_hz) + 1
    return np.asarray(
        np.interp(np.arange(n_frames) / frame_hz, np.arange(swing.size) / rate_hz, swing), dtype=np.float64
    )


def _root(swing: Floats, frame_hz: float) -> Floats:
    """Return the root of an envelope [frame] over its local mean, within limits; the lower limit where it is silent."""
    n_half = max(1, round(LEVEL_S * frame_hz / 2))
    sums = np.cumsum(np.append(0.0, swing))
    first = np.maximum(np.arange(swing.size) - n_half, 0)
    last = np.minimum(np.arange(swing.size) + n_half + 1, swing.size)
    level = (sums[last] - sums[first]) / (last - first)
    # A part that is silent beside the loudest has rounding errors only.
    relative = np.where(level > 1e-6 * swing.max(), swing / np.maximum(level, 1e-300), SWING[0])
    return np.asarray(np.clip(relative, *SWING) ** POWER, dtype=np.float64)


def _fitted(x: Floats, frame_hz: float) -> tuple[Floats, Floats]:
    """Return slope and offset of the log-likelihood ratio of a sound against none at each frame of x[frame]."""
    n = min(x.size, round(WINDOW_S * frame_hz))
    starts = np.unique(np.append(np.arange(0, x.size - n + 1, max(1, n // 2)), x.size - n))
    windows = np.lib.stride_tricks.sliding_window_view(x, n)[starts]
    low, high = np.quantile(windows, [0.4, 0.95], axis=1)
    variance = np.maximum(windows.var(axis=1) / 4, LEAST_SD**2)
    for _ in range(N_ROUNDS):
        slope, offset = _discriminant(low, high, variance)
        odds = slope[:, None] * windows + offset[:, None] + np.log(SOUND_SHARE / (1 - SOUND_SHARE))
        inside = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
        weight = np.maximum(inside.sum(axis=1), 1e-9), np.maximum((1 - inside).sum(axis=1), 1e-9)
        high, low = (inside * windows).sum(axis=1) / weight[0], ((1 - inside) * windows).sum(axis=1) / weight[1]
        spread = inside * (windows - high[:, None]) ** 2 + (1 - inside) * (windows - low[:, None]) ** 2
        variance = np.maximum(spread.mean(axis=1), LEAST_SD**2)
    middles, at = starts + (n - 1) / 2, np.arange(x.size)
    slope, offset = (np.interp(at, middles, values) for values in _discriminant(low, high, variance))
    return slope, offset


def _discriminant(low: Floats, high: Floats, variance: Floats) -> tuple[Floats, Floats]:
    slope = np.maximum(high - low, 0.0) / variance
    return slope, -slope * (high + low) / 2


def posterior_evidence(probabilities: NDArray[np.floating], shares: NDArray[np.floating]) -> Floats:
    """Return log-likelihoods, float64[frame, 3], of a network's probabilities [frame, 3] of S1, S2 and none.

    shares: float[3], of the classes in its training targets. A network learns them; a likelihood is without them.

    Raises ValueError for other shapes, numbers outside [0, 1], or shares that are not positive.
    """
    p, q = np.asarray(probabilities, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != 3 or q.shape != (3,):
        raise ValueError(f"probabilities have shape {p.shape} and shares {q.shape}; [frame, 3] and [3] are needed")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities are outside [0, 1] or not finite")
    if not ((q > 0) & (q < 1)).all():
        raise ValueError(f"shares are {q.tolist()}; numbers between 0 and 1 are needed")
    return np.asarray(np.log(np.maximum(p, LEAST_PROBABILITY) / q), dtype=np.float64)


def targets(
    clean: NDArray[np.floating],
    rate_hz: float,
    frame_hz: float,
    r_peaks_s: NDArray[np.floating] | None = None,
    prior: RhythmPrior | None = None,
) -> NDArray[np.float32]:
    """Return training targets of a clean signal [time] in 25-55 Hz: float32[frame, 3], shares of S1, S2 and neither.

    A sound is a bell of SD prior.sound_sd_s about its peak in the envelope, as the decoder expects it. Rows have the
    sum 1, or are NaN where it is not known: leave them out of a loss.

    r_peaks_s: times of R peaks in s. S1 is the highest point 35-78 ms after R, S2 that 47 ms about the expected end of
        systole (282-376 ms after R at rest). None: the sounds are those that the decoder finds in the clean signal;
        rows are known between two beats that it is sure of (probability 0.9), and where no rhythm is unlikely.

    Raises ValueError as `envelope_evidence` does, and for R peaks that are not ascending and finite.
    """
    prior = prior or RhythmPrior()
    swing = _swing(clean, rate_hz, frame_hz)
    if r_peaks_s is None:
        labels = _by_sound(decode(_evidence(swing, frame_hz), frame_hz, prior, n_paths=1), swing, frame_hz, prior)
    else:
        labels = _by_ecg(np.asarray(r_peaks_s, dtype=np.float64), swing, frame_hz, prior)
    return _drawn(labels, swing.size, frame_hz, prior)


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    """Times of sounds in s, stretches (start, end) in s that are known, and those within them that are not."""

    s1_s: list[float]
    s2_s: list[float]
    known_s: list[tuple[float, float]]
    unknown_s: list[tuple[float, float]]


def _by_ecg(r_s: Floats, swing: Floats, frame_hz: float, prior: RhythmPrior) -> _Labels:
    if r_s.ndim != 1 or not np.isfinite(r_s).all() or not (np.diff(r_s) > 0).all():
        raise ValueError(f"r_peaks_s has shape {r_s.shape}; finite, ascending times [beat] in s are needed")
    labels = _Labels([], [], [], [])
    r_s = r_s[r_s < swing.size / frame_hz]  # an ECG may be longer than its sound
    longest_s = LONGEST_PERIODS * 60.0 / prior.low_bpm
    for now_s, next_s in zip(r_s[:-1].tolist(), r_s[1:].tolist(), strict=True):
        if next_s - now_s > longest_s:
            continue
        labels.known_s.append((now_s, next_s))
        level = float(np.median(swing[int(now_s * frame_hz) : int(next_s * frame_hz) + 1]))
        systole_s = float(prior.systole_mean_s(np.array(60.0 / (next_s - now_s)))) + R_TO_S1_S
        for found, first_s, last_s in (
            (labels.s1_s, now_s + S1_AFTER_R_S[0], now_s + S1_AFTER_R_S[1]),
            (labels.s2_s, now_s + systole_s - S2_RANGE_S, now_s + systole_s + S2_RANGE_S),
        ):
            at_s = _peak_s(swing, frame_hz, first_s, last_s, LEAST_HEIGHT * level)
            if at_s is None:
                labels.unknown_s.append((first_s - 2 * prior.sound_sd_s, last_s + 2 * prior.sound_sd_s))
            else:
                found.append(at_s)
    return labels


def _by_sound(rhythm: Rhythm, swing: Floats, frame_hz: float, prior: RhythmPrior) -> _Labels:
    labels = _Labels([], [], [], [])
    longest_s = LONGEST_PERIODS * 60.0 / prior.low_bpm
    sure = rhythm.probability >= SURE
    n_frames = rhythm.no_rhythm.size
    for beat in range(sure.size - 1):
        now_s, next_s = float(rhythm.s1_s[beat]), float(rhythm.s1_s[beat + 1])
        first, last = max(0, int(now_s * frame_hz)), min(n_frames, int(next_s * frame_hz) + 1)
        # A last beat closes the stretch, and its S1 is drawn with it.
        if not (sure[beat] and sure[beat + 1]) or next_s - now_s > longest_s:
            continue
        if rhythm.no_rhythm[first:last].max() > 1 - SURE:
            continue
        before = [] if labels.known_s and labels.known_s[-1][1] == now_s else [(now_s, 0)]
        labels.known_s.append((now_s, next_s))
        s2_s = float(rhythm.s2_s[beat])
        for at_s, column in (*before, (next_s, 0), (s2_s, 1)):
            found = (labels.s1_s, labels.s2_s)[column]
            if np.isfinite(at_s) and rhythm.frames[min(n_frames - 1, round(at_s * frame_hz)), column] >= HEARD:
                peak_s = _peak_s(swing, frame_hz, at_s - PEAK_NEAR_S, at_s + PEAK_NEAR_S, 0.0)
                found.append(at_s if peak_s is None else peak_s)
            elif column:
                systole_s = float(prior.systole_mean_s(np.array(60.0 / (next_s - now_s))))
                reach_s = S2_RANGE_S + 2 * prior.sound_sd_s
                labels.unknown_s.append((now_s + systole_s - reach_s, now_s + systole_s + reach_s))
            else:
                reach_s = PEAK_NEAR_S + 2 * prior.sound_sd_s
                labels.unknown_s.append((at_s - reach_s, at_s + reach_s))
    return labels


def _peak_s(swing: Floats, frame_hz: float, first_s: float, last_s: float, least: float) -> float | None:
    """Return the time of the highest frame from first_s to last_s; None if it is no peak there or below `least`."""
    first, last = max(1, round(first_s * frame_hz)), min(swing.size - 1, round(last_s * frame_hz) + 1)
    if last <= first:
        return None
    top = first + int(np.argmax(swing[first:last]))
    if not (swing[top - 1] < swing[top] >= swing[top + 1] and swing[top] >= least):
        return None
    return float(refined(swing, np.array([top]))[0]) / frame_hz


def _drawn(labels: _Labels, n_frames: int, frame_hz: float, prior: RhythmPrior) -> NDArray[np.float32]:
    """Return the targets of labels."""
    time_s = np.arange(n_frames) / frame_hz
    shares = np.zeros((n_frames, 3))
    for column, sounds_s in enumerate((labels.s1_s, labels.s2_s)):
        for at_s in sounds_s:
            near = slice(
                *np.searchsorted(time_s, [at_s - SOUND_CUT * prior.sound_sd_s, at_s + SOUND_CUT * prior.sound_sd_s])
            )
            bell = np.exp(-0.5 * ((time_s[near] - at_s) / prior.sound_sd_s) ** 2)
            shares[near, column] = np.maximum(shares[near, column], bell)
    # Two sounds that are closer than their width share a frame.
    shares[:, :2] /= np.maximum(shares[:, :2].sum(axis=1, keepdims=True), 1.0)
    shares[:, 2] = 1.0 - shares[:, :2].sum(axis=1)
    known = np.zeros(n_frames, dtype=bool)
    for value, stretches_s in ((True, labels.known_s), (False, labels.unknown_s)):
        for start_s, end_s in stretches_s:
            known[slice(*np.searchsorted(time_s, [start_s, end_s]))] = value
    shares[~known] = np.nan
    return shares.astype(np.float32)
