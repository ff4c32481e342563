"""The weights of the best trials and the export of the best are artifacts of the study, which the dashboard offers."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.artifacts.open import open_artifacts
from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.pages.weights import retained_weights, stored_files, update_weights
from search.storage.open import open_engine, open_storage
from search.study.export import run_of_trial
from search.study.lifecycle import copy, delete
from search.study.study import load_study
from search.trials import BEST_CONFIG, artifacts_of, ranked
from search.worker.worker import work
from tests.search.conftest import Drivebeat
from tests.support.dashboard import send
from tests.support.study import Bench, MakeSpec
from training.checkpoint import WEIGHTS
from training.config import FinalConfig, read_run


def searched(bench: Bench, make_spec: MakeSpec, folder: Path, **changes: object) -> None:
    """Run a study of four trials, none pruned, that keeps the weights of two."""
    keep = {"best": 10, "last": 20, "weights": 2}
    spec = make_spec(epochs=1, budget={"trials": 4}, pruner={"name": "none"}, artifacts=keep, **changes)
    bench.create(spec)
    work(["tiny"], bench.url, open_artifacts(folder), threads=1, log=lambda line: None)


def test_the_best_trials_keep_their_weights_and_the_best_its_export(
    bench_of_each: Bench, make_spec: MakeSpec, tmp_path: Path
) -> None:
    searched(bench_of_each, make_spec, tmp_path / "artifacts")
    study = load_study("tiny", bench_of_each.storage)
    trials = study.optuna.get_trials()
    best = [trial.number for trial in ranked(trials, study.optuna.direction)]
    files = stored_files(study, bench_of_each.engine)
    assert set(files) == {"best.yaml", *(f"trial-{number}.zip" for number in best[:2])}
    assert artifacts_of(study.optuna._storage.get_study_system_attrs(study.optuna._study_id)) == files, "and no other"
    store = open_artifacts(tmp_path / "artifacts").artifacts
    with store.open_reader(files["best.yaml"]) as file:
        assert yaml.safe_load(file.read())["provenance"]["trial"] == best[0]
    with store.open_reader(files[f"trial-{best[0]}.zip"]) as file, zipfile.ZipFile(io.BytesIO(file.read())) as archive:
        assert sorted(archive.namelist()) == [f"trial-{best[0]}/{name}" for name in ("run.yaml", WEIGHTS)]


def test_the_stored_export_follows_a_changed_final_and_an_equal_one_is_stored_once(
    bench: Bench, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Also where a worker that has loaded the study before stores it."""
    searched(bench, make_spec, tmp_path / "artifacts")
    worker_s = load_study("tiny", bench.storage)
    store = open_artifacts(tmp_path / "artifacts").artifacts

    def stored() -> tuple[str, int]:
        update_weights(worker_s, worker_s.optuna.get_trials(), bench.engine, store, pytest.fail)
        identifier = stored_files(worker_s, bench.engine)["best.yaml"]
        with store.open_reader(identifier) as file:
            return identifier, yaml.safe_load(file.read())["final"]["epochs"]

    first = stored()
    assert stored() == first
    bench.create(replace(worker_s.spec, final=FinalConfig(epochs=77)))
    second = stored()
    assert second[1] == 77
    assert stored() == second
    storage, study_id = worker_s.optuna._storage, worker_s.optuna._study_id
    old = storage.get_study_system_attrs(study_id)[BEST_CONFIG]
    storage.set_study_system_attr(study_id, BEST_CONFIG, {"trial": old["trial"], "artifact": old["artifact"]})
    assert stored()[1] == 77, "a database of an older version has no digest"


def test_the_dashboard_lists_and_serves_what_is_kept(bench: Bench, make_spec: MakeSpec, tmp_path: Path) -> None:
    """A removed one is not in its list."""
    searched(bench, make_spec, tmp_path / "artifacts")
    study = load_study("tiny", bench.storage)
    study_id, files = study.optuna._study_id, stored_files(study, bench.engine)
    storage = PageStorage(open_storage(bench.url, fast=False), open_engine(bench.url))
    pages = build(storage, open_artifacts(tmp_path / "artifacts").artifacts)
    shown = json.loads(send(pages, "GET", f"/api/studies/{study_id}").body)
    assert {artifact["filename"] for artifact in shown["artifacts"]} == set(files)
    for identifier in files.values():
        assert send(pages, "GET", f"/artifacts/{study_id}/{identifier}").status == 200
        assert f"(/artifacts/{study_id}/{identifier})" in shown["note"]["body"]


def test_export_writes_the_weights_of_the_best_trial_as_a_runs_folder(
    bench: Bench, make_spec: MakeSpec, drivebeat: Drivebeat, tmp_path: Path
) -> None:
    """They give the score of the trial, without any training."""
    searched(bench, make_spec, tmp_path / "artifacts")
    said = drivebeat("export", "tiny", "-o", "best.yaml", "--weights", "runs/trial")
    assert said.code == 0, said.err
    study = load_study("tiny", bench.storage)
    number, value = study.optuna.best_trial.number, study.optuna.best_value
    assert read_run(tmp_path / "runs/trial/run.yaml") == run_of_trial(study.optuna.best_trial, "tiny")
    said = drivebeat("evaluate", "runs/trial", "--split", "validation", "--json", "--threads", "1")
    rows = [row for row in json.loads(said.out)["rows"] if row["method"] == "autoencoder" and row["snr_db"] != "inf"]
    assert np.isclose(np.mean([row["si_sdr_db"] for row in rows]), value, atol=1e-3), number


def test_weights_of_another_store_or_into_a_folder_with_a_run_are_refused(
    bench: Bench, make_spec: MakeSpec, refused: Callable[..., str], tmp_path: Path
) -> None:
    """Nothing is written, the export included, and the run that is there stays."""
    searched(bench, make_spec, tmp_path / "artifacts")
    words = ("export", "tiny", "--weights", "runs/trial")
    assert "are not in this store; name that of its workers" in refused(*words, "--artifacts", "elsewhere")
    (tmp_path / "runs/trial").mkdir(parents=True, exist_ok=True)
    (tmp_path / "runs/trial/run.yaml").write_text("mine", encoding="utf-8")
    assert "holds a run already; name another folder" in refused(*words)
    assert (tmp_path / "runs/trial/run.yaml").read_text(encoding="utf-8") == "mine"


def test_weights_that_are_not_kept_or_trained_anew_are_refused(
    bench: Bench, make_spec: MakeSpec, refused: Callable[..., str], tmp_path: Path
) -> None:
    keep = {"best": 10, "last": 20, "weights": 0}
    bench.create(make_spec(epochs=1, budget={"trials": 1}, artifacts=keep))
    work(["tiny"], bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None)
    words = ("export", "tiny", "--weights", "runs/trial")
    assert "the weights of trial 0 were not kept" in refused(*words)
    assert "give one of the two" in refused(*words, "--confirm", "2")


def test_a_copy_and_its_deletion_leave_the_weights_of_the_original(
    bench: Bench, make_spec: MakeSpec, tmp_path: Path
) -> None:
    searched(bench, make_spec, tmp_path / "artifacts")
    store = open_artifacts(tmp_path / "artifacts")
    copy("tiny", bench.storage, bench.engine, bench.storage, bench.engine, "twin")
    delete("twin", bench.storage, bench.engine, store, lambda line: None)
    study = load_study("tiny", bench.storage)
    for identifier in stored_files(study, bench.engine).values():
        store.artifacts.open_reader(identifier).close()
    delete("tiny", bench.storage, bench.engine, store, lambda line: None)
    assert not [path for path in (tmp_path / "artifacts").iterdir() if path.is_file()]


@pytest.mark.parametrize("keep", [0, 1, 3, 9])
def test_the_best_and_the_unfinished_keep_weights(keep: int) -> None:
    def trial(number: int, state: TrialState, value: float | None) -> FrozenTrial:
        made = create_trial(state=state, value=value)
        made.number = number
        return made

    values = [3.0, None, 1.0, 2.0, None]
    states = [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    trials = [trial(i, state, value) for i, (state, value) in enumerate(zip(states, values, strict=True))]
    assert retained_weights(trials, keep, StudyDirection.MAXIMIZE) == {1, *[0, 3, 2][:keep]}
