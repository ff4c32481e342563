"""Labels of heart sounds for the network for beats (models.beats), and beats by what that network finds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.config import HEART_BAND_HZ, MEASURED_HZ
from data.corpus import Segment
from data.filters import bandpass, resample
from data.mixing.labels import UNKNOWN, FrameLabels, frame_labels
from data.recording import Signal
from models.beats import N_CLASSES, WithBeats
from objectives.rhythm.decode import N_PATHS, Rhythm, decode
from objectives.rhythm.durations import RhythmPrior
from objectives.rhythm.frames import FRAME_HZ, INDEPENDENT_HZ, envelope_evidence, posterior_evidence, targets
from training.config import RunConfig


def labels_of(run: RunConfig, segments: Sequence[Segment], device: torch.device) -> FrameLabels | None:
    """Return the labels of S1, S2 and none of clean recordings; None for a run without the network for beats.

    They come from the R peaks where those are known, else from the sound itself; what is not sure is unknown (see
    objectives.rhythm.frames.targets).
    """
    if run.beats.beats_weight == 0:
        return None
    hop = run.beats.frame_samples
    return frame_labels(_targets(tuple(segments), run.data.rate_hz, hop), hop, device)


@lru_cache(maxsize=1)  # the trials of a worker learn from the same recordings, which take minutes
def _targets(segments: tuple[Segment, ...], rate_hz: float, hop: int) -> tuple[NDArray[np.float32], ...]:
    return tuple(targets(s.in_band, rate_hz, rate_hz / hop, s.r_peaks_s) for s in segments)


def note_shares(models: Iterable[nn.Module], labels: FrameLabels, heartless_share: float) -> None:
    """Keep the shares of the classes in training in models: what these find is judged against them.

    heartless_share: of windows of noise alone, whose frames are none of the sounds.
    """
    known = labels.values[(labels.values != UNKNOWN).all(-1)].double()
    shares = (1 - heartless_share) * (known.sum(0) + 1) / (known.sum() + N_CLASSES)
    shares[-1] += heartless_share
    for model in models:
        assert isinstance(model, WithBeats)
        model.shares.copy_(shares)


@dataclass(frozen=True, slots=True, eq=False)
class SoundFrames:
    """The heart sounds in a recording, as the network for beats finds them.

    probabilities: float64[frame, N_CLASSES], of S1, S2 and none; each row has the sum 1.
    frame_hz: frames per second; the first starts with the recording.
    shares: float64[N_CLASSES], of the classes in training.
    """

    probabilities: NDArray[np.float64]
    frame_hz: float
    shares: NDArray[np.float64]


class JoinedFrames:
    """The sounds in the windows of a recording, joined with the weights of their estimates.

    Windows start at any sample, so probabilities are interpolated to the frames of the recording. These are as long as
    the network's, or 1 / FRAME_HZ s if those are shorter: more of them say no more and take longer to decode.
    """

    def __init__(self, model: WithBeats, n_samples: int, rate_hz: float) -> None:
        """Prepare the frames of a recording of n_samples at rate_hz."""
        self._own = model.beats.frame_samples
        every = max(float(self._own), rate_hz / FRAME_HZ)
        self._at = every * np.arange(int((n_samples - 1) / every) + 1)
        self._sums = np.zeros((self._at.size, N_CLASSES))
        self._frame_hz, self._shares = rate_hz / every, model.shares.double().cpu().numpy()

    def add(self, probabilities: NDArray[np.float32], start: int, weights: NDArray[np.float32]) -> None:
        """Add the probabilities [frame, N_CLASSES] of a window from sample `start` on. weights: [time], of it."""
        inside = slice(*np.searchsorted(self._at, [start, start + weights.size]))
        at = self._at[inside] - start
        share, own = np.interp(at, np.arange(weights.size), weights), self._own * np.arange(len(probabilities))
        for column in range(N_CLASSES):
            self._sums[inside, column] += share * np.interp(at, own, probabilities[:, column])

    def joined(self) -> SoundFrames:
        """Return the sounds, after all windows."""
        total = np.maximum(self._sums.sum(axis=1, keepdims=True), 1e-12)
        return SoundFrames(self._sums / total, self._frame_hz, self._shares)


def heart_trace(signal: Signal, rate_hz: float) -> Signal:
    """Return a signal [time] in the heart's band, float32[time] at MEASURED_HZ: the signal that beats are found in."""
    return bandpass(resample(signal, rate_hz, MEASURED_HZ), MEASURED_HZ, *HEART_BAND_HZ)


def rhythm_of(estimate: Signal, rate_hz: float, sounds: SoundFrames | None, n_paths: int = N_PATHS) -> Rhythm:
    """Return the beats of an estimate [time] in the heart's band, with their probabilities.

    sounds: what the network for beats finds in it; None takes the evidence of its envelope.
    n_paths: see objectives.rhythm.decode.decode.

    Raises ValueError as objectives.heart.envelope does.
    """
    if sounds is None:
        return decode(envelope_evidence(estimate, rate_hz), FRAME_HZ, n_paths=n_paths)
    # Neighbouring frames repeat each other, as those of the envelope do.
    prior = RhythmPrior(evidence_weight=min(1.0, INDEPENDENT_HZ / sounds.frame_hz))
    evidence = posterior_evidence(sounds.probabilities, sounds.shares)
    return decode(evidence, sounds.frame_hz, prior, n_paths=n_paths)
