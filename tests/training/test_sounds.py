"""A run with the network for beats: its labels, its training, its weights."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from data.corpus import Corpus
from data.recording import Recording
from models.beats import N_CLASSES, BeatNet, BeatsConfig, WithBeats
from models.diffusion import DiffusionConfig
from objectives.rhythm.frames import FRAME_HZ, targets
from training.apply import apply, hear
from training.calibration import DEFAULT
from training.config import InitConfig, RunConfig, read_run, write_run
from training.denoising.beats import beats_of
from training.denoising.denoise import Denoiser, denoise, denoise_and_hear
from training.errors import ConfigError
from training.overlap import window_starts, window_weights
from training.report import EpochReport
from training.runs import load_model
from training.sounds import JoinedFrames, labels_of
from training.trainer import train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Weights = Callable[[Path], dict[str, torch.Tensor]]
Equal = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]
BEATS = BeatsConfig(beats_weight=2.0, beats_width=32, beats_layers=1, beats_nhead=2)


def with_beats(run: RunConfig) -> RunConfig:
    return replace(run, beats=BEATS)


def test_labels_are_at_the_sounds_of_the_recordings(run: RunConfig, corpus: Corpus) -> None:
    """S1 50 ms and S2 340 ms after each R peak, whether the R peaks are known or not."""
    heard = corpus.splits["train"].clean
    deaf = [replace(segment, r_peaks_s=None) for segment in heard]
    for segments in (heard, deaf):
        labels = labels_of(with_beats(run), segments, torch.device("cpu"))
        assert labels is not None
        for i, segment in enumerate(heard):
            assert segment.r_peaks_s is not None
            first, n = int(labels.first[i]), int(labels.counts[i])
            own = labels.values[first : first + n].numpy()
            for kind, delay_s in ((0, 0.05), (1, 0.34)):
                at = np.round((segment.r_peaks_s[2:-2] + delay_s) * 125).astype(int)
                assert (own[at, kind] > 150).mean() > 0.95
                assert (own[(at + 25) % n, kind] < 60).mean() > 0.95


def test_without_a_weight_there_are_no_labels(run: RunConfig, corpus: Corpus) -> None:
    assert labels_of(run, corpus.splits["train"].clean, torch.device("cpu")) is None


@pytest.mark.parametrize("n_done", [1, 2])
def test_stopped_and_resumed_is_bit_equal(
    run: RunConfig, corpus: Corpus, tmp_path: Path, n_done: int, reports: Reports, weights: Weights, equal: Equal
) -> None:
    beats = with_beats(run)
    whole = reports(beats, corpus, tmp_path / "whole")
    first = train(beats, corpus, tmp_path / "cut")
    for _ in range(n_done):
        next(first)
    first.close()
    assert reports(beats, corpus, tmp_path / "cut") == whole
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_the_weights_hold_the_network_and_the_shares_of_its_classes(
    run: RunConfig, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    beats = with_beats(run)
    reports(beats, corpus, tmp_path)
    write_run(beats, tmp_path / "run.yaml")
    model = load_model(read_run(tmp_path / "run.yaml"), tmp_path)
    assert isinstance(model, WithBeats)
    shares = model.shares.tolist()
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert 0.03 < shares[0] < 0.15
    assert shares[2] > 0.7


def test_shares_are_those_of_the_training_not_of_the_initial_weights(
    run: RunConfig, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    """Windows without a heart count as none of the sounds."""
    beats = with_beats(run)
    shares: dict[str, list[float]] = {}
    for name, share, start in (("first", 0.0, ""), ("second", 0.5, str(tmp_path / "first"))):
        own = replace(beats, schedule=replace(run.schedule, heartless_share=share), init=InitConfig(weights=start))
        reports(own, corpus, tmp_path / name)
        write_run(own, tmp_path / name / "run.yaml")
        model = load_model(read_run(tmp_path / name / "run.yaml"), tmp_path / name)
        assert isinstance(model, WithBeats)
        shares[name] = model.shares.tolist()
    assert shares["second"][:2] == pytest.approx([share / 2 for share in shares["first"][:2]], rel=1e-4)
    assert sum(shares["second"]) == pytest.approx(1)


def test_its_loss_falls(run: RunConfig, corpus: Corpus, tmp_path: Path, reports: Reports) -> None:
    """The loss of a run with the network less that of the same run without it is the weighted cross-entropy."""
    longer: dict[str, Any] = {"epochs": 6, "steps_per_epoch": 10}
    runs = [replace(r, fit=replace(r.fit, **longer)) for r in (run, with_beats(run))]
    plain, joint = (reports(r, corpus, tmp_path / str(i)) for i, r in enumerate(runs))
    extra = [b.loss - a.loss for a, b in zip(plain, joint, strict=True)]
    assert extra[-1] < 0.8 * extra[0]


def test_a_model_with_a_loss_of_its_own_refuses_it_in_one_line(make_run: MakeRun) -> None:
    run = replace(make_run(model=DiffusionConfig()), beats=BEATS)
    with pytest.raises(ConfigError, match="model diffusion: beats: this model has a training loss of its own"):
        run.build_model(1)


class Counted(nn.Module):
    """A denoiser that changes nothing much and counts the windows it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.n_windows = 0

    def forward(self, noisy: Tensor) -> Tensor:
        self.n_windows += len(noisy)
        return torch.tanh(noisy[:, :1])


class Knowing(WithBeats):
    """Finds the sounds of a window by the rule that makes labels of clean recordings, at 250 Hz."""

    def sounds(self, estimate: Tensor, noisy: Tensor) -> Tensor:
        found = [targets(row[0].numpy(), 250.0, 250.0 / self.beats.frame_samples) for row in estimate]
        shares = np.nan_to_num(np.stack(found), nan=1 / N_CLASSES)[:, : noisy.shape[-1] // self.beats.frame_samples]
        return torch.from_numpy(shares).clamp_min(1e-4).log()


def listening(kind: type[WithBeats] = WithBeats) -> WithBeats:
    torch.manual_seed(0)
    return kind(Counted(), BeatNet(BEATS, 1), BEATS).eval()


@pytest.mark.parametrize("seconds", [3.0, 23.4])
def test_listening_changes_no_bit_of_the_estimate_and_denoises_each_window_once(
    run: RunConfig, heart: Callable[..., Recording], seconds: float
) -> None:
    model, recording = listening(), heart(0, Path("a"), seconds=seconds)
    assert isinstance(model.denoiser, Counted)
    heard = hear(model, recording, run.data, torch.device("cpu"))
    n_windows = len(window_starts(round(seconds * 250), run.data.window_samples)[0])
    assert model.denoiser.n_windows == n_windows
    np.testing.assert_array_equal(heard.estimate, apply(model, recording, run.data, torch.device("cpu")))
    assert heard.sounds is not None
    assert heard.sounds.frame_hz == FRAME_HZ
    assert heard.sounds.probabilities.shape == (round(seconds * FRAME_HZ), N_CLASSES)
    np.testing.assert_allclose(heard.sounds.probabilities.sum(axis=1), 1)
    assert hear(model.denoiser, recording, run.data, torch.device("cpu")).sounds is None


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(100, 6000),
    window=st.integers(64, 1500),
    rate_hz=st.sampled_from([200.0, 250.0, 333.0, 1000.0]),
    slope=st.floats(-1, 1),
)
def test_windows_that_agree_are_joined_to_what_they_agree_on(
    n_samples: int, window: int, rate_hz: float, slope: float
) -> None:
    """A probability that is linear in time stays so, wherever windows start and however long frames are."""
    model = listening()
    model.shares.copy_(torch.tensor([0.1, 0.1, 0.8]))
    frames, hop = JoinedFrames(model, n_samples, rate_hz), BEATS.frame_samples
    window = min(window, n_samples)
    starts, fade = window_starts(n_samples, window)

    def at(samples: np.ndarray) -> np.ndarray:
        s1 = 0.5 + 0.4 * slope * samples / n_samples
        return np.stack([s1, np.full_like(s1, 0.05), 0.95 - s1], axis=1)

    for i, start in enumerate(starts):
        own = at(start + hop * np.arange(window // hop)).astype(np.float32)
        frames.add(own, start, window_weights(i, starts, window, fade))
    joined = frames.joined()
    assert joined.frame_hz <= FRAME_HZ + 1e-9
    time = np.arange(len(joined.probabilities)) * rate_hz / joined.frame_hz
    assert n_samples - 1 - rate_hz / joined.frame_hz < time[-1] <= n_samples - 1
    # The last frame of a window stands for all of it.
    inside = time <= n_samples - hop
    np.testing.assert_allclose(joined.probabilities[inside], at(time[inside]), atol=1e-5 + hop / window)
    np.testing.assert_allclose(joined.shares, [0.1, 0.1, 0.8], atol=1e-6)


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0])
def test_beats_by_the_network_are_at_their_times_across_windows(
    run: RunConfig, heart: Callable[..., Recording], rate_hz: float
) -> None:
    denoiser = Denoiser(run, listening(Knowing), "cpu")
    recording = heart(0, Path("a"), seconds=41.7, rate_hz=rate_hz, bpm=66.0)
    estimate, sounds = denoise_and_hear(denoiser, recording)
    np.testing.assert_array_equal(estimate.signals, denoise(denoiser, recording).signals)
    beats = beats_of(estimate, sounds, DEFAULT)
    assert beats.evidence == "network"
    assert beats.heart_rate_bpm == pytest.approx(66, abs=1)
    assert recording.r_peaks_s is not None
    sure_s = beats.times_s[beats.probability > 0.9]
    late_s = sure_s[:, None] - recording.r_peaks_s[None, :] - 0.05
    # Within half a frame; the first and the last sound have no neighbour to be known by.
    assert np.abs(late_s).min(axis=1)[1:-1].max() < 0.5 / FRAME_HZ + 1e-3
    assert np.isin(np.arange(2, recording.r_peaks_s.size - 2), np.abs(late_s).argmin(axis=1)).all()
    plain = beats_of(estimate, sounds, dataclasses.replace(DEFAULT, evidence="envelope"))
    assert plain.evidence == "envelope"
    np.testing.assert_array_equal(plain.times_s, beats_of(estimate).times_s)
