"""What a report shows of many trials: the Pareto front, the range of scores; and the formats it is written in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from search.report.build import format_of
from search.report.facts import StudyFact, gather
from search.report.page import Drawing
from search.report.plots import draw_progress
from search.report.studies import study_sections
from search.report.study_plots import draw_history, draw_parallel, draw_slices
from search.study.spec import run_of
from search.trials import N_PARAMETERS, RUN, pareto_front
from training.config import to_document
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


@pytest.mark.parametrize(
    ("name", "wanted", "kind"), [("a.html", None, "html"), ("a.MD", None, "md"), ("a.md", "md", "md")]
)
def test_the_ending_chooses_the_format(name: str, wanted: str | None, kind: str) -> None:
    assert format_of(Path(name), wanted) == kind


@pytest.mark.parametrize(("name", "wanted"), [("a.pdf", None), ("a.html", "md"), ("a", None), ("a.html", "docx")])
def test_a_format_that_does_not_fit_is_refused(name: str, wanted: str | None) -> None:
    with pytest.raises(ConfigError, match=r"html or (\.)?md"):
        format_of(Path(name), wanted)


def facts_of(bench: Any, make_spec: Any, scores: Sequence[float], **changes: Any) -> StudyFact:
    """A study with a complete trial of each score, whose curves begin 3 below; the first reports every other epoch."""
    study = bench.create(make_spec(**changes))
    for number, score in enumerate(scores):
        trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
        trial.set_user_attr(N_PARAMETERS, 1000 * (number + 1))
        trial.set_user_attr(RUN, json.dumps(to_document(run_of(study.spec, study.space, trial.params))))
        for step in (0, 2) if number == 0 else (0, 1, 2):
            trial.report(score - 3.0 if step == 0 else score, step)
        study.optuna.tell(trial, score)
    (fact,) = gather([study], bench.engine)[1]
    return fact


SCORES = (4.0, 4.5, 5.0, 4.2, 4.8, -60.0)


def text_of(figure: Figure) -> str:
    figure.canvas.draw()
    return " ".join(text.get_text() for text in figure.findobj(Text))


def test_slices_say_how_many_trials_lie_outside_and_mark_them(bench: Any, make_spec: Any) -> None:
    study = facts_of(bench, make_spec, SCORES)
    figure = draw_slices(study)
    assert "1 of 6 trials lies outside the range shown" in text_of(figure)
    for axis in figure.axes[:2]:
        assert 3.0 < axis.get_ylim()[0] < 4.0
        assert [line.get_marker() for line in axis.get_lines()].count("v") == 1
    captions = " ".join(block.caption for block in study_sections(study, "")[0].blocks if isinstance(block, Drawing))
    assert "1 of 6 trials lies outside the range shown (triangles at the edge)." in captions
    assert "3 of 17 points of learning curves lie outside the range shown." in captions
    assert "outside" not in text_of(draw_slices(facts_of(bench, make_spec, SCORES[:5], name="good")))


def test_a_learning_rate_has_a_logarithmic_axis_even_where_its_range_has_not(bench: Any, make_spec: Any) -> None:
    ranges = {"width": {"choices": [8, 16]}, "learning_rate": {"low": 0.001, "high": 0.004, "log": False}}
    study = facts_of(bench, make_spec, SCORES, ranges=ranges)
    assert study.source.space.sampled["learning_rate"].log is False  # type: ignore[attr-defined]
    by_title = {axis.get_title(loc="left"): axis for axis in draw_slices(study).axes}
    assert by_title["learning_rate"].get_xscale() == "log"
    shown = [label.get_text() for label in by_title["learning_rate"].get_xticklabels()]
    assert shown[0] == "0.001" and len(shown) <= 4


def test_a_curve_lies_at_its_epochs_counted_from_1(bench: Any, make_spec: Any) -> None:
    study = facts_of(bench, make_spec, SCORES)
    assert [epoch for epoch, _ in study.trials[0].curve] == [1, 3]
    right = draw_history(study).axes[1]
    assert {tuple(np.asarray(line.get_xdata()).tolist()) for line in right.get_lines()} == {(1, 3), (1, 2, 3)}
    assert (right.get_xlabel(), right.get_ylabel()) == ("epoch", "SI-SDR in dB")
    assert right.get_title(loc="right")[1:] == " 3 of 17 points outside"


def test_the_axis_of_the_score_in_parallel_coordinates_ends_at_the_worst_trial_that_counts(
    bench: Any, make_spec: Any
) -> None:
    text = text_of(draw_parallel(facts_of(bench, make_spec, SCORES)))
    assert "≤ 4" in text and "-60" not in text


def test_a_poor_study_stays_in_the_figure_of_progress(bench: Any, make_spec: Any) -> None:
    """A trial that went wrong is cut off; a study that is worse than the others is not."""
    good = facts_of(bench, make_spec, (-60.0, 4.0, 4.5, 5.0, 4.8), name="good")
    poor = facts_of(bench, make_spec, (-20.0, -19.0, -18.0), name="poor")
    (axis,) = draw_progress([good, poor]).axes
    assert -23.0 < axis.get_ylim()[0] < -20.0
    assert axis.get_title(loc="right")[1:] == " 1 of 8 steps outside"
