"""A recording at another tempo is the same one played faster or slower, and windows stay inside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, Source
from data.corpus import Segment
from data.filters import bandpass
from data.mixing.tempo import at_tempo, tempo_windows, tempos_within

RATE_HZ = 500.0
WINDOW = 256
CPU = torch.device("cpu")


def config(**options: Any) -> DataConfig:
    chosen: dict[str, Any] = {"rate_hz": RATE_HZ, "window_samples": WINDOW, "band_hz": None} | options
    return DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), **chosen)


def marked(n_samples: int, value: float) -> Segment:
    """A recording that is a wave about `value`, so that the value of every sample identifies its recording."""
    row = (value + 0.1 * np.sin(np.arange(n_samples) * 0.4)).astype(np.float32)[None]
    return Segment(row, row[0] - np.float32(value), Path("x"))


@pytest.mark.parametrize("tempo", [0.85, 0.93, 1.07, 1.15])
def test_a_tone_s_frequency_changes_by_exactly_the_tempo(tempo: float) -> None:
    frequency_hz, n_samples = 40.0, 4000
    time_s = np.arange(n_samples) / RATE_HZ
    tone = np.sin(2 * np.pi * frequency_hz * time_s).astype(np.float32)[None]
    played = at_tempo(Segment(tone, tone[0], Path("x"), np.array([1.0, 2.0])), tempo, config())
    assert played.n_samples == round(n_samples / tempo)
    at_s = np.arange(played.n_samples) / RATE_HZ
    inner = slice(200, -200)
    expected = np.sin(2 * np.pi * frequency_hz * tempo * at_s)
    np.testing.assert_allclose(played.signals[0, inner], expected[inner], atol=5e-3)
    assert played.r_peaks_s is not None
    np.testing.assert_allclose(played.r_peaks_s, np.array([1.0, 2.0]) / tempo)


def test_what_a_faster_tempo_lifts_out_of_the_band_is_taken_away() -> None:
    tone = np.sin(2 * np.pi * 54 * np.arange(4000) / RATE_HZ).astype(np.float32)[None]
    banded = bandpass(tone, RATE_HZ, 25.0, 55.0)
    played = at_tempo(Segment(banded, banded[0], Path("x")), 1.25, config(band_hz=(25.0, 55.0)))
    assert np.std(played.signals[0, 500:-500]) < 0.25 * np.std(banded[0, 500:-500])
    assert np.array_equal(played.in_band, played.signals[0])


@settings(max_examples=60)
@given(change=st.floats(0, 0.5))
def test_tempos_begin_with_one_and_lie_within_the_change(change: float) -> None:
    tempos = tempos_within(change)
    assert tempos[0] == 1.0
    assert len(set(tempos)) == len(tempos) <= 17
    assert all(abs(tempo - 1) < change + 0.00501 and tempo == round(tempo, 2) for tempo in tempos)
    if change >= 0.01:
        assert min(tempos) < 1 < max(tempos)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(WINDOW + 20, 3 * WINDOW), min_size=1, max_size=3), data=st.data())
def test_a_window_at_any_tempo_lies_in_its_own_recording(lengths: list[int], data: st.DataObject) -> None:
    """Context too, even where it is longer than the recording: it is the recording's own mirror image."""
    segments = [marked(n, 10.0 * (i + 1)) for i, n in enumerate(lengths)]
    tempos = (1.0, 0.8, 1.2)
    context = data.draw(st.tuples(st.integers(0, 900), st.integers(0, 900)))
    windows = tempo_windows(segments, tempos, config(), context, CPU)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts, owners = [], []
    for i, n in enumerate(lengths):
        for own in (0, (n - WINDOW) // 2, n - WINDOW):
            starts.append(int(offsets[i]) + own)
            owners.append(i)
    for choice in range(len(tempos)):
        at = windows.at(torch.tensor(starts), torch.full((len(starts),), choice))
        taken = windows.windows.take(at)
        assert taken.shape[-1] == WINDOW + sum(context)
        for window, owner in zip(taken[:, 0], owners, strict=True):
            assert float((window / 10 - (owner + 1)).abs().max()) < 0.3


def test_tempo_one_takes_the_very_window_and_context_is_what_stands_around_it() -> None:
    segment = marked(2000, 10.0)
    windows = tempo_windows([segment], (1.0, 0.9), config(), (30, 34), CPU)
    start = 700
    (taken,) = windows.windows.take(windows.at(torch.tensor([start]), torch.tensor([0])))
    assert np.array_equal(taken[0].numpy(), segment.signals[0, start - 30 : start + WINDOW + 34])


def test_a_slower_window_begins_where_the_usual_one_does() -> None:
    """At tempo 0.8 the sample at 800 of the recording lies at 1,000 of its copy."""
    segment = marked(2000, 0.0)
    windows = tempo_windows([segment], (1.0, 0.8), config(), (0, 0), CPU)
    (taken,) = windows.windows.take(windows.at(torch.tensor([800]), torch.tensor([1])))
    expected = 0.1 * np.sin((800 + 0.8 * np.arange(WINDOW)) * 0.4)
    np.testing.assert_allclose(taken[0].numpy(), expected, atol=2e-3)


def test_a_recording_too_short_at_a_tempo_keeps_tempo_one() -> None:
    short, long = marked(WINDOW + 5, 10.0), marked(3 * WINDOW, 20.0)
    windows = tempo_windows([short, long], (1.0, 1.2), config(), (0, 0), CPU)
    start = torch.tensor([3])
    assert torch.equal(windows.at(start, torch.tensor([1])), windows.at(start, torch.tensor([0])))


def test_a_window_that_would_be_a_dropout_keeps_tempo_one() -> None:
    segment = marked(3000, 0.0)
    signals = segment.signals.copy()
    signals[:, 1000:2000] = 0
    dead = Segment(signals, signals[0], Path("x"))
    windows = tempo_windows([dead], (1.0, 0.5), config(), (0, 0), CPU)
    start = torch.tensor([2000 - WINDOW + 20])  # its last samples are alive, the slower copy's are not
    assert torch.equal(windows.at(start, torch.tensor([1])), windows.at(start, torch.tensor([0])))
