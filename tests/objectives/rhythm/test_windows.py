"""The usable share of windows: right is 1, wrong costs ten, not sure is 0, silence and NaN are wrong."""

import numpy as np
import pytest
from numpy.typing import NDArray

from objectives.rhythm.windows import WRONG_COST, usable_values

RATE_HZ = 250.0
Floats = NDArray[np.float64]
NONE = np.array([np.nan])


def heart(seconds: float, bpm: float = 72.0) -> Floats:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    signal = 0.01 * np.random.default_rng(0).standard_normal(time_s.size)
    for s1_s in np.arange(0.3, seconds, 60 / bpm):
        for at_s, height in ((s1_s, 1.0), (s1_s + 0.441 - 0.0022 * bpm, 0.7)):
            signal += height * np.exp(-0.5 * ((time_s - at_s) / 0.025) ** 2) * np.cos(80 * np.pi * (time_s - at_s))
    return signal


def noise(seconds: float) -> Floats:
    return np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ))


def value(estimate: Floats, clean: Floats, reference_bpm: float = np.nan) -> float:
    (found,) = usable_values(estimate[None], clean[None], RATE_HZ, np.array([reference_bpm]))
    return float(found)


@pytest.mark.parametrize("seconds", [4.1, 5.12, 9.9, 10.0, 14.3, 25.0])
def test_a_clear_heart_is_usable_and_a_wrong_one_costs(seconds: float) -> None:
    clean = heart(seconds)
    assert value(clean, clean) == value(clean, clean, 72.0) == 1
    assert value(-30 * clean, clean) == 1
    for wrong in (value(clean, clean, 80.0), value(heart(seconds, 90.0), clean)):
        assert wrong == pytest.approx(-WRONG_COST)


@pytest.mark.parametrize("seconds", [5.12, 20.0])
def test_an_estimate_that_is_not_sure_neither_gains_nor_loses(seconds: float) -> None:
    assert value(noise(seconds), heart(seconds)) == 0


def test_spans_count_by_their_duration() -> None:
    """Of 15 s, 10 s are covered by noise; and 5 s without anything to hear are not sure."""
    clean = heart(15.0)
    covered = clean.copy()
    covered[: round(10 * RATE_HZ)] = noise(10.0)
    assert value(covered, clean) in (0, pytest.approx(1 / 3))
    cut = clean.copy()
    cut[round(10 * RATE_HZ) :] = 0
    assert value(cut, clean) == pytest.approx(2 / 3)


def test_silence_and_what_is_no_number_are_wrong() -> None:
    """Also silence with rounding errors, and one sample that is not finite."""
    clean = heart(6.0)
    broken = clean.copy()
    broken[7] = np.inf
    for estimate in (0 * clean, 1e-8 * clean, np.full_like(clean, np.nan), broken):
        assert value(estimate, clean) == value(estimate, clean, 72.0) == -WRONG_COST


def test_windows_without_a_reference_are_left_out() -> None:
    clean = np.stack([heart(6.0), np.zeros(1500), np.zeros(1500)])
    found = usable_values(clean, clean, RATE_HZ, np.array([np.nan, np.nan, 72.0]))
    assert found.tolist() == [1, -WRONG_COST]
    assert usable_values(clean[1:2], clean[1:2], RATE_HZ, NONE).shape == (0,)


def test_a_model_that_is_sure_of_more_but_wrong_in_a_twentieth_of_it_does_not_win() -> None:
    """Sure of 8 of 20 windows and right, against sure of 16 of which one is wrong; that is worth half as much."""
    right, wrong, unsure = heart(5.12), heart(5.12, 90.0), noise(5.12)
    careful = np.stack([right] * 8 + [unsure] * 12)
    bold = np.stack([right] * 15 + [wrong] + [unsure] * 4)
    clean, reference_bpm = np.stack([right] * 20), np.full(20, 72.0)
    scores = [usable_values(rows, clean, RATE_HZ, reference_bpm).mean() for rows in (careful, bold)]
    assert scores == pytest.approx([0.4, 0.25])
