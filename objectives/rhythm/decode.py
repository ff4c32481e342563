"""Beats of a whole recording from evidence of S1 and S2 in every frame, with the probability that they are right.

The model is a semi-Markov chain (Yu, "Hidden semi-Markov models", Artificial Intelligence 174 (2010) 215) with explicit
durations, see durations.py. It is decoded over the whole recording, so that clear minutes tell the rhythm of those next
to them. Where there is no rhythm, nothing is found and nothing is lost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.heart import WITHIN_BPM
from objectives.rhythm.backward import Backward, Posterior
from objectives.rhythm.chain import Chain
from objectives.rhythm.durations import Floats, RhythmPrior, Tables, tables
from objectives.rhythm.paths import Paths, span_rates, surest_rate
from objectives.rhythm.sounds import sounds, window_sum

SPAN_S = 10.0
TOLERANCE_S = 0.060
# Least probability of a beat that is returned. F1 is largest at half its own value (0.45 at 0.9); those who need surer
# beats take the probabilities.
LEAST_PROBABILITY = 0.4
N_PATHS = 200


@dataclass(frozen=True, slots=True)
class RateSpan:
    """A part of a recording, from start_s to end_s in s, and its heart rate (60 s over the median cycle; NaN for none).

    probability: that the rate of the heart there is within 5 bpm of it; 0 without a rate.
    """

    start_s: float
    end_s: float
    rate_bpm: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Rhythm:
    """The beats of a recording and how sure they are.

    s1_s, s2_s: float64[beat], times in s from the start of the first frame, ascending; s2_s is NaN where no S2 is
        more likely than S2.
    probability: float64[beat] in [0, 1], that a beat is within +-60 ms of s1_s.
    frames: float64[frame, 3], share of S1, S2 and neither, in the shape of training targets; each row has the sum 1.
    no_rhythm: float64[frame], probability that there is no rhythm.
    spans: parts of 10 s; the last may be shorter.
    log_likelihood: marginal log-likelihood of all frames.
    log_bayes: the same less that of no rhythm in the whole recording.
    """

    s1_s: Floats
    s2_s: Floats
    probability: Floats
    frames: Floats
    no_rhythm: Floats
    spans: tuple[RateSpan, ...]
    log_likelihood: float
    log_bayes: float


def decode(
    log_likelihood: NDArray[np.floating],
    frame_hz: float,
    prior: RhythmPrior | None = None,
    *,
    n_paths: int = N_PATHS,
    seed: int = 0,
) -> Rhythm:
    """Decode the log-likelihoods of S1, S2 and none in each frame of a recording into beats.

    log_likelihood: float[frame, 3]; a constant added to a frame changes nothing but `log_likelihood`.
    frame_hz: frames per second. The time of a frame is that of its start.
    prior: None for RhythmPrior().
    n_paths: rhythms that are drawn for the heart rates, so that a probability p of a rate has an SD of
        sqrt(p (1 - p) / n_paths).

    Ten minutes at 125 Hz take about a second of one core. Memory is of the order of frames + classes * frames of 12
    minutes, see docs/measurements/beats.md.

    Raises ValueError for another shape, values that are not finite, no frame, or n_paths below 1; and as `tables` does.
    """
    values = np.asarray(log_likelihood, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 3 or not len(values):
        raise ValueError(f"log_likelihood has shape {values.shape}; [frame, 3] with S1, S2 and none is needed")
    if not np.isfinite(values).all():
        raise ValueError("log_likelihood has values that are not finite; limit probabilities before their logarithm")
    if n_paths < 1:
        raise ValueError(f"n_paths is {n_paths}; at least 1 is needed")
    in_frames = tables(prior or RhythmPrior(), frame_hz)
    evidence = sounds(values, in_frames)
    posterior, rates_bpm, bounds_s = _pass(Chain(evidence, in_frames), n_paths, seed)
    at = best_beats(posterior.beat, in_frames)
    spans = tuple(
        RateSpan(float(start), float(end), *surest_rate(rates, WITHIN_BPM))
        for start, end, rates in zip(bounds_s[:-1], bounds_s[1:], rates_bpm.T, strict=True)
    )
    none = in_frames.prior.evidence_weight * float(values[:, 2].sum()) + evidence.log_clutter
    return Rhythm(
        s1_s=refined(posterior.beat, at) / frame_hz,
        s2_s=_s2(posterior.s2, at, in_frames) / frame_hz,
        probability=np.clip(near(posterior.beat, frame_hz)[at], 0.0, 1.0),
        frames=_frames(posterior, in_frames),
        no_rhythm=posterior.none,
        spans=spans,
        log_likelihood=none + posterior.log_bayes,
        log_bayes=posterior.log_bayes,
    )


def _pass(chain: Chain, n_paths: int, seed: int) -> tuple[Posterior, Floats, Floats]:
    """Return the posterior, the rate of each path in each span, and the bounds of the spans in s."""
    backward, paths = Backward(chain), Paths(chain, n_paths, seed)
    duration_s = chain.n_frames / chain.tables.frame_hz
    bounds_s = np.append(np.arange(0.0, duration_s, SPAN_S), duration_s)
    for segment in chain.segments(paths.note):
        if segment.first_frame + chain.reach + segment.n == chain.n_frames:
            paths.begin(segment, backward.ended(segment))
        backward.run(segment)
        paths.run(segment)
        del segment  # before the next is made
    return backward.posterior(), span_rates(paths.beats(), bounds_s, chain.tables.frame_hz), bounds_s


def near(beat: Floats, frame_hz: float) -> Floats:
    """Return the probability of a beat within +-60 ms of each frame, float64[frame]."""
    return window_sum(beat, int(TOLERANCE_S * frame_hz), 0.0)


def best_beats(beat: Floats, in_frames: Tables) -> NDArray[np.int64]:
    """Return the frames of beats with the largest sum of (probability within +-60 ms - LEAST_PROBABILITY), ascending.

    No two are closer than the shortest cycle. This set has the most right beats for the wrong ones that are in it;
    the most probable single rhythm may be improbable. beat: float64[frame], see Posterior.
    """
    gain = near(beat, in_frames.frame_hz) - LEAST_PROBABILITY
    # Frames about one beat have the same probability; the one nearest to its middle is best.
    gain = gain + 1e-3 * window_sum(beat, in_frames.sound.size // 4, 0.0)
    apart = in_frames.shortest
    candidates = np.flatnonzero(gain > 0)
    before = np.searchsorted(candidates, candidates - apart, side="right")
    best: list[float] = [0.0]
    takes: list[bool] = []
    for index, (value, free) in enumerate(zip(gain[candidates].tolist(), before.tolist(), strict=True)):
        taken = best[free] + value
        takes.append(taken > best[index])
        best.append(max(taken, best[index]))
    chosen = []
    index = candidates.size - 1
    while index >= 0:
        if takes[index]:
            chosen.append(int(candidates[index]))
            index = int(before[index]) - 1
        else:
            index -= 1
    return np.asarray(chosen[::-1], dtype=np.int64)


def refined(density: Floats, at: NDArray[np.int64]) -> Floats:
    """Return frames moved to the nearby maximum of a density and to the vertex of its logarithm's parabola."""
    padded = np.pad(density, 1, constant_values=0.0)
    level = np.log(np.maximum(np.stack([padded[at + k] for k in range(3)]), 1e-300))
    bend = level[0] - 2 * level[1] + level[2]
    shift = 0.5 * (level[0] - level[2]) / np.where(bend < 0, bend, -np.inf)
    return np.asarray(at + np.clip(shift, -0.5, 0.5), dtype=np.float64)


def _s2(density: Floats, at: NDArray[np.int64], in_frames: Tables) -> Floats:
    """Return the frame of the S2 after each beat; NaN where none is at least as likely."""
    first, last = int(in_frames.systole.first.min()), int(in_frames.systole.last.max())
    found = np.full(at.size, np.nan)
    ends = np.append(at, density.size)[1:]
    for beat, (frame, end) in enumerate(zip(at.tolist(), ends.tolist(), strict=True)):
        window = density[frame + first : min(frame + last + 1, end)]
        if window.sum() >= 0.5:
            found[beat] = refined(density, np.array([frame + first + int(np.argmax(window))]))[0]
    return found


def _frames(posterior: Posterior, in_frames: Tables) -> Floats:
    """Return the expected target of each frame, float64[frame, 3]."""
    n_half = in_frames.sound.size // 2
    n = posterior.s1.size
    rows = [np.convolve(row, in_frames.sound)[n_half : n_half + n] for row in (posterior.s1, posterior.s2)]
    shares = np.clip(np.stack(rows, axis=1), 0.0, 1.0)
    return np.concatenate([shares, np.maximum(1.0 - shares.sum(axis=1, keepdims=True), 0.0)], axis=1)
