"""What figures have in common: ranges that an outlier does not stretch, ticks, titles with units, looks of methods."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from models.classical import CLASSICAL
from training.evaluation.figures import (
    HIDDEN,
    LINE_COLOURS,
    LOOKS,
    clip,
    curve_range,
    is_logarithmic,
    line_look,
    log_ticks,
    mark_outside,
    n_outside,
    outside_words,
    parameter_title,
    shown_range,
    title_of,
)
from training.numbers import compact

SCORES = st.lists(st.floats(-60, 60), min_size=1, max_size=20)


def contrast(colour: str, background: str) -> float:
    """The contrast ratio of WCAG 2: 3 and more is readable for lines and markers."""

    def luminance(text: str) -> float:
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(colour), luminance(background)))
    return (high + 0.05) / (low + 0.05)


def test_a_trial_that_went_wrong_does_not_flatten_the_figure() -> None:
    """At 1, 2, 3 and -60 dB the best is 3, the median 1.5: shown are those within 6 dB of the best, and a margin."""
    low, high = shown_range([1.0, 2.0, 3.0, -60.0], rising=True)
    assert 0.5 < low < 1.0 and 3.0 < high < 3.5
    assert n_outside([1.0, 2.0, 3.0, -60.0], (low, high)) == 1
    assert shown_range([-1.0, -2.0, -3.0, 60.0], rising=False) == pytest.approx((-high, -low))
    low, high = shown_range([2.0, 2.0, math.nan, -math.inf], rising=True)
    assert low < 2.0 < high


@given(values=SCORES, rising=st.booleans())
def test_the_best_and_the_better_half_are_always_shown(values: list[float], rising: bool) -> None:
    low, high = shown_range(values, rising=rising)
    ordered = sorted(values, reverse=rising)
    assert low < high
    assert all(low <= value <= high for value in ordered[: (len(ordered) + 1) // 2])


def test_one_curve_does_not_flatten_the_others_and_their_beginnings_stay() -> None:
    """Curves from -3 to 5 dB; one stays at -60, one begins there."""
    usual = [[-3.0 + 0.1 * i, 2.0, 5.0] for i in range(5)]
    low, high = curve_range([*usual, [-60.0, -60.0], [-58.0, 1.0, 5.0]], rising=True)
    assert -4.0 < low < -3.0 and 5.0 < high < 6.0
    assert curve_range([[3.0, -5.0], [math.inf, 60.0], [2.0, -5.0]], rising=False)[1] == pytest.approx(3.5, abs=0.1)


@given(curves=st.lists(SCORES, min_size=1, max_size=6), rising=st.booleans())
def test_the_better_half_of_the_curves_is_shown_whole(curves: list[list[float]], rising: bool) -> None:
    low, high = curve_range(curves, rising=rising)
    ordered = sorted(curves, key=min if rising else max, reverse=rising)
    assert all(low <= value <= high for curve in ordered[: (len(curves) + 1) // 2] for value in curve)


@pytest.mark.parametrize(("n", "words"), [(0, ""), (1, "1 of 9 trials lies outside"), (2, "2 of 9 trials lie outside")])
def test_how_many_lie_outside_is_said(n: int, words: str) -> None:
    assert outside_words(n, 9, "trials").startswith(words)


@pytest.mark.parametrize("rising", [True, False])
def test_a_clipped_axis_says_how_many_lie_outside_and_marks_them_at_its_edge(rising: bool) -> None:
    axis = Figure().subplots()
    values = [1.0, 2.0, -60.0 if rising else 60.0]
    shown = (0.0, 3.0)
    clip(axis, values, shown, "trials", rising=rising)
    mark_outside(axis, [10.0, 20.0, 30.0], values, shown, "#000000")
    assert axis.get_ylim() == shown
    assert axis.get_title(loc="right")[1:] == " 1 of 3 trials outside"
    (line,) = axis.get_lines()
    ((x, y),) = np.asarray(line.get_xydata()).tolist()
    assert (x, 0.0 < y < 3.0, line.get_marker()) == (30.0, True, "v" if rising else "^")
    clip(axis, values[:2], shown, "trials", rising=rising)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (1e-4, 1e-2, ["0.0001", "0.0003", "0.001", "0.003", "0.01"]),
        (1e-5, 1.0, ["1e-5", "0.0001", "0.001", "0.01", "0.1", "1"]),
        (3e5, 1.6e6, ["300k", "500k", "700k", "1M", "1.5M"]),
        (120.0, 130.0, ["120", "122", "124", "126", "128", "130"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_short(low: float, high: float, shown: Sequence[str]) -> None:
    assert [compact(tick) for tick in log_ticks(low, high)] == shown


@given(low=st.floats(1e-9, 1e6), factor=st.floats(1.001, 1e9), most=st.integers(3, 8))
def test_a_logarithmic_axis_has_few_ticks_in_order_and_within_it(low: float, factor: float, most: int) -> None:
    high = low * factor
    ticks = log_ticks(low, high, most)
    assert len(ticks) <= most
    assert ticks == sorted(set(ticks))
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    if factor > 10:
        assert ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.4, "999"), (999.9, "1k"), (1_234_567, "1.23M"), (0.00001234, "1.23e-5"), (-5, "-5"), (0.0, "0")],
)
def test_numbers_of_an_axis_are_short(value: float, text: str) -> None:
    assert compact(value) == text


def test_titles_have_units() -> None:
    assert [title_of(name) for name in ("si_sdr_db", "hr_error_bpm", "prd_percent")] == [
        "SI-SDR in dB",
        "heart-rate error in bpm",
        "PRD in %",
    ]
    names = ("gain_spread_db", "width", "learning_rate", "hop_samples", "decay_s")
    assert [parameter_title(name) for name in names] == [
        "gain_spread_db in dB",
        "width",
        "learning_rate",
        "hop_samples in samples",
        "decay_s in s",
    ]


def test_a_learning_rate_has_a_logarithmic_axis_whatever_its_range() -> None:
    assert is_logarithmic("learning_rate", 1e-4, log=False)
    assert not is_logarithmic("learning_rate", 0.0, log=False)
    assert is_logarithmic("width", 4.0, log=True)
    assert not is_logarithmic("dropout", 0.1, log=False)


def test_every_classical_method_has_a_look_that_needs_no_colour() -> None:
    assert LOOKS.keys() == CLASSICAL.keys()
    for parts in ("marker", "symbol", "dashes", "colour"):
        looks = [getattr(look, parts) for name, look in LOOKS.items() if name != HIDDEN]
        assert len(set(looks)) == len(looks), parts
    assert not {look.colour for look in LOOKS.values()} & set(LINE_COLOURS)
    assert len({tuple(line_look(i).items()) for i in range(56)}) == 56


@pytest.mark.parametrize("background", ["#ffffff", "#121212"])
def test_lines_can_be_read_on_a_light_and_on_a_dark_page(background: str) -> None:
    shown = {*LINE_COLOURS, *(look.colour for name, look in LOOKS.items() if name != HIDDEN)}
    assert {colour: contrast(colour, background) for colour in shown if contrast(colour, background) < 3.0} == {}
