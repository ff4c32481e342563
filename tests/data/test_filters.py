"""Resampling and band-pass against sines, whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.filters import bandpass, resample
from data.recording import Signal


def sine(frequency_hz: float, rate_hz: float, n_samples: int) -> Signal:
    values: Signal = np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / rate_hz).astype(np.float32)
    return values


@pytest.mark.parametrize(("from_hz", "to_hz"), [(32000, 1000), (4000, 1000), (500, 1000), (1000, 32000), (44100, 1000)])
def test_a_sine_keeps_frequency_phase_and_amplitude(from_hz: float, to_hz: float) -> None:
    got = resample(sine(40, from_hz, int(2 * from_hz)), from_hz, to_hz)
    want = sine(40, to_hz, int(2 * to_hz))
    inner = slice(int(0.3 * to_hz), -int(0.3 * to_hz))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[inner], want[inner], atol=2e-3)


def test_what_lies_above_half_the_new_rate_is_removed_not_folded() -> None:
    got = resample(sine(960, 4000, 16000), 4000, 1000)  # would fold to 40 Hz
    assert np.abs(got[200:-200]).max() < 0.01


def test_an_offset_stays_up_to_both_ends() -> None:
    got = resample(np.full((2, 4000), 9.81), 4000, 1000)
    np.testing.assert_allclose(got, 9.81, rtol=1e-4)


def test_equal_rates_return_the_input() -> None:
    signal = sine(10, 1000, 100)
    assert resample(signal, 1000, 1000) is signal


@settings(max_examples=40)
@given(
    n_samples=st.integers(2, 3000),
    from_hz=st.floats(80, 5000),
    to_hz=st.floats(80, 5000),
)
def test_the_length_is_the_duration_times_the_new_rate(n_samples: int, from_hz: float, to_hz: float) -> None:
    n_out = round(n_samples * to_hz / from_hz)
    signal = np.ones((2, n_samples), dtype=np.float32)
    if n_out < 1:
        with pytest.raises(DataError, match="leave none"):
            resample(signal, from_hz, to_hz)
    else:
        assert resample(signal, from_hz, to_hz).shape == (2, n_out)


def test_an_odd_rate_does_not_drift() -> None:
    """999.8 Hz taken as 1000 Hz would be 12 ms off after a minute."""
    got = resample(sine(5, 999.8, 59988), 999.8, 1000)
    np.testing.assert_allclose(got[55000:59000], sine(5, 1000, 60000)[55000:59000], atol=0.02)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 1000), (1000, -1), (1000, float("nan")), (1e7, 10)])
def test_an_impossible_rate_is_refused_by_name(from_hz: float, to_hz: float) -> None:
    with pytest.raises(DataError, match="resample: "):
        resample(sine(1, 10, 1000), from_hz, to_hz)


def test_the_band_passes_unshifted_and_the_rest_goes() -> None:
    inside, below, above = sine(40, 1000, 8000), sine(8, 1000, 8000), sine(120, 1000, 8000)
    got = bandpass(np.stack([inside, below, above, inside + below + above]), 1000, 25, 55)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(got[0, middle], inside[middle], atol=0.02)
    assert np.abs(got[1:3, middle]).max() < 1e-3
    np.testing.assert_allclose(got[3], got[:3].sum(axis=0), atol=1e-4)


def test_both_edges_are_6_db_down() -> None:
    """3 dB per pass, two passes."""
    edges = np.stack([sine(25, 1000, 20000), sine(55, 1000, 20000)])
    got = bandpass(edges, 1000, 25, 55)[:, 2000:-2000]
    level_db = 20 * np.log10(got.std(axis=1) / edges[:, 2000:-2000].std(axis=1))
    np.testing.assert_allclose(level_db, -6.02, atol=0.05)


def test_the_filter_is_symmetric_in_time() -> None:
    pulse = np.zeros(4001, dtype=np.float32)
    pulse[2000] = 1
    got = bandpass(pulse, 1000, 25, 55)
    np.testing.assert_allclose(got, got[::-1], atol=1e-5)
    assert np.argmax(np.abs(got)) == 2000


def test_the_shape_is_kept_and_the_input_too() -> None:
    signal = np.random.default_rng(0).standard_normal((2, 3, 500)).astype(np.float32)
    before = signal.copy()
    got = bandpass(signal, 1000, 25, 55)
    assert got.shape == signal.shape
    assert got.dtype == np.float32
    np.testing.assert_array_equal(signal, before)


def test_a_high_rate_is_stable() -> None:
    got = bandpass(sine(40, 32000, 64000), 32000, 25, 55)
    np.testing.assert_allclose(got[20000:-20000], sine(40, 32000, 64000)[20000:-20000], atol=0.02)


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "low_hz", "high_hz", "message"),
    [
        (1000, 100, 25, 55, "must lie below 50 Hz"),
        (1000, 110, 25, 55, "must lie below 55 Hz"),
        (100, 1000, 25, 55, "needs more than 100"),
        (1000, 1000, 55, 25, "0 < low_hz < high_hz"),
        (1000, 1000, 0, 25, "0 < low_hz < high_hz"),
    ],
)
def test_an_impossible_band_is_refused(
    n_samples: int, rate_hz: float, low_hz: float, high_hz: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bandpass(np.ones(n_samples), rate_hz, low_hz, high_hz)
