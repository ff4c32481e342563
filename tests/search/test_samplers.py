"""Samplers and pruners with several workers: no point twice, enqueued points first, bad trials pruned."""

import json
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.queue.slots import close
from search.queue.workers import Process
from search.sampling.points import key_of
from search.sampling.pruners import PRUNERS, PrunerSpec, build_pruner
from search.sampling.samplers import SAMPLERS
from search.storage.open import open_engine, open_storage
from search.study.finished import EXHAUSTED, stop_reason
from search.study.study import load_study
from search.worker.context import Assignment
from tests.support.worker import next_assignment_of

GRID = {"width": {"choices": [8, 16]}, "learning_rate": {"low": 0.001, "high": 0.003, "step": 0.001}}


class Worker:
    """A worker's own handles on the database, in this process: what it trains is a formula."""

    def __init__(self, url: str, name: str, number: int) -> None:
        self.engine = open_engine(url)
        self.study = load_study(name, open_storage(url))
        self.process = Process(f"worker-{number}", "elsewhere", number, None)

    def ask(self) -> Assignment | None:
        return next_assignment_of(self.study, self.engine, self.process, 60.0)

    def tell(self, assignment: Assignment, prune: bool = False) -> None:
        value = sum(float(v) for v in assignment.params.values() if isinstance(v, int | float))
        assignment.trial.report(value, 0)
        if prune:
            self.study.optuna.tell(assignment.trial, state=TrialState.PRUNED)
        else:
            self.study.optuna.tell(assignment.trial, value)
        close(self.engine, assignment.claim, "finished")


def run_side_by_side(url: str, name: str, n_workers: int = 3) -> list[Assignment]:
    """Workers ask while the others' trials are still running, until there is none left."""
    workers = [Worker(url, name, number) for number in range(n_workers)]
    assignments: list[Assignment] = []
    while got := [(worker, assignment) for worker in workers if (assignment := worker.ask()) is not None]:
        for worker, assignment in reversed(got):
            worker.tell(assignment, prune=assignment.trial.number % 5 == 4)
            assignments.append(assignment)
    for worker in workers:
        worker.engine.dispose()
    return assignments


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_no_point_is_given_twice_and_the_budget_is_met_exactly(sampler: str, bench: Any, make_spec: Any) -> None:
    """Over mixed and small axes, with pruned and still running trials, past the sampler's random start."""
    ranges: dict[str, Any] = {"gain_ramp": {"choices": ["none", "linear"]}}
    if sampler == "grid":
        ranges |= {"learning_rate": GRID["learning_rate"], "width": {"low": 8, "high": 32}}
    spec = make_spec(
        sampler={"name": sampler, "startup_trials": 4},
        search=["width", "learning_rate", "gain_ramp"],
        fixed={},
        ranges=ranges,
        budget={"trials": 14},
    )
    study = bench.create(spec)
    assignments = run_side_by_side(bench.url, "tiny")
    keys = [key_of(assignment.params, study.space.sampled) for assignment in assignments]
    assert len(keys) == len(set(keys)) == 14
    state = bench.progress()
    assert (state.finished, state.claimed, state.open) == (14, 0, 0)
    assert len(study.optuna.get_trials()) == 14


@pytest.mark.parametrize("sampler", ["grid", "tpe", "random", "cmaes"])
def test_a_finite_space_is_tried_whole_and_then_the_search_ends_below_its_budget(
    sampler: str, bench: Any, make_spec: Any
) -> None:
    study = bench.create(make_spec(sampler={"name": sampler}, ranges=GRID, budget={"trials": 50}))
    assignments = run_side_by_side(bench.url, "tiny")
    tried = {(assignment.params["width"], round(assignment.params["learning_rate"], 6)) for assignment in assignments}
    assert len(assignments) == 6
    assert tried == {(width, rate) for width in (8, 16) for rate in (0.001, 0.002, 0.003)}
    assert stop_reason(study, bench.engine) == EXHAUSTED


def test_workers_draw_different_points_from_one_study_seed(bench: Any, make_spec: Any) -> None:
    """Equal seeds in two workers would draw the same point."""
    bench.create(make_spec(sampler={"name": "random"}, budget={"trials": 8}))
    rates = [assignment.params["learning_rate"] for assignment in run_side_by_side(bench.url, "tiny", n_workers=4)]
    assert len(set(rates)) == 8


def test_the_same_study_on_one_worker_draws_the_same_points_again(make_spec: Any, tmp_path: Any) -> None:
    def points(folder: Any) -> list[str]:
        folder.mkdir()
        url = f"sqlite:///{folder}/studies.db"
        from search.study.study import create

        spec = make_spec(sampler={"name": "tpe", "startup_trials": 3}, budget={"trials": 8})
        create(spec, open_storage(url), open_engine(url))
        return [json.dumps(dict(assignment.params)) for assignment in run_side_by_side(url, "tiny", n_workers=1)]

    assert points(tmp_path / "a") == points(tmp_path / "b")


def test_enqueued_points_run_first_once_and_are_not_drawn_again(bench: Any, make_spec: Any) -> None:
    enqueue = [
        {"width": 16, "learning_rate": 0.002},
        {"width": 8, "learning_rate": 0.001},
        {"width": 16, "learning_rate": 0.002},
    ]
    spec = make_spec(sampler={"name": "grid"}, ranges=GRID, enqueue=enqueue, budget={"trials": 50})
    bench.create(spec)
    bench.create(spec)
    assignments = run_side_by_side(bench.url, "tiny", n_workers=2)
    tried = [(assignment.params["width"], round(assignment.params["learning_rate"], 6)) for assignment in assignments]
    by_number = [
        point for _, point in sorted(zip((assignment.trial.number for assignment in assignments), tried, strict=True))
    ]
    assert by_number[:2] == [(16, 0.002), (8, 0.001)]
    assert len(tried) == len(set(tried)) == 6


def test_enqueued_points_a_hair_apart_all_run_and_made_again_add_none(bench: Any, make_spec: Any) -> None:
    rates = [0.001, 0.001 * (1 + 1e-9), 0.001 * (1 + 1e-6)]
    spec = make_spec(enqueue=[{"width": 8, "learning_rate": rate} for rate in rates], budget={"trials": 3})
    bench.create(spec)
    again = bench.create(spec)
    assert [trial.system_attrs["fixed_params"]["learning_rate"] for trial in again.optuna.trials] == rates
    assignments = run_side_by_side(bench.url, "tiny")
    assert sorted(assignment.params["learning_rate"] for assignment in assignments) == rates


def test_a_point_that_cannot_exist_is_not_proposed(bench: Any, make_spec: Any) -> None:
    """nhead must divide levels x width."""
    spec = make_spec(
        models=["wave_unet_transformer"],
        search=["learning_rate"],
        fixed={"width": 6},
        ranges={"levels": {"choices": [4, 5, 6]}, "nhead": {"choices": [2, 4, 8]}},
        budget={"trials": 12},
    )
    bench.create(spec)
    assignments = run_side_by_side(bench.url, "tiny")
    assert len(assignments) == 12
    assert all(assignment.params["levels"] * 6 % assignment.params["nhead"] == 0 for assignment in assignments)


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"grid"}))
def test_infeasible_trials_and_hyperband_do_not_stop_a_sampler(sampler: str, bench: Any, make_spec: Any) -> None:
    """Infeasible trials have constraints and no report; hyperband shows a sampler one bracket's trials only."""
    bench.create(
        make_spec(
            sampler={"name": sampler, "startup_trials": 3},
            pruner={"name": "hyperband"},
            epochs=9,
            budget={"trials": 12},
        )
    )
    worker = Worker(bench.url, "tiny", 0)
    n = 0
    while (assignment := worker.ask()) is not None:
        assignment.trial.set_constraint("n_parameters", float(assignment.params["width"] - 12))
        if assignment.params["width"] > 12:
            worker.study.optuna.tell(assignment.trial, state=TrialState.PRUNED)
            close(worker.engine, assignment.claim, "finished")
        else:
            assignment.trial.report(0.5, 1)
            assignment.trial.should_prune()
            worker.tell(assignment)
        n += 1
    assert n == 12


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_a_pruner_ends_the_bad_and_lets_the_best_go_on(name: str) -> None:
    """With the trainer's reports, epochs from 0; no pruner may end a trial that leads at every epoch."""
    epochs = 18
    spec = PrunerSpec(name=name, startup_trials=3, warmup_epochs=2, patience=2)  # type: ignore[arg-type]
    # Hyperband draws the bracket of a trial from the name of its study, which is random where none is given.
    study = optuna.create_study(study_name="tiny", direction="maximize", pruner=build_pruner(spec, epochs))
    pruned: dict[str, list[int]] = {"good": [], "bad": []}
    for number in range(24):
        kind = "good" if number % 2 == 0 else "bad"
        trial = study.ask()
        for epoch in range(epochs):
            value = epoch + number if kind == "good" else -epoch - number
            trial.report(value, epoch)
            if epoch + 1 < epochs and trial.should_prune():
                pruned[kind].append(epoch)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
    assert len(pruned["good"]) <= (6 if name in ("hyperband", "halving") else 0), pruned
    if name == "none":
        assert not pruned["bad"]
    else:
        assert len(pruned["bad"]) >= 6
        assert min(pruned["bad"]) >= spec.warmup_epochs - 1


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_a_pruner_bears_a_study_of_one_epoch(name: str) -> None:
    study = optuna.create_study(pruner=build_pruner(PrunerSpec(name=name), 1))  # type: ignore[arg-type]
    trial = study.ask()
    trial.report(1.0, 0)
    assert not trial.should_prune()
