"""Gaps, jitter and drift of the times in text tables."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.tables import Floats, N, X, check, even, got, has_note, lines, refusal, timed


def test_lost_samples_are_gaps_of_as_many_as_fit(tmp_path: Path) -> None:
    times = [time + 0.010 * (i >= 50) + 0.004 * (i >= 120) for i, time in enumerate(even(0.002))]
    text = "time (s),a,b,c\n" + lines(timed([round(time, 6) for time in times]))
    cut, filled = got(tmp_path, text), got(tmp_path, text, gaps="fill")
    check(cut, X, ("a", "b", "c"), 500.0)
    assert filled.signals.shape == (3, N + 7)
    assert filled.signals[0, 52] == pytest.approx(X[49, 0] + (X[50, 0] - X[49, 0]) * 3 / 6, abs=1e-6)
    assert has_note(cut, "gaps of 7 samples") and has_note(cut, "2 gaps of 0.014 s")
    assert "NaN" in refusal(tmp_path, text, gaps="refuse")


def test_gaps_of_more_than_a_tenth_are_refused(tmp_path: Path) -> None:
    for gap in (0.2, 1e9):
        times = [round(time + gap * (i >= 50), 6) for i, time in enumerate(even(0.002))]
        message = refusal(tmp_path, "time (s),a,b,c\n" + lines(timed(times)))
        assert "at most 10 %" in message and "equal steps" in message


def test_jitter_is_interpolated_to_an_even_rate_with_a_note(tmp_path: Path) -> None:
    """A slow sine is the same at the times of the grid."""
    for seed in range(5):
        times = np.arange(2000) / 500 + np.random.default_rng(seed).uniform(-0.0004, 0.0004, 2000)
        rows = [[f"{t:.7f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
        recording = got(tmp_path, "time (s),a\n" + lines(rows))
        assert recording.rate_hz == pytest.approx(500.0, rel=2e-5)
        assert recording.signals.shape == (1, 2000)
        expected = np.sin(2 * np.pi * 3 * np.arange(2000) / 500)
        np.testing.assert_allclose(recording.signals[0, 1:-1], expected[1:-1], rtol=0, atol=2e-3)
        assert has_note(recording, "jitter by up to", "% of a step")


def test_jitter_beside_a_gap_keeps_the_gap(tmp_path: Path) -> None:
    times = np.arange(2000) / 500 + np.random.default_rng(3).uniform(-0.0004, 0.0004, 2000)
    times[900:] += 0.1
    rows = [[f"{t:.7f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
    recording = got(tmp_path, "time (s),a\n" + lines(rows), gaps="fill")
    assert recording.signals.shape == (1, 2050)
    assert has_note(recording, "1 gap of") and has_note(recording, "jitter")


@pytest.mark.parametrize("fault", ["falls", "repeats", "jitters"])
def test_times_that_fall_or_jitter_by_more_than_half_a_step_are_refused(tmp_path: Path, fault: str) -> None:
    times = np.arange(N) / 500
    if fault == "jitters":
        times = np.cumsum(np.random.default_rng(2).uniform(0.0002, 0.004, N))
    else:
        times[77:] -= 0.002 if fault == "repeats" else 0.003
    message = refusal(tmp_path, "time (s),a,b,c\n" + lines(timed([f"{t:.6f}" for t in times])))
    assert "does not rise in equal steps" in message
    assert fault == "jitters" or "row 78" in message


def drifting(start_hz: float, end_hz: float, n: int = 2000) -> Floats:
    return np.concatenate([[0.0], np.cumsum(1 / np.linspace(start_hz, end_hz, n - 1))])


@pytest.mark.parametrize("end_hz", [503.0, 506.0])
@pytest.mark.parametrize("kind", ["linear", "two rates"])
def test_even_steps_that_drift_by_more_than_half_a_sample_are_interpolated_with_a_note(
    tmp_path: Path, end_hz: float, kind: str
) -> None:
    """A slow sine is the same at the times of the grid, although each step is within 1 % of the mean."""
    times = drifting(500.0, end_hz)
    if kind == "two rates":
        times = np.concatenate([np.arange(1000) / 500, 2.0 + np.arange(1000) / end_hz])
    rows = [[f"{t:.8f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
    recording = got(tmp_path, "time (s),a\n" + lines(rows))
    expected = np.sin(2 * np.pi * 3 * np.arange(recording.signals.shape[1]) / recording.rate_hz)
    np.testing.assert_allclose(recording.signals[0, 1:-1], expected[1:-1], rtol=0, atol=2e-3)
    assert has_note(recording, "drift by up to", "interpolated")


def test_even_steps_that_drift_by_less_than_half_a_sample_stay_as_they_are(tmp_path: Path) -> None:
    times = drifting(500.0, 500.1, N)
    recording = got(tmp_path, "time (s),a,b,c\n" + lines(timed([f"{t:.9f}" for t in times])))
    check(recording, X, ("a", "b", "c"), recording.rate_hz)
    assert not recording.notes


def test_drift_beside_a_gap_is_seen(tmp_path: Path) -> None:
    times = drifting(500.0, 506.0)
    times[900:] += 0.1
    rows = [[f"{t:.8f}", f"{np.sin(2 * np.pi * 3 * t):.9f}"] for t in times]
    recording = got(tmp_path, "time (s),a\n" + lines(rows), gaps="fill")
    expected = np.sin(2 * np.pi * 3 * np.arange(recording.signals.shape[1]) / recording.rate_hz)
    np.testing.assert_allclose(recording.signals[0, 1:890], expected[1:890], rtol=0, atol=5e-3)
    np.testing.assert_allclose(recording.signals[0, 970:-1], expected[970:-1], rtol=0, atol=5e-3)
