"""Labels in frames go with the windows they belong to, at any tempo."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.config import AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split
from data.mixing.labels import FrameLabels, frame_labels
from data.mixing.mixture import Mixture, Special
from data.mixing.tempo import Places

CPU = torch.device("cpu")
HOP, WINDOW = 4, 256
LENGTHS = (2000, 1500)


def labels() -> FrameLabels:
    """Of two recordings: the first class rises from 0 to 1 over each of them."""
    ramps = [np.linspace(0, 1, n // HOP, dtype=np.float32) for n in LENGTHS]
    return frame_labels([np.stack([ramp, 1 - ramp], axis=1) for ramp in ramps], HOP, CPU)


def places(recording: int, own: int, longer: float = 0.0) -> Places:
    at = torch.tensor([own])
    return Places(at, torch.tensor([recording]), at, torch.tensor([longer]))


@given(recording=st.integers(0, 1), own=st.integers(0, 1000), longer=st.floats(-0.25, 0.25, width=32))
def test_a_label_is_that_of_the_sample_that_is_played(recording: int, own: int, longer: float) -> None:
    (found,) = labels().take(places(recording, own, longer), WINDOW)
    at = (own + HOP * np.arange(WINDOW // HOP) * (1 + longer)) / HOP
    n_frames = LENGTHS[recording] // HOP
    wanted = np.minimum(at, n_frames - 1) / (n_frames - 1)
    np.testing.assert_allclose(found[:, 0].numpy(), wanted, atol=1 / 254)
    np.testing.assert_allclose(found.sum(-1).numpy(), 1, atol=2 / 254)


def test_a_label_next_to_an_unknown_one_is_unknown() -> None:
    values = np.ones((20, 1), np.float32)
    values[10] = np.nan
    one = frame_labels([values], HOP, CPU)
    unknown = one.take(places(0, 0), 20 * HOP)[0, :, 0].isnan()
    assert unknown.nonzero().flatten().tolist() == [10]
    between = one.take(places(0, HOP // 2), 18 * HOP)[0, :, 0].isnan()
    assert between.nonzero().flatten().tolist() == [9, 10]


@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(tempo=0.2), AugmentConfig(polarity=0.5)])
def test_batches_have_the_labels_of_their_clean_windows(augment: AugmentConfig) -> None:
    """The clean signal of each recording is its label, so that they must agree at every tempo."""
    config = DataConfig(
        (Source(("c",)),), (Source(("n",)),), rate_hz=500.0, window_samples=WINDOW, band_hz=None, augment=augment
    )
    rng = np.random.default_rng(0)
    time = np.arange(2000) / 500.0
    clean, tracks = [], []
    for frequency_hz in (2.0, 3.0):
        wave = (0.5 + 0.4 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)
        heard = rng.standard_normal(2000).astype(np.float32)
        clean.append(Segment(wave[None], heard, Path("c")))
        tracks.append(wave[::HOP, None])
    noise = rng.standard_normal((1, 2000)).astype(np.float32)
    split = Split(tuple(clean), (Segment(noise, noise[0], Path("n")),))
    mixture = Mixture(split, config, CPU, frame_labels(tracks, HOP, CPU))
    for batch in mixture.epoch(3, 8, torch.Generator().manual_seed(0), gain=1.0):
        assert batch.labels is not None
        heard_there = batch.clean[:, 0, ::HOP]
        label = batch.labels[..., 0]
        # equal up to the level of the window
        likeness = torch.nn.functional.cosine_similarity(heard_there, label, dim=-1).abs()
        assert float(likeness.min()) > 0.9995


def test_without_a_heart_all_frames_are_of_the_last_class() -> None:
    config = DataConfig((Source(("c",)),), (Source(("n",)),), rate_hz=500.0, window_samples=WINDOW, band_hz=None)
    rng = np.random.default_rng(0)
    split = Split(
        tuple(Segment(row, row[0], Path("c")) for row in rng.standard_normal((2, 1, 2000)).astype(np.float32)),
        tuple(Segment(row, row[0], Path("n")) for row in rng.standard_normal((1, 1, 2000)).astype(np.float32)),
    )
    shares = np.tile(np.array([0.5, 0.2, 0.3], np.float32), (500, 1))
    mixture = Mixture(split, config, CPU, frame_labels([shares, shares], HOP, CPU))
    (batch,) = mixture.epoch(1, 32, torch.Generator().manual_seed(0), gain=1.0, special=Special(heartless_share=0.5))
    assert batch.labels is not None
    for row, snr_db in zip(batch.labels, batch.snr_db, strict=True):
        wanted = torch.tensor([0.0, 0.0, 1.0] if snr_db == -torch.inf else [0.5, 0.2, 0.3])
        torch.testing.assert_close(row, wanted.expand_as(row), atol=0.01, rtol=0)


def test_without_labels_batches_have_none() -> None:
    config = DataConfig((Source(("c",)),), (Source(("n",)),), rate_hz=500.0, window_samples=WINDOW, band_hz=None)
    row = np.random.default_rng(0).standard_normal((1, 2000)).astype(np.float32)
    segment = Segment(row, row[0], Path("c"))
    (batch,) = Mixture(Split((segment,), (segment,)), config, CPU).epoch(1, 4, torch.Generator(), gain=1.0)
    assert batch.labels is None
