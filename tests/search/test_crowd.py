"""Real processes side by side on one study, on SQLite and PostgreSQL: nothing twice, nothing too much."""

import json
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.support.crowd import run_crowd


@pytest.mark.slow
def test_four_processes_meet_the_budget_exactly_and_run_no_point_twice(bench_of_each: Any, make_spec: Any) -> None:
    ranges = {"learning_rate": {"low": 0.001, "high": 0.008, "step": 0.001}, "width": {"choices": [8, 16, 24, 32]}}
    enqueue = [{"width": 8, "learning_rate": 0.001 * n} for n in range(1, 7)]
    spec = make_spec(
        sampler={"name": "tpe", "startup_trials": 5}, ranges=ranges, enqueue=enqueue, budget={"trials": 24}
    )
    study = bench_of_each.create(spec)
    done = run_crowd("turns", 4, bench_of_each.url, "tiny")
    assert done.returncode == 0, done.stderr
    turns = [turn for line in done.stdout.splitlines() for turn in json.loads(line)]
    numbers = [number for number, _ in turns]
    points = [(params["width"], round(params["learning_rate"], 6)) for _, params in turns]
    assert sorted(numbers) == list(range(24))
    assert len(set(points)) == 24
    first = {point for number, point in zip(numbers, points, strict=True) if number < 6}
    assert first == {(8, round(0.001 * n, 6)) for n in range(1, 7)}
    state = bench_of_each.progress()
    assert (state.finished, state.claimed, state.open, state.failed) == (24, 0, 0, 0)
    ended = study.optuna.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert len(ended) == 24 == len(study.optuna.get_trials())
