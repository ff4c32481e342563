"""The evidence that a sound has its middle at a frame, against bumps that occur at any time."""

from dataclasses import dataclass

import numpy as np

from objectives.rhythm.durations import Floats, Tables

# Sounds are no surer than this, in nats, so that products over a cycle stay within the range of float64.
MAX_EVIDENCE = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """Likelihood ratios of a sound in the middle of each frame against no rhythm, float64[frame].

    s1, s2: of the sound. s1 has `missed_s1` in it as well: a beat without its sound is as likely as no rhythm.
    s1_heard: the part of s1 in which the sound is there, in [0, 1].
    s2: the sound is there.
    log_clutter: log-likelihood of the recording without any rhythm, against no sound and no bump at all.
    """

    s1: Floats
    s1_heard: Floats
    s2: Floats
    log_clutter: float


def sounds(log_likelihood: Floats, tables: Tables) -> Sounds:
    """Return the evidence of log_likelihood[frame, (S1, S2, none)]; a constant added to a frame changes nothing.

    A sound is a bell in the frames, as in training targets: its log-likelihood against no sound is the sum over its
    frames of shape * (class - none). Without a rhythm, bumps of either class occur at the rate `clutter_hz`, not two
    within the width of a sound. Their log-likelihood is the mean over all divisions of time into parts as wide as a
    sound, with at most one bump in each part. The same bumps may occur between the sounds of a rhythm.
    """
    n_half = tables.sound.size // 2
    ratios = tables.prior.evidence_weight * (log_likelihood[:, :2] - log_likelihood[:, 2:])
    log_s1, log_s2 = (
        np.clip(np.convolve(column, tables.sound)[n_half : n_half + len(ratios)], -MAX_EVIDENCE, MAX_EVIDENCE)
        for column in ratios.T
    )
    bumps = 0.5 * (np.exp(log_s1) + np.exp(log_s2))
    # Beyond the ends nothing is known, so there a bump is as likely as none.
    more = window_sum(bumps, n_half, 1.0) - tables.sound.size
    clutter = np.log1p(tables.clutter * more) / tables.sound.size
    log_taken = window_sum(clutter, n_half, 0.0)
    missed = tables.prior.missed_s1
    heard = (1 - missed) * np.exp(log_s1 - log_taken)
    return Sounds(
        s1=heard + missed,
        s1_heard=heard / (heard + missed),
        s2=np.exp(log_s2 - log_taken),
        log_clutter=float(clutter.sum()),
    )


def window_sum(values: Floats, n_half: int, beyond: float) -> Floats:
    """Return the sum of the n_half frames on both sides of each frame and itself; `beyond` stands outside the ends."""
    n = values.size
    padded = np.pad(values, n_half, constant_values=beyond)
    # Not by a running sum: its rounding errors are as large as the largest value of the recording.
    total = np.zeros(n)
    for shift in range(2 * n_half + 1):
        total += padded[shift : shift + n]
    return total
