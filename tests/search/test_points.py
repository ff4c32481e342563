"""Points: when two are equal, which are taken, and that a finite space is listed once and whole."""

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search.sampling.points import any_left, axis, key_of, n_points, points_at_random, taken

SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(8, 32, step=8),
    "norm": CategoricalDistribution(("batch", "none")),
    "dropout": FloatDistribution(0.0, 0.3, step=0.1),
}

finite = st.one_of(
    st.builds(lambda low, n, step: IntDistribution(low, low + n * step, step=step), *[st.integers(1, 4)] * 3),
    st.builds(lambda n: CategoricalDistribution(tuple(range(n))), st.integers(1, 4)),
    st.builds(lambda n, step: FloatDistribution(0.5, 0.5 + n * step, step=step), st.integers(0, 4), st.just(0.1)),
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from("abcd"), finite, max_size=4), st.integers(0, 99))
def test_every_point_of_a_finite_space_comes_once_and_can_be_suggested(
    space: dict[str, BaseDistribution], seed: int
) -> None:
    points = list(points_at_random(space, seed))
    assert len({key_of(point, space) for point in points}) == len(points) == n_points(space)
    assert all(d._contains(d.to_internal_repr(point[name])) for point in points for name, d in space.items())


def test_a_space_with_a_continuous_axis_has_no_number_of_points_and_always_more() -> None:
    space = {**SPACE, "learning_rate": FloatDistribution(1e-4, 1e-2, log=True)}
    assert axis(space["learning_rate"]) is None
    assert n_points(space) is None
    assert any_left(space, lambda point: False)
    assert n_points(SPACE) == 4 * 2 * 4
    assert not any_left(SPACE, lambda point: False)


def test_a_single_value_is_an_axis_of_one() -> None:
    assert axis(FloatDistribution(0.5, 0.5)) == [0.5]
    assert n_points({}) == 1


def test_points_are_taken_by_all_trials_failed_and_waiting_ones_too() -> None:
    study = optuna.create_study()
    space = {"width": SPACE["width"]}
    for width, state in ((8, TrialState.COMPLETE), (16, TrialState.FAIL), (24, TrialState.FAIL)):
        trial = study.ask()
        trial.suggest_int("width", 8, 32, step=8)
        study._storage.get_trial(trial._trial_id)
        study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state=state)
        study.trials[-1].params["width"] = width
    trials = study.trials
    for trial_, width in zip(trials, (8, 16, 24), strict=True):
        trial_.params["width"] = width
    study.enqueue_trial({"width": 32})
    study.enqueue_trial({"height": 1})
    assert taken([*trials, *study.trials[3:]], space) == {(8.0,), (16.0,), (24.0,), (32.0,)}
