"""Finalists under fresh seeds: trained once each, chosen by the mean, told with the spread."""

import dataclasses
import json
import math
import statistics
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from optuna.trial import TrialState

from data.corpus import Corpus
from search.errors import StudyError
from search.study.confirm import Confirmed, confirm, export_confirmed, finalists
from search.study.spec import run_of
from search.study.study import Study
from search.trials import RUN
from tests.support.waiting import wait_for
from training.config import as_trial, read_run, to_document
from training.errors import TrainingFailed
from training.trainer import train

TOLD = [(5.0, None), (9.0, 1.0), (None, None), (8.0, None), (7.0, None)]
Log = Callable[[str], None]


@pytest.fixture
def tiny(bench: Any, make_spec: Any) -> Study:
    """Trials as if they had run: 3, 4 and 0 are the best that are complete and feasible, in this order."""
    made: Study = bench.create(make_spec(seed=5, budget={"trials": 5}))
    for value, constraint in TOLD:
        trial = made.optuna.ask(fixed_distributions=dict(made.space.sampled))
        trial.set_user_attr(RUN, json.dumps(to_document(run_of(made.spec, made.space, trial.params))))
        if constraint is not None:
            trial.set_constraint("n_parameters", constraint)
        made.optuna.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
    return made


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """In the place of training: a score by folder and seed, and a list of what was trained."""
    calls: list[tuple[str, int]] = []
    scores = {"trial-3": [1.0, 2.0, 3.0], "trial-4": [2.0, 3.0, 4.0], "trial-0": [9.0, -9.0, 0.0]}

    def score(run: Any, folder: Path, *others: Any) -> float:
        calls.append((folder.name, run.fit.seed))
        seed: int = run.fit.seed
        return scores[folder.name.split("-seed")[0]][seed - 6]

    monkeypatch.setattr("search.study.confirm.train_to_folder", score)
    return calls


def numbers(found: Sequence[Confirmed]) -> list[int]:
    return [one.trial.number for one in found]


def test_finalists_are_the_best_that_are_complete_and_feasible(tiny: Study) -> None:
    assert [trial.number for _, trial in finalists([tiny], 2)] == [3, 4]
    assert [trial.number for _, trial in finalists([tiny], 9)] == [3, 4, 0]


def test_each_finalist_has_the_seeds_after_the_studys_and_the_best_mean_comes_first(
    tiny: Study, trained: list[tuple[str, int]], tmp_path: Path
) -> None:
    """Seeds outermost, so that an interrupted confirmation has compared; the search's own score counts no more."""
    found = confirm([tiny], 3, tmp_path, lambda line: None)
    assert trained == [(f"trial-{n}-seed-{seed}", seed) for seed in (6, 7, 8) for n in (3, 4, 0)]
    assert numbers(found) == [4, 3, 0]
    assert [(one.mean, one.spread) for one in found] == [(3.0, 1.0), (2.0, 1.0), (0.0, 9.0)]
    assert math.isnan(dataclasses.replace(found[0], scores={6: 1.0}).spread)


def test_a_finalist_that_fails_under_a_seed_is_left_out_and_said(
    tiny: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []

    def fails(run: Any, folder: Path, *others: Any) -> float:
        if "trial-3" in folder.name and run.fit.seed == 7:
            raise TrainingFailed("loss is not finite")
        return 1.0

    monkeypatch.setattr("search.study.confirm.train_to_folder", fails)
    assert numbers(confirm([tiny], 2, tmp_path, said.append)) == [4]
    assert "trial 3 of tiny fails with seed 7: loss is not finite" in said
    with pytest.raises(StudyError, match="study tiny: no finalist trains with new seeds"):
        confirm([tiny], 1, tmp_path, said.append)


def test_what_somebody_else_trains_is_waited_for_after_all_else(
    tiny: Study, trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other's training ends when this one has nothing else left to do."""
    monkeypatch.setattr("search.study.confirm.POLL_S", 0.01)
    folder = tmp_path / "tiny"
    folder.mkdir()
    lock = FileLock(folder / "trial-3-seed-6.lock", thread_local=False)
    lock.acquire()
    found: list[Confirmed] = []
    mine = threading.Thread(target=lambda: found.extend(confirm([tiny], 2, tmp_path, lambda line: None)))
    mine.start()
    wait_for(lambda: len(trained) >= 5, 50.0, 0.01)
    lock.release()
    mine.join()
    assert trained[-1] == ("trial-3-seed-6", 6)
    assert len(trained) == 6
    assert numbers(found) == [4, 3]


def test_the_command_trains_each_once_and_writes_the_best_with_its_spread(
    tiny: Study, corpus: Corpus, drivebeat: Any, tmp_path: Path
) -> None:
    """A score is that of training the stored run with that seed and nothing else changed."""
    done = drivebeat("export", "tiny", "--confirm", "2", "-o", "best.yaml")
    assert done.code == 0, done.err
    story = yaml.safe_load((tmp_path / "best.yaml").read_text())["provenance"]
    assert [one["trial"] for one in story["finalists"]] in ([3, 4], [4, 3])
    best, other = story["finalists"]
    assert best["mean"] >= other["mean"]
    assert story["trial"] == best["trial"]
    confirmed = story["confirmed"]
    assert confirmed == {key: best[key] for key in ("seeds", "scores", "mean", "spread")}
    assert confirmed["seeds"] == [6, 7, 8]
    assert confirmed["mean"] == pytest.approx(statistics.fmean(confirmed["scores"]))
    assert confirmed["spread"] == pytest.approx(statistics.stdev(confirmed["scores"]))
    run = as_trial(read_run(tmp_path / "best.yaml"))
    assert to_document(run) == json.loads(tiny.optuna.get_trials()[best["trial"]].user_attrs[RUN])
    again = dataclasses.replace(run, fit=dataclasses.replace(run.fit, seed=7))
    assert list(train(again, corpus, tmp_path / "by-hand"))[-1].best_score == confirmed["scores"][1]
    assert f"trial {best['trial']} of tiny, si_sdr_db {best['mean']:+.3f} (spread" in done.out
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "confirm").rglob("checkpoint*")}
    assert len(weights) == 6
    assert drivebeat("export", "tiny", "--confirm", "2", "-o", "again.yaml").code == 0
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_a_place_that_cannot_be_written_is_refused_before_anything_trains(tiny: Study, drivebeat: Any) -> None:
    done = drivebeat("export", "tiny", "--confirm", "2", "-o", "best.txt")
    assert done.code != 0
    assert "a config is written as .yaml or .yml or .json" in done.err
    assert not Path("runs").exists()


def test_the_export_names_the_finalists_in_order(tiny: Study, trained: list[tuple[str, int]], tmp_path: Path) -> None:
    best = export_confirmed(confirm([tiny], 3, tmp_path, lambda line: None), tmp_path / "best.json")
    story = json.loads((tmp_path / "best.json").read_text())["provenance"]
    assert story["trial"] == best.trial.number == 4
    assert [(one["trial"], one["score"], one["mean"]) for one in story["finalists"]] == [
        (4, 7.0, 3.0),
        (3, 8.0, 2.0),
        (0, 5.0, 0.0),
    ]
