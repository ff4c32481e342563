"""Pools and their replays: regret, budgets met to the epoch, failures counted, ASHA promotes the best third."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.suites.methods import promoting, stopping, suite_methods
from benchmarks.search.suites.pool import Pool, Untried, regret
from benchmarks.search.suites.replay import Starter, SuiteMethod, replay_pool, rungs_below
from tests.support.pools import given_places, made, proposed, rising


@given(st.lists(st.lists(st.integers(-(10**6), 10**6), min_size=3, max_size=3), min_size=3, max_size=20))
def test_regret_is_0_at_the_best_1_at_the_median_and_falls_between(scores: list[list[int]]) -> None:
    pool = made(scores)
    best, middle = pool.scale
    assert regret(pool, np.array([best]))[0] == 0.0
    assert regret(pool, np.array([-math.inf]))[0] == 1.0
    if best > middle:
        assert regret(pool, np.array([middle]))[0] == 1.0
        found = regret(pool, np.sort(pool.values))
        assert ((found >= 0) & (found <= 1)).all() and (np.diff(found) <= 0).all()
    assert regret(pool, np.array([best - (best - middle) / 4]))[0] == pytest.approx(0.25 if best > middle else 0.0)


def test_a_failed_configuration_is_worse_than_the_median() -> None:
    """Values: -inf, -inf, 1, 2, 3, whose median is 1; where more than half have none, the worst that there is."""
    nan = math.nan
    assert made([[nan], [nan], [1.0], [2.0], [3.0]]).scale == (3.0, 1.0)
    assert made([[nan], [nan], [nan], [2.0], [3.0]]).scale == (3.0, 2.0)
    assert made([[-math.inf, 1.0], [2.0, nan], [0.5, 0.2]]).scale == (2.0, 1.0)


def test_the_nearest_untried_configuration_is_trained_and_told() -> None:
    """Proposals of 0.5 walk outwards over ten configurations, and the study learns where each lies."""
    pool = rising(10, 1)
    untried = Untried(pool)
    rows = [untried.take(np.array([0.51])) for _ in range(10)]
    assert rows == [5, 4, 6, 3, 7, 2, 8, 1, 9, 0] and len(untried) == 0
    study, ask = given_places([0.51]).start(pool, 0)
    starter = Starter(pool, study, ask)
    while (work := starter.start()) is not None:
        starter.tell(work, 0.0)
    assert [trial.params["x"] for trial in study.get_trials()] == pytest.approx([pool.places[row, 0] for row in rows])


@pytest.mark.parametrize("n_workers", [1, 4, 16])
@pytest.mark.parametrize("budget", [1, 7, 40, 1000])
def test_a_budget_is_met_to_the_epoch(n_workers: int, budget: int) -> None:
    """Or every training was to its end; workers share the time."""
    pool = rising(12, 5)
    done = replay_pool(pool, proposed(0.0), 0, n_workers, budget)
    assert done.spent == min(budget, 60)
    assert done.n_complete == (12 if budget == 1000 else done.n_complete) <= done.n_trials <= 12
    assert math.ceil(done.spent / n_workers) <= done.time <= done.spent


def test_reported_and_complete_values_are_kept_apart() -> None:
    pool = made([[3.0, 1.0, 2.0], [0.0, 4.0, 1.0]])
    done = replay_pool(pool, proposed(0.0), 0, 1, 100)
    assert (done.reported.epochs, done.reported.best) == ([1, 5], [3.0, 4.0])
    assert (done.complete.epochs, done.complete.best) == ([3, 6], [3.0, 4.0])


def test_a_training_that_fails_costs_its_epochs_and_is_no_complete_trial() -> None:
    """NaN fails at once; an infinite score is reported and fails only a training without another."""
    nan, inf = math.nan, math.inf
    pool = made([[1.0, nan, 9.0], [-inf, -inf, -inf], [-inf, 2.0, -inf]])
    study, ask = given_places([0.0]).start(pool, 0)
    method = stopping(given_places([0.0]))
    done = replay_pool(pool, method, 0, 1, 100)
    assert (done.spent, done.n_failed, done.n_complete) == (2 + 3 + 3, 2, 1)
    assert done.reported.best == [1.0, 2.0]
    assert done.complete.best == [2.0]
    fixed = SuiteMethod("kept", lambda pool, seed: stopping(_kept(study, ask)).start(pool, seed))
    replay_pool(pool, fixed, 0, 1, 100)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "FAIL", "COMPLETE"]
    assert [trial.value for trial in study.get_trials()] == [None, None, 2.0]
    assert study.get_trials()[0].intermediate_values == {0: 1.0}


def _kept(study: optuna.Study, ask: Any) -> Any:
    """A method whose study can be looked at afterwards."""

    class Kept:
        name, stopped_counts = "kept", False

        def start(self, pool: Pool, seed: int) -> Any:
            return study, ask

    return Kept()


def test_rungs_are_powers_below_the_last_epoch() -> None:
    assert rungs_below(50, 3) == (1, 3, 9, 27)
    assert rungs_below(27, 3) == (1, 3, 9)
    assert rungs_below(1, 3) == ()


def lengths(pool: Pool, n_workers: int, budget: int) -> dict[int, int]:
    """Row -> epochs that ASHA with promotion trained it for."""
    seen: dict[int, int] = {}
    inner = promoting(given_places([0.0]))

    def start(pool: Pool, seed: int) -> Any:
        scheduler = inner.start(pool, seed)
        after, complete, fail = scheduler.goes_on, scheduler.complete, scheduler.fail

        def goes_on(work: Any, score: float) -> bool:
            seen[work.row] = work.n_epochs
            return after(work, score)

        def ends(work: Any, value: float) -> None:
            seen[work.row] = work.n_epochs
            complete(work, value)

        def fails(work: Any) -> None:
            seen[work.row] = work.n_epochs
            fail(work)

        scheduler.goes_on, scheduler.complete, scheduler.fail = goes_on, ends, fails  # type: ignore[method-assign]
        return scheduler

    done = replay_pool(pool, SuiteMethod("seen", start), 0, n_workers, budget)
    assert sum(seen.values()) == done.spent
    return seen


def test_asha_promotes_the_best_third_of_every_rung() -> None:
    """27 configurations of 9 epochs that arrive from good to bad: 9 of them pass the rung at 1 epoch, 3 that at 3."""
    seen = lengths(made([[-float(i)] * 9 for i in range(27)]), 1, 10_000)
    assert seen == {row: 9 if row < 3 else 3 if row < 9 else 1 for row in range(27)}


def test_asha_resumes_what_it_paused() -> None:
    """Bad to good: 0, 1, 2 are trained for an epoch, then 2 is the best of three and goes on for two more."""
    assert lengths(rising(27, 9), 1, 3) == {0: 1, 1: 1, 2: 1}
    assert lengths(rising(27, 9), 1, 5) == {0: 1, 1: 1, 2: 3}


def test_asha_counts_failed_trainings_among_the_rung_and_promotes_none() -> None:
    """Two of three fail: the third is the best third, and alone at the next rung. All fail: nothing goes on."""
    nan = math.nan
    assert lengths(made([[nan] * 4, [nan] * 4, [1.0] * 4]), 1, 100) == {0: 1, 1: 1, 2: 3}
    assert lengths(made([[1.0] * 4, [1.0, nan, nan, nan], [0.0] * 4]), 1, 100) == {0: 3, 1: 1, 2: 1}
    assert replay_pool(made([[nan] * 4] * 6), promoting(given_places([0.0])), 0, 2, 100).n_failed == 6


@given(st.integers(1, 5), st.integers(0, 100))
def test_asha_leaves_none_of_the_best_third_behind(n_workers: int, seed: int) -> None:
    """When a pool is through, the best third of those that reached a rung has gone on from there."""
    scores = np.random.default_rng(seed).normal(size=(30, 9))
    seen = lengths(made(scores.tolist()), n_workers, 10_000)
    for rung in (1, 3):
        reached = sorted((row for row in seen if seen[row] >= rung), key=lambda row: -scores[row, rung - 1])
        assert all(seen[row] > rung for row in reached[: len(reached) // 3])


@pytest.mark.parametrize("name", sorted(suite_methods()))
def test_every_method_searches_a_pool_and_repeats_itself_by_its_seed(name: str) -> None:
    """Without a training twice: no more trials than configurations."""
    scores = np.random.default_rng(1).normal(size=(20, 6)).cumsum(axis=1)
    scores[::7, 3] = np.nan
    scores[5] = -1e19
    pool = made(scores.tolist())
    method = suite_methods()[name]
    runs = [replay_pool(pool, method, seed, 2, 100) for seed in (0, 0)]
    assert runs[0].reported.best == runs[1].reported.best
    assert runs[0].complete.epochs == runs[1].complete.epochs
    assert 0 < runs[0].n_trials <= 20 and runs[0].spent <= 100
