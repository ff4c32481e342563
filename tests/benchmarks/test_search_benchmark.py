"""The search benchmark: tables are read whole, replays keep their books, summaries say what the replays did."""

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.pruners import BasePruner, NopPruner

from benchmarks.search.__main__ import main
from benchmarks.search.curves import FAILED_DB, Table, axes_of, read_table
from benchmarks.search.methods import AshaRule, grid, methods, ours
from benchmarks.search.replay import Space, replay
from benchmarks.search.summary import Outcomes, interval, median, ratio
from benchmarks.search.table import coarse_first
from search.sampling.pruners import PrunerSpec
from search.sampling.samplers import SamplerSpec
from search.study.spec import read_spec

ROOT = Path(__file__).parents[2]
EPOCHS = 4
STUDY = """
name = "curves"
models = ["autoencoder"]
epochs = 4
search = ["learning_rate", "width", "gain_ramp"]
[fixed]
levels = 2
gain_ramp_share = 0.25
[ranges]
learning_rate = { choices = [1e-3, 2e-3, 5e-3] }
width = { choices = [8, 16] }
gain_ramp = { choices = ["linear", "none"] }
[sampler]
name = "grid"
[data]
rate_hz = 250.0
clean = [{ files = ["clean.wav"] }]
noise = [{ files = ["noise.wav"] }]
"""
# in the order of the config classes: the model's, the optimiser's, the schedule's
AXES = {"width": (8, 16), "learning_rate": (1e-3, 2e-3, 5e-3), "gain_ramp": ("linear", "none")}


def line(width: int, rate: float, ramp: str) -> dict[str, Any]:
    """Higher rates end higher; width 16 costs twice the seconds; the first epoch, in the ramp, scores best of all."""
    end = 1000 * rate + (0.5 if ramp == "none" else 0.0) + width / 100
    return {
        "point": {"width": width, "learning_rate": rate, "gain_ramp": ramp},
        "scores": [99.0, end - 2, end, end - 1],
        "seconds": [width / 8 + jitter for jitter in (0.0, 0.0, 3.0, 0.0)],
    }


LINES = [line(*values) for values in itertools.product((8, 16), (1e-3, 2e-3, 5e-3), ("linear", "none"))]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "curves.toml"
    path.write_text(STUDY)
    write(path, LINES)
    return path


def write(study: Path, lines: list[dict[str, Any]]) -> None:
    study.with_suffix(".jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.fixture
def table(study: Path) -> Table:
    return read_table(study)


def unpruned(space: Space) -> BasePruner:
    return NopPruner()


def test_a_table_values_a_run_by_its_best_epoch_after_the_ramps(table: Table) -> None:
    """gain_ramp_share 0.25 of 4 epochs keeps the first one out."""
    assert table.axes == AXES
    assert table.first_eligible == 1
    assert table.values[table.cells[1, 2, 1]] == pytest.approx(5.0 + 0.5 + 0.16)
    assert table.values.max() == table.values[table.cells[1, 2, 1]]


def test_a_tables_seconds_are_those_of_the_models_shape(table: Table) -> None:
    """The spread within equal shapes is other work on the machine, so one slow epoch counts for nothing."""
    assert {round(float(table.seconds[row]), 6) for cell, row in table.cells.items() if cell[0] == 0} == {1.0}
    assert {round(float(table.seconds[row]), 6) for cell, row in table.cells.items() if cell[0] == 1} == {2.0}
    assert table.full_s == pytest.approx(1.5 * EPOCHS)


def test_axes_of_numbers_are_searched_in_their_order_and_others_as_choices(table: Table) -> None:
    found = table.distributions
    assert found["learning_rate"] == IntDistribution(0, 2)
    assert found["gain_ramp"] == CategoricalDistribution((0, 1))


def test_of_a_table_cut_short_the_largest_whole_grid_is_read(study: Path) -> None:
    """A value goes that lacks points; a line that was being written is left out; a failed run stays bad."""
    lines = [one for one in LINES if one["point"]["learning_rate"] != 2e-3 or one["point"]["width"] == 8]
    lines[0] = lines[0] | {"scores": lines[0]["scores"][:1], "failed": "loss is not finite"}
    write(study, lines)
    with study.with_suffix(".jsonl").open("a") as file:
        file.write('{"point": {"learning')
    table = read_table(study)
    assert table.axes == AXES | {"learning_rate": (1e-3, 5e-3)}
    assert len(table.cells) == 8
    assert table.values[0] == FAILED_DB


def test_a_table_of_no_whole_grid_is_refused(study: Path) -> None:
    write(study, [])
    with pytest.raises(ValueError, match=r"no whole grid yet; go on with benchmarks\.search\.table"):
        read_table(study)


def test_a_table_is_made_coarse_grid_first(study: Path) -> None:
    """Each point once; the corners of all axes come before any value between."""
    points = coarse_first(axes_of(read_spec(study), "study"))
    assert sorted(map(str, points)) == sorted(str(one["point"]) for one in LINES)
    rates = [point["learning_rate"] for point in points]
    assert rates[:8].count(2e-3) == 0
    assert set(rates[8:]) == {2e-3}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_an_unpruned_grid_costs_every_training_once(table: Table, n_workers: int) -> None:
    """Workers share the compute, so that the time is what is left of it."""
    done = replay(table, grid("grid", unpruned), 0, n_workers, math.inf, math.inf)
    total = float(table.seconds.sum()) * EPOCHS
    assert done.spent_s == pytest.approx(total)
    assert done.n_ended == len(done.best) == 12
    assert total / n_workers <= done.at_s[-1] <= total / n_workers + 2.0 * EPOCHS
    assert done.until(float(table.values.max())) <= (done.at_s[-1], done.compute_s[-1])
    assert done.until(1e9) == (math.inf, math.inf)


def test_a_value_counts_when_its_trial_is_told_complete(table: Table) -> None:
    done = replay(table, grid("grid", unpruned), 0, 1, math.inf, math.inf)
    first_s = float(done.at_s[0])
    assert first_s in (4.0, 8.0)
    assert done.best_at(first_s - 0.1) == done.best_after(0) == -math.inf
    assert done.best_at(first_s) == done.best_after(1) == done.best[0]


def test_a_pruned_trial_costs_the_epochs_it_had(table: Table) -> None:
    class AtOnce(BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.last_step == 1

    done = replay(table, grid("grid", lambda table: AtOnce()), 0, 1, math.inf, math.inf)
    assert done.spent_s == pytest.approx(float(table.seconds.sum()) * 2)
    assert (done.n_ended, len(done.best)) == (12, 0)


def test_a_replay_ends_when_enough_is_found_or_the_budget_is_spent(table: Table) -> None:
    enough = float(np.median(table.values))
    assert replay(table, grid("grid", unpruned), 0, 1, math.inf, enough).best[-1] >= enough
    assert replay(table, grid("grid", unpruned), 0, 1, 10.0, math.inf).spent_s in (10.0, 11.0)


@pytest.mark.parametrize("name", sorted(methods()))
def test_every_method_searches_and_repeats_itself_by_its_seed(name: str, table: Table) -> None:
    method = methods()[name]
    runs = [replay(table, method, seed, 2, 60.0, math.inf) for seed in (0, 0, 1)]
    assert runs[0].n_ended > 0
    assert list(runs[0].best) == list(runs[1].best)
    assert list(runs[0].at_s) == list(runs[1].at_s)


def test_our_samplers_try_a_table_whole_and_then_stop(table: Table) -> None:
    done = replay(table, ours("ours", SamplerSpec(), PrunerSpec(name="none")), 0, 2, math.inf, math.inf)
    assert done.n_ended == 12
    assert done.best[-1] == table.values.max()


def test_ashas_rule_stops_what_is_below_the_best_quarter_at_a_rung() -> None:
    """Rungs at epochs 1, 4, 16; a trial is held against those before it, and recorded whether it stops or not."""
    study = optuna.create_study(direction="maximize", pruner=AshaRule(16))

    def stopped(*scores: float) -> list[bool]:
        trial = study.ask()
        said = []
        for epoch, score in enumerate(scores):
            trial.report(score, epoch)
            said.append(trial.should_prune())
        return said

    assert stopped(1.0, 0.0, 0.0, 5.0) == [False] * 4
    assert stopped(0.9) == [True]
    assert stopped(2.0, 0.0, 0.0, 4.9) == [False, False, False, True]
    # recorded at epoch 1: 0.9, 1, 2; the 75th percentile is 1.5
    assert stopped(1.49) == [True]
    assert stopped(1.9) == [False]


def test_a_median_that_never_got_there_is_infinite_and_ratios_say_so() -> None:
    never = np.array([3.0, math.inf, math.inf])
    assert median(never) == math.inf
    assert ratio(np.array([2.0, 2.0, 2.0]), np.array([6.0, 6.0, 9.0])) == 3.0
    assert ratio(never, np.array([1.0, 1.0, 1.0])) == 0.0
    assert math.isnan(ratio(never, never))


def test_an_interval_holds_its_statistic_and_narrows_with_the_sample() -> None:
    few, many = (np.random.default_rng(1).normal(10, 2, n) for n in (10, 1000))
    middle, low, high = interval(median, few)
    assert low <= middle <= high
    _, tight_low, tight_high = interval(median, many)
    assert tight_high - tight_low < (high - low) / 2


def test_outcomes_read_off_the_improvements() -> None:
    lines = ({"compute": [1.0, 4.0], "at": [0.5, 2.0], "trials": [1, 7], "best": [2.0, 3.0]},)
    found = Outcomes(lines)
    assert found.until(2.5, "compute") == [4.0]
    assert found.until(3.5, "at") == [math.inf]
    assert found.best_at(3.9, "compute") == [2.0]
    assert found.best_at(7, "trials") == [3.0]


def test_quick_prints_a_table_and_draws_and_does_not_repeat_replays(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(study), "--quick", "-o", str(tmp_path / "out"), "--png", str(tmp_path / "curves.png")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^\| ([A-Z][^|]+|grid[^|]*) \|", said, re.M) == [
        "grid, unpruned",
        "Optuna defaults",
        "Drivebeat defaults",
    ]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    replays = tmp_path / "out" / "replays.jsonl"
    assert len(replays.read_text().splitlines()) == 6
    assert main(command[:-2]) == 0
    assert capsys.readouterr().out == said
    assert len(replays.read_text().splitlines()) == 6


def test_the_tables_study_files_are_grids_of_some_hundred_points() -> None:
    for path in sorted((ROOT / "benchmarks" / "tables").glob("*.toml")):
        axes = axes_of(read_spec(path), str(path))
        assert 300 <= math.prod(map(len, axes.values())) <= 500
