"""What a report shows of many trials: the Pareto front, the range of scores; and the formats it is written in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.report.build import format_of
from search.report.plots import shown_range
from search.trials import pareto_front
from training.errors import ConfigError


def test_the_front_by_hand() -> None:
    points = [(1.0, 0.0), (2.0, 3.0), (2.0, 2.0), (3.0, 1.0), (4.0, 5.0)]
    assert pareto_front(points, rising=True) == [(1.0, 0.0), (2.0, 3.0), (4.0, 5.0)]
    assert pareto_front(points, rising=False) == [(1.0, 0.0)]
    assert pareto_front([], rising=True) == []


@given(points=st.lists(st.tuples(st.floats(1, 1e6), st.floats(-60, 60)), max_size=12), rising=st.booleans())
def test_nothing_beats_the_front_and_all_else_is_beaten(points: list[tuple[float, float]], rising: bool) -> None:
    def matches(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and (one[1] >= other[1] if rising else one[1] <= other[1])

    front = pareto_front(points, rising=rising)
    assert all(any(matches(best, point) for best in front) for point in points)
    assert not any(matches(one, other) for one in front for other in front if one != other)


def test_a_trial_that_went_wrong_does_not_flatten_the_figure() -> None:
    """At 1, 2, 3 and -60 dB the best is 3, the median 1.5: shown are 6 dB and a margin."""
    low, high = shown_range([1.0, 2.0, 3.0, -60.0], rising=True)
    assert -4.0 < low < -3.0 and 3.0 < high < 4.0
    assert shown_range([-1.0, -2.0, -3.0, 60.0], rising=False) == pytest.approx((-high, -low))
    low, high = shown_range([2.0, 2.0], rising=True)
    assert low < 2.0 < high


@pytest.mark.parametrize(
    ("name", "wanted", "kind"), [("a.html", None, "html"), ("a.MD", None, "md"), ("a.md", "md", "md")]
)
def test_the_ending_chooses_the_format(name: str, wanted: str | None, kind: str) -> None:
    assert format_of(Path(name), wanted) == kind


@pytest.mark.parametrize(("name", "wanted"), [("a.pdf", None), ("a.html", "md"), ("a", None), ("a.html", "docx")])
def test_a_format_that_does_not_fit_is_refused(name: str, wanted: str | None) -> None:
    with pytest.raises(ConfigError, match=r"html or (\.)?md"):
        format_of(Path(name), wanted)
