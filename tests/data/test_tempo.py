"""A window at another tempo is the same one played faster or slower, and stays inside its recording."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split
from data.filters import bandpass
from data.mixing.mixture import Mixture
from data.mixing.tempo import TempoWindows, tempo_windows
from data.mixing.windows import Context

RATE_HZ = 500.0
WINDOW = 256
CPU = torch.device("cpu")
CHANGE = 0.2


def marked(n_samples: int, value: float) -> Segment:
    """A recording that is a wave about `value`, so that the value of every sample identifies its recording."""
    row = (value + 0.1 * np.sin(np.arange(n_samples) * 0.4)).astype(np.float32)[None]
    return Segment(row, row[0] - np.float32(value), Path("x"))


def windows_of(segments: list[Segment], before: int = 0, after: int = 0, change: float = CHANGE) -> TempoWindows:
    return tempo_windows(segments, WINDOW, CPU, change=change, context=Context(before, after))


def taken(windows: TempoWindows, starts: torch.Tensor, chance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The windows at `starts`, and their tempos."""
    places = windows.place(starts, chance)
    return windows.play(places), 1 + places.longer


def chance_of(tempo: float) -> torch.Tensor:
    """The chance that selects a tempo."""
    return torch.tensor([((tempo - 1) / CHANGE + 1) / 2])


def at(windows: TempoWindows, own: int) -> torch.Tensor:
    """The start of the window at a sample of the first recording."""
    return torch.tensor([windows.windows.origins[0] + own])


@settings(max_examples=40)
@given(frequency=st.floats(0.02, 0.3), phase=st.floats(0, 6.3), chance=st.floats(0, 1, width=32))
def test_a_tone_is_played_at_the_tempo_to_70_db(frequency: float, phase: float, chance: float) -> None:
    """frequency: as a share of the rate."""
    tone = np.sin(2 * np.pi * frequency * np.arange(2000) + phase).astype(np.float32)[None]
    windows = windows_of([Segment(tone, tone[0], Path("x"))], before=40, after=30)
    (played,), tempo = taken(windows, at(windows, 700), torch.tensor([chance]))
    assert float(tempo) == pytest.approx(1 + (2 * chance - 1) * CHANGE, abs=1e-6)
    place = 700 + (np.arange(WINDOW + 70) - 40) * float(tempo)
    wanted = np.sin(2 * np.pi * frequency * place + phase)
    error_db = 10 * np.log10(np.mean((played[0].numpy() - wanted) ** 2) / np.mean(wanted**2))
    assert error_db < -70


def test_what_a_faster_tempo_lifts_out_of_the_band_is_taken_away() -> None:
    tone = np.sin(2 * np.pi * 54 * np.arange(9000) / RATE_HZ).astype(np.float32)[None]
    banded = bandpass(tone, RATE_HZ, 25.0, 55.0)
    noise = bandpass(np.random.default_rng(0).standard_normal((1, 9000)), RATE_HZ, 25.0, 55.0)
    config = DataConfig(
        clean=(Source(("c",)),),
        noise=(Source(("n",)),),
        rate_hz=RATE_HZ,
        window_samples=1024,
        augment=AugmentConfig(tempo=CHANGE),
    )
    split = Split((Segment(banded, banded[0], Path("c")),), (Segment(noise, noise[0], Path("n")),))
    augmenter = Mixture(split, config, CPU).augmenter
    assert augmenter is not None
    plan = augmenter.plan(
        torch.full((2,), augmenter.cleans.windows.origins[0] + 3000),
        torch.zeros(2, dtype=torch.int64),
        augmenter.cleans.windows.starts(1),
        torch.Generator().manual_seed(0),
    )
    plan.of_clean[0] = torch.tensor([0.5, 1.0])  # tempo 1, and 1.2: 65 Hz
    places = augmenter.cleans.place(plan.clean_starts, plan.of_clean[0])
    usual, faster = augmenter._clean(places, plan)[:, 0, 200:-200].std(-1)
    assert usual == pytest.approx(float(np.std(banded[0, 500:-500])), rel=0.02)
    assert faster < 0.25 * usual


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(WINDOW + 20, 3 * WINDOW), min_size=1, max_size=3), data=st.data())
def test_a_window_at_any_tempo_lies_in_its_own_recording(lengths: list[int], data: st.DataObject) -> None:
    """Context too, even where it is longer than the recording: it is the recording's own mirror image."""
    segments = [marked(n, 10.0 * (i + 1)) for i, n in enumerate(lengths)]
    before, after = data.draw(st.tuples(st.integers(0, 900), st.integers(0, 900)))
    windows = windows_of(segments, before, after)
    for owner, (n, origin) in enumerate(zip(lengths, windows.windows.origins, strict=True)):
        for own in (0, (n - WINDOW) // 2, n - WINDOW):
            for chance in (0.0, 0.31, 0.5, 1.0):
                window, _ = taken(windows, torch.tensor([origin + own]), torch.tensor([chance]))
                assert window.shape == (1, 1, before + WINDOW + after)
                assert float((window / 10 - (owner + 1)).abs().max()) < 0.3


@pytest.mark.parametrize("change", [0.0, CHANGE])
def test_tempo_one_takes_the_very_window_and_context_is_what_stands_around_it(change: float) -> None:
    segment = marked(2000, 10.0)
    windows = windows_of([segment], 30, 34, change)
    (window,), tempo = taken(windows, at(windows, 700), chance_of(1.0))
    assert float(tempo) == 1
    np.testing.assert_allclose(window[0].numpy(), segment.signals[0, 670 : 700 + WINDOW + 34], rtol=1e-6)


@pytest.mark.parametrize(("own", "moved"), [(600, 600), (1800, 2000 - 1 - (WINDOW - 1) * 1.2)])
def test_a_window_begins_where_the_usual_one_does_unless_it_would_reach_beyond_its_recording(
    own: int, moved: float
) -> None:
    segment = marked(2000, 0.0)
    windows = windows_of([segment])
    (window,), _ = taken(windows, at(windows, min(own, 2000 - WINDOW)), chance_of(1.2))
    expected = 0.1 * np.sin((np.floor(moved) + 1.2 * np.arange(WINDOW)) * 0.4)
    np.testing.assert_allclose(window[0].numpy()[:-10], expected[:-10], atol=2e-3)


def test_a_recording_too_short_at_a_tempo_keeps_tempo_one() -> None:
    windows = windows_of([marked(WINDOW + 5, 10.0), marked(3 * WINDOW, 20.0)])
    (window,), tempo = taken(windows, at(windows, 3), chance_of(1.2))
    assert float(tempo) == 1
    np.testing.assert_allclose(window.numpy(), marked(WINDOW + 5, 10.0).signals[:, 3 : 3 + WINDOW], rtol=1e-6)


def test_a_window_that_would_be_a_dropout_keeps_tempo_one() -> None:
    """At tempo 0.8 a window ends before the sound begins that the usual window has."""
    signals = marked(3000, 0.0).signals.copy()
    signals[:, 1000:2000] = 0
    windows = windows_of([Segment(signals, signals[0], Path("x"))])
    start = at(windows, 2000 - WINDOW + 20)
    assert float(taken(windows, start, chance_of(0.8))[1]) == 1
    assert float(taken(windows, start, chance_of(1.2))[1]) == 1  # it would be alive, but only its last samples
    assert float(taken(windows, at(windows, 2000 - WINDOW + 80), chance_of(0.8))[1]) == pytest.approx(0.8)
