"""Long stretches of held-out recordings with noise, for what a window is too short for: beats of whole recordings.

A recording of a driving car contains the driver's own heart. Noise alone must have none, or beats that are found there
would count as wrong while they are right. So its blocks, shorter than a cycle, are put into a random order: bumps,
lines and level stay, and no rhythm does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.config import DataConfig, HeldOutConfig
from data.corpus import Segment, Split
from data.mixing.starts import DEAD_POWER_SHARE
from data.recording import Signal

LONGEST_S = 60.0
# Shorter stretches are taken only where no clean recording is as long; below LEAST_S there is no heart rate of 10 s.
USUAL_S, LEAST_S = 30.0, 10.0
# Most stretches at each SNR, and stretches of noise without a heart for each of noise with one.
MOST = 16
NOISE_SHARE = 1 / 3
# Blocks of noise alone in s, shorter than from S1 to S2 of a slow heart, and the cross-fade between two.
BLOCK_S = (0.2, 0.5)
FADE_S = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A part of a clean recording with noise, or noise without a heart.

    noisy: float32[channel, time] at the config's rate.
    clean: float32[time], its heart in the heart's band, one array for all SNRs; None for noise alone.
    snr_db: in the heart's band; minus infinity for noise alone.
    r_peaks_s: of the heart, from the start of the stretch; None if unknown.
    recording: index of the clean recording; -1 for noise alone.
    """

    noisy: Signal
    clean: Signal | None
    snr_db: float
    r_peaks_s: NDArray[np.float64] | None = None
    recording: int = -1


def stretches(split: Split, config: DataConfig, plan: HeldOutConfig) -> Iterator[Stretch]:
    """Yield stretches of a split's clean recordings, each at the SNRs of `plan`, then stretches of its noise alone.

    A stretch is a recording, or up to LONGEST_S of it; at most MOST, spread evenly over the recordings. Each is paired
    with noise from a random place, the same at every SNR. Noise that is shorter than its heart is repeated. Stretches
    of noise alone, in blocks of random order, do not overlap, so there are fewer of them where there is little noise.
    All draws depend on the data and the seed of `plan` only.

    Nothing is yielded for a split whose clean recordings are all shorter than LEAST_S.
    """
    hearts = _chosen(_parts(split.clean, config.rate_hz), MOST)
    if not hearts or not split.noise:
        return
    rng = np.random.default_rng(plan.seed)
    for index, part in hearts:
        yield from _mixed(split.clean[index], index, part, *_drawn(split.noise, rng), plan.snrs_db, config.rate_hz)
    n_alone = max(1, round(NOISE_SHARE * len(hearts) * len(plan.snrs_db)))
    for index, part in _chosen(_parts(split.noise, config.rate_hz), n_alone):
        yield Stretch(_shuffled(split.noise[index].signals[:, part], config.rate_hz, rng), None, -np.inf)


def _parts(segments: Sequence[Segment], rate_hz: float) -> list[tuple[int, slice]]:
    """Return the parts of up to LONGEST_S of recordings, by the index of each: long ones, or else all from LEAST_S."""
    longest = round(LONGEST_S * rate_hz)
    found = [
        (index, slice(start, min(start + longest, segment.n_samples)))
        for index, segment in enumerate(segments)
        for start in range(0, segment.n_samples, longest)
    ]
    for least_s in (USUAL_S, LEAST_S):
        if parts := [(i, part) for i, part in found if part.stop - part.start >= round(least_s * rate_hz)]:
            return parts
    return []


def _chosen(parts: list[tuple[int, slice]], most: int) -> list[tuple[int, slice]]:
    """Return at most so many of the parts, evenly."""
    if len(parts) <= most:
        return parts
    return [parts[i] for i in np.linspace(0, len(parts) - 1, most).round().astype(int).tolist()]


def _drawn(noise: Sequence[Segment], rng: np.random.Generator) -> tuple[Segment, int]:
    """Draw a place of noise, every sample of all recordings as likely."""
    ends = np.cumsum([segment.n_samples for segment in noise])
    at = int(rng.integers(ends[-1]))
    index = int(np.searchsorted(ends, at, side="right"))
    return noise[index], at - int(ends[index]) + noise[index].n_samples


def _mixed(
    heart: Segment, index: int, part: slice, noise: Segment, start: int, snrs_db: Sequence[float], rate_hz: float
) -> Iterator[Stretch]:
    """Yield a part of a clean recording with noise from sample `start` on, at each SNR."""
    n_samples = part.stop - part.start
    # A noise recording that is long enough is not repeated: its end would meet its start.
    first = start % (noise.n_samples - n_samples + 1) if noise.n_samples >= n_samples else start
    at = np.arange(first, first + n_samples) % noise.n_samples
    clean, mixed_in = heart.in_band[part], noise.signals[:, at]
    power = max(_power(noise.in_band[at]), DEAD_POWER_SHARE * _power(noise.in_band), 1e-30)
    peaks_s = heart.r_peaks_s
    if peaks_s is not None:
        start_s, end_s = part.start / rate_hz, part.stop / rate_hz
        peaks_s = peaks_s[(peaks_s >= start_s) & (peaks_s < end_s)] - start_s
    for snr_db in snrs_db:
        gain = np.float32(np.sqrt(_power(clean) / power * 10 ** (-snr_db / 10)))
        yield Stretch(heart.signals[:, part] + gain * mixed_in, clean, snr_db, peaks_s, index)


def _shuffled(noise: Signal, rate_hz: float, rng: np.random.Generator) -> Signal:
    """Return noise[channel, time] in blocks of random length and order, cross-faded at equal power."""
    n_samples, n_fade = noise.shape[1], max(1, round(FADE_S * rate_hz))
    lengths = rng.uniform(*BLOCK_S, size=1 + int(n_samples / rate_hz / BLOCK_S[0])) * rate_hz
    bounds = np.round(np.cumsum(lengths)).astype(np.int64)
    edges = [0, *bounds[bounds < n_samples - n_fade].tolist(), n_samples]
    rise = np.sin(np.pi / 2 * (np.arange(n_fade) + 0.5) / n_fade).astype(np.float32)
    shuffled, at = np.zeros_like(noise), 0
    for block in rng.permutation(len(edges) - 1).tolist():
        start, end = edges[block], edges[block + 1]
        # Each block takes a little of what follows it, to fade out over the next.
        own = noise[:, start : min(end + n_fade, n_samples)][:, : n_samples - at].copy()
        if at:
            own[:, :n_fade] *= rise[: own.shape[1]]
        if own.shape[1] > end - start:
            own[:, end - start :] *= rise[::-1][: own.shape[1] - (end - start)]
        shuffled[:, at : at + own.shape[1]] += own
        at += end - start
    return shuffled


def _power(signal: Signal) -> float:
    return float(np.mean(np.square(signal, dtype=np.float64)))
