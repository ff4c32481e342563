"""R peaks found where they were put, and nothing found where there is none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.ecg import beats, heart_rate_bpm, problem_of, r_peaks
from data.readers.read import read
from data.recording import Recording

Floats = NDArray[np.float64]
TRUTH_S = 0.7 + np.cumsum(0.85 + 0.05 * np.sin(np.arange(30)))


@pytest.fixture
def ecg_like() -> Callable[..., Floats]:
    """Makes an ECG with R peaks at the given seconds: QRS complexes, P and T waves, a wandering base."""

    def make(r_peaks_s: Floats, rate_hz: float, duration_s: float, noise: float = 0.02) -> Floats:
        time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
        ecg = 0.2 * np.sin(2 * np.pi * 0.25 * time_s)
        for r_peak_s in r_peaks_s:
            for delay_s, width_s, height in (
                (-0.16, 0.025, 0.12),
                (-0.028, 0.009, -0.15),
                (0.0, 0.011, 1.0),
                (0.03, 0.01, -0.2),
                (0.28, 0.05, 0.25),
            ):
                ecg += height * np.exp(-0.5 * ((time_s - r_peak_s - delay_s) / width_s) ** 2)
        return ecg + noise * np.random.default_rng(3).standard_normal(time_s.size)

    return make


def share_found(found_s: Floats, truth_s: Floats, within_s: float) -> float:
    return float(np.mean([np.abs(found_s - t).min() < within_s for t in truth_s]))


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 333.0, 500.0, 1000.0, 32000.0])
@pytest.mark.parametrize("polarity", [1.0, -1.0])
def test_r_peaks_are_found_at_any_rate_and_polarity(
    ecg_like: Callable[..., Floats], rate_hz: float, polarity: float
) -> None:
    """Every beat but the first and the last, within 10 ms, and none too many."""
    ecg = (polarity * ecg_like(TRUTH_S, rate_hz, 28.0)).astype(np.float32)
    found_s = r_peaks(ecg, rate_hz)
    truth_s = TRUTH_S[TRUTH_S < 27.5]
    assert share_found(found_s, truth_s[1:-1], 0.010) == 1.0
    assert share_found(truth_s, found_s, 0.010) == 1.0
    assert np.all(np.diff(found_s) > 0)
    assert heart_rate_bpm(found_s) == pytest.approx(60 / np.median(np.diff(truth_s)), abs=1.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_units_and_offset_do_not_matter(ecg_like: Callable[..., Floats], scale: float, offset: float) -> None:
    ecg = (scale * (ecg_like(TRUTH_S, 500.0, 28.0) + offset)).astype(np.float32)
    truth_s = TRUTH_S[TRUTH_S < 27.5]
    assert share_found(r_peaks(ecg, 500.0), truth_s[1:-1], 0.010) == 1.0


def test_a_flat_or_short_ecg_has_no_peaks_and_no_rate() -> None:
    for ecg in (np.zeros(5000), np.full(5000, 3.3), np.zeros(0), np.ones(3), np.sin(np.arange(300.0))):
        found_s = r_peaks(ecg.astype(np.float32), 500.0)
        assert found_s.shape == (0,)
        assert found_s.dtype == np.float64
        assert np.isnan(heart_rate_bpm(found_s))


@settings(deadline=None)
@given(st.integers(2, 4000), st.integers(0, 2**32 - 1))
def test_noise_of_any_length_never_raises(n: int, seed: int) -> None:
    ecg = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    found_s = r_peaks(ecg, 400.0)
    assert np.all((found_s >= 0) & (found_s <= n / 400.0))


def test_heart_rate_is_that_of_the_median_interval() -> None:
    """One missed beat doubles one interval and leaves the median."""
    peaks_s = np.delete(np.arange(20) * 0.8, 7)
    assert heart_rate_bpm(peaks_s) == pytest.approx(75.0)
    assert np.isnan(heart_rate_bpm(peaks_s[:2]))
    assert heart_rate_bpm(peaks_s[:3]) == pytest.approx(75.0)


def test_annotated_beats_come_before_detected_ones(ecg_like: Callable[..., Floats]) -> None:
    ecg = ecg_like(TRUTH_S, 500.0, 28.0).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((1, 28000)).astype(np.float32)

    def recording(ecg: NDArray[np.float32] | None, marks: Floats | None) -> Recording:
        return Recording(noise, 1000.0, ("ch1z",), Path("x"), ecg, None if ecg is None else 500.0, marks)

    marks = np.array([1.0, 2.0])
    assert beats(recording(ecg, marks)) is not None
    np.testing.assert_array_equal(beats(recording(ecg, marks)), marks)
    detected = beats(recording(ecg, None))
    assert detected is not None and detected.size > 25
    assert beats(recording(None, None)) is None


def test_real_ecgs_give_a_steady_rhythm(realdata: Path) -> None:
    """At rest: 50-110 bpm, no interval twice the median (a missed beat) or half of it (a false one)."""
    files = sorted((realdata / "heart_ecg" / "radar2pcg").glob("*_ECG.wav"))
    assert files
    for path in files:
        recording = read(path)
        found_s = r_peaks(recording.signals[0], recording.rate_hz)
        intervals_s = np.diff(found_s)
        assert 50 < heart_rate_bpm(found_s) < 110, path.name
        assert found_s.size >= 0.9 * recording.duration_s * heart_rate_bpm(found_s) / 60
        assert intervals_s.max() < 1.6 * np.median(intervals_s), path.name
        assert intervals_s.min() > 0.6 * np.median(intervals_s), path.name
        inverted_s = r_peaks(-recording.signals[0], recording.rate_hz)
        np.testing.assert_allclose(inverted_s, found_s)


@given(bpm=st.floats(40, 200), seed=st.integers(0, 99), jitter=st.floats(0, 0.2))
def test_the_beats_of_a_heart_are_a_reference_with_ectopic_beats_too(bpm: float, seed: int, jitter: float) -> None:
    rng = np.random.default_rng(seed)
    intervals_s = 60 / bpm * (1 + jitter / 2 * rng.uniform(-1, 1, 120))
    for early in range(5, 118, 20):  # an ectopic beat and its pause
        intervals_s[early] *= 0.6
        intervals_s[early + 1] *= 1.4
    peaks_s = np.cumsum(intervals_s)
    assert problem_of(peaks_s, float(peaks_s[-1])) == ""


def test_beats_that_are_too_few_too_fast_or_jump_are_no_reference() -> None:
    rng = np.random.default_rng(0)
    assert problem_of(np.array([1.0, 2.0]), 3.0) == "2 beats in 3 s"
    assert problem_of(np.arange(0, 20, 1.0), 60.0) == "20 beats in 60 s"
    assert problem_of(np.arange(0, 60, 0.2), 60.0) == "300 bpm"
    assert "its rate jumps at" in problem_of(np.sort(rng.uniform(0, 60, 70)), 60.0)
