"""Intervals by recording: windows of one recording are no independent draws, and the stated coverage holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.intervals import bootstrap_mean

RNG = np.random.default_rng(7)


def test_two_recordings_reach_from_one_mean_to_the_other() -> None:
    """By hand: with two recordings the expanded level goes to the ends of what can be drawn."""
    interval = bootstrap_mean(np.array([1.0, 3.0, 6.0, 8.0]), np.array([0, 0, 1, 1]))
    assert (interval.mean, interval.low, interval.high) == (4.5, 2.0, 7.0)


def test_the_mean_counts_windows_not_recordings() -> None:
    assert bootstrap_mean(np.array([0.0, 0.0, 0.0, 4.0]), np.array([5, 5, 5, 9])).mean == 1.0


def test_more_windows_of_the_same_recordings_make_no_narrower_interval() -> None:
    """An interval that drew windows would shrink by half here."""
    values, recording = RNG.normal(size=12), np.repeat(np.arange(6), 2)
    once, often = bootstrap_mean(values, recording), bootstrap_mean(np.tile(values, 4), np.tile(recording, 4))
    assert (often.mean, often.low, often.high) == pytest.approx((once.mean, once.low, once.high))


def test_95_percent_of_the_intervals_hold_the_true_mean() -> None:
    """400 data sets of 8 recordings whose own levels differ more than their windows do; 4 standard errors wide."""
    recording = np.repeat(np.arange(8), 5)
    held = 0
    for i in range(400):
        rng = np.random.default_rng(i)
        values = 1.0 + np.repeat(rng.normal(size=8), 5) + 0.3 * rng.normal(size=40)
        interval = bootstrap_mean(values, recording, n_resamples=1000, seed=i)
        held += interval.low <= 1.0 <= interval.high
    assert 0.95 - 4 * 0.011 < held / 400 < 0.995


@settings(max_examples=30)
@given(shift=st.floats(-100, 100), scale=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_intervals_move_and_stretch_with_the_values(shift: float, scale: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=20)
    recording = np.arange(20) // 4
    plain = bootstrap_mean(values, recording, n_resamples=200, seed=seed)
    moved = bootstrap_mean(scale * values + shift, recording, n_resamples=200, seed=seed)
    for end in ("low", "mean", "high"):
        assert getattr(moved, end) == pytest.approx(scale * getattr(plain, end) + shift, abs=1e-9)
    assert plain.low <= plain.mean <= plain.high


def test_windows_that_cannot_be_judged_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    interval = bootstrap_mean(values, np.array([0, 0, 1, 2]))
    assert (interval.mean, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_one_recording_has_a_mean_and_no_interval() -> None:
    interval = bootstrap_mean(np.array([1.0, 2.0]), np.array([3, 3]))
    assert interval.mean == 1.5
    assert np.isnan([interval.low, interval.high]).all()
    assert not interval.excludes_zero
    assert np.isnan(bootstrap_mean(np.array([np.nan]), np.array([0])).mean)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others() -> None:
    values, recording = RNG.normal(size=10), np.arange(10)
    assert bootstrap_mean(values, recording, seed=1) == bootstrap_mean(values, recording, seed=1)
    assert bootstrap_mean(values, recording, seed=1) != bootstrap_mean(values, recording, seed=2)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ([1.0, 2.0, 3.0], {}, "must have one shape"),
        ([1.0, np.inf], {}, "infinity"),
        ([1.0, 2.0], {"n_resamples": 10}, "n_resamples is 10"),
        ([1.0, 2.0], {"confidence": 95.0}, "confidence is 95.0"),
    ],
)
def test_what_makes_no_interval_is_refused(values: list[float], options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bootstrap_mean(np.array(values), np.array([0, 1]), **options)  # type: ignore[arg-type]
