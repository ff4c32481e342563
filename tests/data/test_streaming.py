"""Resampling and band-pass as the signal arrives: the same in any chunks, and as the whole-signal forms give it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import sosfreqz

from data.errors import DataError
from data.filters import bandpass, bandpass_sections, resample
from data.streaming import ForwardBand, Resampler, forward_band, forward_bandpass, resampler

CHUNKS = st.lists(st.integers(0, 700), min_size=1, max_size=6).filter(any)


def noise(n_samples: int, n_channels: int = 2) -> NDArray[np.float64]:
    return np.random.default_rng(3).standard_normal((n_channels, n_samples))


def in_chunks(stage: ForwardBand | Resampler, signal: NDArray[np.float64], sizes: list[int]) -> NDArray[np.float64]:
    state, parts, start, i = stage.initial(len(signal)), [], 0, 0
    while start < signal.shape[1]:
        part, state = stage.step(signal[:, start : start + sizes[i % len(sizes)]], state)  # type: ignore[arg-type]
        parts.append(part)
        start, i = start + sizes[i % len(sizes)], i + 1
    return np.concatenate(parts, axis=1)


@settings(max_examples=20, deadline=None)
@given(sizes=CHUNKS)
def test_the_band_pass_is_the_same_in_any_chunks(sizes: list[int]) -> None:
    band, signal = forward_band(250.0, 25.0, 55.0), noise(2000)
    np.testing.assert_allclose(in_chunks(band, signal, sizes), in_chunks(band, signal, [2000]), atol=1e-12)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(1000, 250), (250, 1000), (44100, 250), (999.8, 250), (250, 250)])
@settings(max_examples=10, deadline=None)
@given(sizes=CHUNKS)
def test_resampling_is_the_same_in_any_chunks(from_hz: float, to_hz: float, sizes: list[int]) -> None:
    stage, signal = resampler(from_hz, to_hz), noise(3000)
    np.testing.assert_allclose(in_chunks(stage, signal, sizes), in_chunks(stage, signal, [3000]), atol=1e-10)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(1000, 250), (250, 1000), (4000, 250), (999.8, 250)])
def test_it_resamples_as_the_whole_signal_form(from_hz: float, to_hz: float) -> None:
    """At the ends, that form continues the signal in another way."""
    signal = noise(6000)
    got, want = in_chunks(resampler(from_hz, to_hz), signal, [100]), resample(signal, from_hz, to_hz)
    n_ends = int(0.3 * to_hz)
    inner = slice(n_ends, got.shape[1] - n_ends)
    np.testing.assert_allclose(got[:, inner], want[:, inner], atol=2e-3)
    # The delay that is stated is all that is missing at the end.
    assert want.shape[1] - got.shape[1] <= np.ceil(resampler(from_hz, to_hz).delay * to_hz / from_hz) + 1


def test_no_sample_after_an_output_is_used_beyond_the_delay() -> None:
    stage, signal = resampler(1000, 250), noise(2000)
    out, _ = stage.step(signal[:, :1000], stage.initial(2))
    last_at = (out.shape[1] - 1) * 4
    assert 1000 - last_at - 1 <= stage.delay + 4


def test_the_gain_is_that_of_the_band_pass_in_both_directions() -> None:
    band, hz = forward_band(250.0, 25.0, 55.0), np.linspace(5, 120, 200)
    _, forward = sosfreqz(band.sections, hz, fs=250.0)
    _, once = sosfreqz(bandpass_sections(250.0, 25.0, 55.0), hz, fs=250.0)
    np.testing.assert_allclose(np.abs(forward), np.abs(once) ** 2, atol=1e-12)


def test_a_sound_that_fills_the_band_stays_at_its_place() -> None:
    """The energy of a click has its middle where the zero-phase filter has it, within a sample."""
    time_s, click = np.arange(2500) / 250.0, np.full((1, 2500), 9.81)
    click[0, 1250] += 1.0
    found, zero = (band(click, 250.0, 25.0, 55.0)[0] for band in (forward_bandpass, bandpass))
    middles = [np.sum(np.square(x) * time_s) / np.sum(np.square(x)) for x in (found, zero)]
    assert abs(middles[0] - middles[1]) < 1 / 250.0
    assert 0.03 < forward_band(250.0, 25.0, 55.0).delay_samples / 250.0 < 0.1


def test_an_offset_of_the_sensor_makes_no_step() -> None:
    assert np.abs(forward_bandpass(np.full((1, 500), 9.81), 250.0, 25.0, 55.0)).max() < 1e-6


def test_what_was_loud_dies_away_and_does_not_slow_the_recursion() -> None:
    band = forward_band(250.0, 25.0, 55.0)
    _, state = band.step(np.full((1, 100), 1e9), band.initial(1))
    for _ in range(40):
        _, state = band.step(np.zeros((1, 250)), state)
    assert not state.sections.any()


@pytest.mark.parametrize("band", [(55.0, 25.0), (25.0, 125.0)])
def test_a_band_that_cannot_be_is_refused(band: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="bandpass: "):
        forward_band(250.0, *band)
