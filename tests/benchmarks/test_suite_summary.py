"""Summaries of suites: regrets, ranks, wins and losses of known values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.suites.methods import OURS
from benchmarks.search.suites.summary import Outcome, against, best_by, judged, lines_of_suite, over_tasks
from tests.support.pools import made


def line(epochs: Sequence[int], best: Sequence[float]) -> Mapping[str, Any]:
    return {"reported": {"epochs": epochs, "best": best}, "complete": {"epochs": [], "best": []}, "trials": [3, 2, 1]}


def test_the_best_by_a_budget_is_read_off_the_improvements() -> None:
    found = best_by({"epochs": [3, 10], "best": [1.0, 2.0]}, [1, 3, 9, 10, 99])
    np.testing.assert_array_equal(found, [-math.inf, 1.0, 1.0, 2.0, 2.0])


def outcome_of(*by_method: Sequence[float], names: Sequence[str] = ("a", "b", OURS)) -> Outcome:
    """Two tasks with values 0 ... 4 (median 2, best 4), one seed, the values found after an epoch."""
    pools = [made([[v] for v in range(5)], number, f"task {number}") for number in (1, 2)]
    replays = {
        (pool.name, name): [line([1], [found[j]])]
        for name, found in zip(names, by_method, strict=True)
        for j, pool in enumerate(pools)
    }
    return judged(pools, [1], names, replays, "reported")


def test_regrets_and_ranks_of_known_values() -> None:
    """Found 4 and 3, 3 and 3, 2 and 0 of 2 ... 4: equal ones share the mean of their places."""
    outcome = outcome_of([4.0, 3.0], [3.0, 3.0], [2.0, 0.0])
    np.testing.assert_allclose(outcome.by_task[..., 0], [[0.0, 0.5], [0.5, 0.5], [1.0, 1.0]])
    np.testing.assert_allclose(outcome.ranks[:, :, 0, 0], [[1.0, 1.5], [2.0, 1.5], [3.0, 3.0]])
    said = list(lines_of_suite(outcome))
    assert "| a | 0.250 (0.000 .. 0.500) |" in said
    assert "| a | 1.25 (1.00 .. 1.50) |" in said
    assert "| a | 0-0-2 | task 1, task 2 |" in said
    assert "| trials | 3 | 3 | 3 |" in said


@given(st.integers(2, 6), st.integers(1, 4))
def test_ranks_of_all_methods_have_a_known_sum(n_methods: int, n_seeds: int) -> None:
    """n (n + 1) / 2 for each task, seed and budget, whatever draws there are."""
    rng = np.random.default_rng(n_methods)
    regrets = rng.integers(0, 3, size=(n_methods, 3, n_seeds, 2)) / 2
    names = tuple(map(str, range(n_methods)))
    outcome = Outcome(names, ("a", "b", "c"), (1, 2), 1, regrets, np.zeros((n_methods, 3, n_seeds, 3)))
    np.testing.assert_allclose(outcome.ranks.sum(axis=0), n_methods * (n_methods + 1) / 2)


def test_complete_values_alone_are_counted_where_asked() -> None:
    pool = made([[float(v)] for v in range(5)])
    replays = {("made", "a"): [line([1], [4.0])]}
    assert judged([pool], [1], ["a"], replays, "reported").regrets.item() == 0.0
    assert judged([pool], [1], ["a"], replays, "complete").regrets.item() == 1.0


def test_wins_draws_and_losses_are_by_task() -> None:
    mine, others = np.array([0.1, 0.2, 0.3, 0.301]), np.array([0.2, 0.2, 0.1, 0.3])
    assert against(mine, others, level=0.005) == (1, 2, 1)


def test_an_interval_over_tasks_is_that_of_their_means() -> None:
    assert over_tasks(np.array([0.5, 0.5, 0.5])) == (0.5, 0.5, 0.5)
    mean, low, high = over_tasks(np.array([0.0, 1.0]))
    assert (mean, low, high) == (0.5, 0.0, 1.0)
