"""Passes of a model over whole recordings."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.autoencoder import AutoencoderConfig
from models.beats import N_CLASSES, N_MORE, BeatsConfig, WithBeats
from training.overlap import overlap_add
from training.passes import SPAN_S, estimate_recording, known
from training.sounds import JoinedFrames

CPU = torch.device("cpu")
RATE_HZ = 250.0
SMALL = BeatsConfig(beats_weight=1.0, beats_width=32, beats_layers=1, beats_nhead=2, beats_kernel=5, beats_passes=2)


class MeanOfNoisy(nn.Module):
    """Returns the mean of the sounds in the noisy signal, which is zero in the first pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -2:-1]


class Marked(nn.Module):
    """Finds S1 where the reference channel is positive, and S2 where it is negative."""

    frame_samples = SMALL.frame_samples

    def forward(self, estimate: Tensor, noisy: Tensor) -> Tensor:
        mark = noisy[:, 1, : noisy.shape[-1] // 2 * 2 : 2]
        logits = torch.stack((10 * mark - 3, -10 * mark - 3, torch.zeros_like(mark)), -1)
        assert logits.shape[-1] == N_CLASSES
        return logits


def marked(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a clean signal with S1 and S2 at 75 bpm, and the noisy one with a channel that marks them."""
    n = round(seconds * RATE_HZ)
    time = np.arange(n)
    clean, marks = np.zeros(n), np.zeros(n)
    for offset, sign in ((100, 1), (175, -1)):
        for centre in range(offset, n - 60, 200):
            clean += np.exp(-(((time - centre) / 8.0) ** 2)) * np.cos((time - centre) * 0.95)
            marks[centre - 12 : centre + 13] = sign * np.hanning(25)
    noise = 0.2 * np.random.default_rng(0).standard_normal(n)
    return clean, np.stack([clean + noise, marks]).astype(np.float32)


def built(denoiser: nn.Module, config: BeatsConfig = SMALL) -> WithBeats:
    net = config.build(denoiser, 2)
    assert isinstance(net, WithBeats)
    return net.eval()


def test_a_sound_is_averaged_with_those_of_other_windows() -> None:
    """A window of one beat has no other sound of the kind; the recording has."""
    clean, signals = marked(30.0)
    net = built(MeanOfNoisy())
    net.beats = Marked()  # type: ignore[assignment]
    alone = overlap_add(net, signals, 150, CPU, 16)
    estimate, sounds = estimate_recording(net, signals, RATE_HZ, 150, CPU, 16)
    inside = slice(200, -200)
    power = np.square(clean)[inside].sum()
    assert np.square(estimate - clean)[inside].sum() < 0.1 * power < power < np.square(alone - clean)[inside].sum()
    assert sounds is not None and sounds.probabilities.shape == (len(clean) // 2, N_CLASSES)


@pytest.mark.parametrize("n_samples", [3, 50, 700])
def test_a_model_of_one_pass_is_asked_once(n_samples: int) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, beats_passes=1)
    net = built(AutoencoderConfig(levels=2, width=8).build(2), config)
    signals = np.random.default_rng(0).standard_normal((2, n_samples)).astype(np.float32)
    frames = JoinedFrames(net, n_samples, RATE_HZ)
    expected = overlap_add(net, signals, 512, CPU, 4, None, frames)
    estimate, sounds = estimate_recording(net, signals, RATE_HZ, 512, CPU, 4)
    assert sounds is not None
    np.testing.assert_array_equal(estimate, expected)
    np.testing.assert_array_equal(sounds.probabilities, frames.joined().probabilities)
    alone, nothing = estimate_recording(net.denoiser, signals, RATE_HZ, 512, CPU, 4)
    np.testing.assert_array_equal(alone, expected)
    assert nothing is None


@pytest.mark.parametrize("n_samples", [3, 50, 511, 700])
def test_recordings_too_short_for_beats_have_passes_too(n_samples: int) -> None:
    torch.manual_seed(0)
    net = built(AutoencoderConfig(levels=2, width=8).build(2 + N_MORE))
    signals = np.random.default_rng(0).standard_normal((2, n_samples)).astype(np.float32)
    said: list[tuple[int, int]] = []
    estimate, _ = estimate_recording(net, signals, RATE_HZ, 512, CPU, 4, lambda *done: said.append(done))
    assert estimate.shape == (n_samples,) and np.isfinite(estimate).all()
    assert said == ([(1, 2), (2, 2)] if n_samples < 512 else [(2, 4), (4, 4)])


def test_means_are_those_of_a_minute_or_two() -> None:
    """What stands further away than the neighbouring spans changes nothing."""
    _, signals = marked(4 * SPAN_S)
    net = built(MeanOfNoisy())
    net.beats = Marked()  # type: ignore[assignment]
    frames = JoinedFrames(net, signals.shape[1], RATE_HZ)
    overlap_add(net, np.concatenate([signals, np.zeros((N_MORE, signals.shape[1]), np.float32)]), 2000, CPU, 16)
    changed = signals.copy()
    span = round(SPAN_S * RATE_HZ)
    changed[0, -span:] *= 3
    means = [known(net, own[0], own, RATE_HZ, frames.joined()) for own in (signals, changed)]
    np.testing.assert_array_equal(means[0][:, :span], means[1][:, :span])


def test_an_estimate_that_is_not_finite_tells_nothing() -> None:
    _, signals = marked(5.0)
    net = built(MeanOfNoisy())
    frames = JoinedFrames(net, signals.shape[1], RATE_HZ)
    estimate = np.full(signals.shape[1], np.nan, np.float32)
    assert not known(net, estimate, signals, RATE_HZ, frames.joined()).any()
