"""The section `final` of an export: how the best trial of a search is trained for use."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.checkpoint import WEIGHTS
from training.config import FinalConfig, RunConfig, as_trial, finalised, from_document, read_run, to_document, write_run
from training.config import read_run_with_provenance as read
from training.errors import ConfigError
from training.final import train_all
from training.runs import override

MakeRun = Callable[..., RunConfig]
Quiet = Callable[[], Console]


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        ({}, [(12, None, 0.5, 0)]),
        ({"epochs": 7}, [(7, None, 0.5, 0)]),
        ({"patience": 3, "ema_decay": 0.0}, [(12, 3, 0.0, 0)]),
        ({"epochs": 5, "seeds": 3}, [(5, None, 0.5, 0), (5, None, 0.5, 1), (5, None, 0.5, 2)]),
    ],
)
def test_it_replaces_the_trials_values(make_run: MakeRun, final: dict[str, Any], expected: list[Any]) -> None:
    """Three times the epochs without a number, one training for each seed."""
    trial = make_run(epochs=4, ema_decay=0.5)
    found = finalised(dataclasses.replace(trial, final=FinalConfig(**final)))
    assert [(r.fit.epochs, r.fit.patience, r.fit.ema_decay, r.fit.seed) for r in found] == expected
    fit = trial.fit
    assert {dataclasses.replace(r, fit=fit) for r in found} == {trial}, "and nothing else"


def test_a_run_without_it_and_a_trial_stay_as_they_are(make_run: MakeRun) -> None:
    run = make_run()
    assert finalised(run) == (run,)
    assert as_trial(dataclasses.replace(run, final=FinalConfig(seeds=2))) == run
    assert "final" not in to_document(run)


def test_it_survives_a_document(make_run: MakeRun, tmp_path: Path) -> None:
    run = dataclasses.replace(make_run(), final=FinalConfig(epochs=9, seeds=2))
    write_run(run, tmp_path / "best.yaml")
    assert read_run(tmp_path / "best.yaml") == run


@pytest.mark.parametrize("value", [{"epochs": 0}, {"seeds": 0}, {"patience": 0}, {"ema_decay": 1.0}, {"epoch": 3}])
def test_wrong_values_are_refused_by_name(make_run: MakeRun, value: dict[str, Any]) -> None:
    (name,) = value
    with pytest.raises(ConfigError, match=f"final.*{name}"):
        from_document({**to_document(make_run()), "final": value}, "best.yaml")


def test_of_several_seeds_the_best_is_kept_as_the_folders_run(make_run: MakeRun, tmp_path: Path, quiet: Quiet) -> None:
    runs = finalised(dataclasses.replace(make_run(epochs=2), final=FinalConfig(epochs=2, seeds=3)))
    last = train_all(runs, tmp_path / "r", {"study": "s"}, ["jsonl"], quiet())
    run, provenance = read(tmp_path / "r" / "run.yaml")
    scores = provenance["seeds"]
    assert set(scores) == {0, 1, 2}
    assert last.best_score == scores[run.fit.seed] == max(scores.values())
    kept = tmp_path / "r" / f"seed-{run.fit.seed}" / WEIGHTS
    assert (tmp_path / "r" / WEIGHTS).read_bytes() == kept.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("seed-*/checkpoint*")}
    again = train_all(runs, tmp_path / "r", {"study": "s"}, ["jsonl"], quiet())
    assert again == last, "the same command again trains nothing"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_folder_of_a_single_training_is_not_taken_for_several(
    make_run: MakeRun, tmp_path: Path, quiet: Quiet
) -> None:
    run: RunConfig = make_run(epochs=1)
    train_all((run,), tmp_path / "r", {}, ["jsonl"], quiet())
    several = finalised(dataclasses.replace(run, final=FinalConfig(epochs=1, seeds=2)))
    with pytest.raises(ConfigError, match="holds another run"):
        train_all(several, tmp_path / "r", {}, ["jsonl"], quiet())


def test_the_folder_of_several_seeds_takes_no_other_run_and_drops_no_seed(
    make_run: MakeRun, tmp_path: Path, quiet: Quiet
) -> None:
    run: RunConfig = make_run(epochs=1)
    train_all(several(run, 2), tmp_path / "r", {}, ["jsonl"], quiet())
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}
    wider = dataclasses.replace(run, model=dataclasses.replace(run.model, width=8))  # type: ignore[call-arg]
    for runs, words in (
        (several(override(wider, seed=10), 2), r"holds another run: .*width is 4 there, 8 here"),
        (several(override(run, seed=10), 2), r"holds another run: fit.seed is \d there, 10 here"),
        ((run,), "holds the best of 2 seeds, and 1 would be left out|fit.seed is 1 there, 0 here"),
        (several(override(run, seed=1), 2), "and 0 would be left out|fit.seed is 0 there, 1 here"),
    ):
        with pytest.raises(ConfigError, match=words):
            train_all(runs, tmp_path / "r", {}, ["jsonl"], quiet())
    after = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}
    assert after == before
    assert {path.name for path in (tmp_path / "r").glob("seed-*")} == {"seed-0", "seed-1"}


def test_several_seeds_are_lengthened_and_more_of_them_trained(make_run: MakeRun, tmp_path: Path, quiet: Quiet) -> None:
    run: RunConfig = make_run(epochs=1)
    train_all(several(run, 2), tmp_path / "r", {"study": "s"}, ["jsonl"], quiet())
    train_all(several(override(run, epochs=2), 3), tmp_path / "r", {"study": "s"}, ["jsonl"], quiet())
    kept, provenance = read(tmp_path / "r" / "run.yaml")
    assert kept.fit.epochs == 2
    assert set(provenance["seeds"]) == {0, 1, 2}
    assert (provenance.get("lengthened_from") == [1]) == (kept.fit.seed < 2)


def several(run: RunConfig, seeds: int) -> tuple[RunConfig, ...]:
    return finalised(dataclasses.replace(run, final=FinalConfig(epochs=run.fit.epochs, seeds=seeds)))
