"""Reliability, calibration and usable time against their definitions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.rhythm.confidence import Calibrator, calibrator, reliability, threshold_for, usable_time

cases = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def test_reliability_counts_each_bin() -> None:
    found = reliability([0.05, 0.1, 0.55, 0.6, 1.0], [False, True, True, False, True], n_bins=2)
    assert found.edges.tolist() == [0, 0.5, 1]
    assert found.counts.tolist() == [2, 3]
    assert found.probability.tolist() == pytest.approx([0.075, 2.15 / 3])
    assert found.share.tolist() == pytest.approx([0.5, 2 / 3])
    assert found.error == pytest.approx((2 * 0.425 + 3 * 0.05) / 5)


def test_an_empty_bin_has_no_weight_and_no_case_no_error() -> None:
    assert reliability([0.95], [True]).error == pytest.approx(0.05)
    assert np.isnan(reliability([], []).error)


def test_right_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=20_000)
    assert reliability(p, rng.uniform(size=p.size) < p).error < 0.02
    assert reliability(p, rng.uniform(size=p.size) < p**3).error > 0.2


@given(cases)
def test_a_calibrator_rises_and_stays_between_0_and_1(rows: list[tuple[float, bool]]) -> None:
    p, came = zip(*rows, strict=True)
    values = calibrator(p, came)(np.linspace(0, 1, 50))
    assert (np.diff(values) >= 0).all()
    assert ((values > 0) & (values < 1)).all()


def test_a_calibrator_makes_probabilities_right() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(size=8000)
    came = rng.uniform(size=p.size) < p**3
    fitted = calibrator(p[:4000], came[:4000])
    assert reliability(fitted(p[4000:]), came[4000:]).error < 0.03
    assert fitted(0.5) == pytest.approx(0.125, abs=0.05)


def test_a_calibrator_of_one_level_is_the_share_with_two_more_cases() -> None:
    assert calibrator([0.5, 0.5, 0.5], [True, True, False]) == Calibrator((0.5,), (3 / 5,))
    assert calibrator([0.2, 0.8], [True, False]) == Calibrator((0.5,), (2 / 4,))


def test_a_calibrator_comes_back_from_json() -> None:
    fitted = calibrator([0.1, 0.4, 0.7, 0.9], [False, True, False, True])
    assert Calibrator.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"knots": [0.1]},
        {"knots": "0.1", "values": [0.1]},
        {"knots": [True], "values": [0.5]},
        {"knots": [], "values": []},
        {"knots": [0.5, 0.1], "values": [0.1, 0.2]},
        {"knots": [0.1], "values": [1.5]},
        {"knots": [float("nan")], "values": [0]},
    ],
)
def test_a_value_that_is_no_calibrator_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a calibrator"):
        Calibrator.from_json(value)


def test_usable_time_is_the_share_of_sure_spans_and_of_wrong_ones_in_them() -> None:
    p, right = [0.95, 0.92, 0.9, 0.5], [True, False, True, False]
    usable = usable_time(p, right, 0.9)
    assert usable.share == 0.75
    assert usable.wrong == pytest.approx(1 / 3)
    none = usable_time(p, right, 0.99)
    assert none.share == 0
    assert np.isnan(none.wrong)


@given(cases, st.floats(0, 0.5))
def test_the_threshold_is_the_lowest_that_keeps_its_promise(rows: list[tuple[float, bool]], max_wrong: float) -> None:
    p, right = (np.array(column) for column in zip(*rows, strict=True))
    threshold = threshold_for(p, right, max_wrong)
    kept = {float(t): usable_time(p, right, t).wrong <= max_wrong for t in p}
    assert threshold == min((t for t, fine in kept.items() if fine), default=np.inf)


def test_a_share_that_is_just_allowed_is_allowed() -> None:
    """One of three is a third, in floating point too."""
    assert threshold_for([0.5] * 3, [True, True, False], 1 / 3) == 0.5
    assert usable_time([0.5] * 3, [True, True, False], 0.5).wrong == 1 / 3


@pytest.mark.parametrize(
    ("p", "came", "message"),
    [([0.5], [True, False], "one shape"), ([1.5], [True], r"outside \[0, 1\]"), ([np.nan], [True], "not finite")],
)
def test_cases_that_are_none_are_refused(p: list[float], came: list[bool], message: str) -> None:
    for judge in (reliability, calibrator, threshold_for):
        with pytest.raises(ValueError, match=message):
            judge(p, came)
    with pytest.raises(ValueError, match="no cases"):
        calibrator([], [])
    with pytest.raises(ValueError, match="n_bins is 0"):
        reliability([0.5], [True], n_bins=0)
