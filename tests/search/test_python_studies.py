"""`import drivebeat`: studies in a notebook or a script."""

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

import drivebeat as api
from search.artifacts.open import open_artifacts
from search.errors import ConfigError, DataError, LaunchError, StorageError, StudyError, StudyGone
from search.launch.base import Launch
from search.queue.workers import workers
from search.signals import Interrupted
from search.study.lifecycle import delete, rename
from search.trials import FATE, REASON, WORKER
from tests.support.plugins import model_source, write_plugin
from tests.support.program import environment
from tests.support.study import Bench
from tests.support.waiting import wait_for


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of each file; of SQLite's shared memory, in which readers leave marks, the name alone."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: b"" if path.name.endswith("-shm") else path.read_bytes() for path in files}


def test_a_study_is_read_as_tables(tiny: Any, bench: Bench) -> None:
    """Two complete trials of a worker."""
    study = api.study("tiny", storage=bench.url)
    trials = study.trials
    stored = tiny.optuna.get_trials()
    assert list(trials["number"]) == [0, 1]
    assert list(trials["state"]) == ["complete", "complete"]
    assert list(trials["value"]) == [trial.value for trial in stored]
    assert list(trials["si_sdr_db"]) == [trial.user_attrs["si_sdr_db"] for trial in stored]
    for name in ("width", "learning_rate"):
        assert list(trials[f"params_{name}"]) == [trial.params[name] for trial in stored]
    snrs = [name for name in trials if name.startswith("si_sdr_db@")]
    assert snrs == ["si_sdr_db@-5", "si_sdr_db@+0"]
    assert np.allclose(trials[snrs].mean(axis=1), trials["value"], atol=1e-3)
    assert list(trials["epochs"]) == list(trials["best_epoch"]) == [1, 1]
    assert (trials["duration_s"] >= trials["training_s"] - 0.06).all()
    assert list(trials["worker"]) == [trial.user_attrs[WORKER] for trial in stored]
    assert set(trials["device"]) == {"cpu"}
    best = max(stored, key=lambda trial: trial.value or -np.inf)
    assert study.best is not None
    assert (study.best.number, study.best.value, study.best.params) == (best.number, best.value, best.params)
    assert (study.curves.index.name, list(study.curves.index), list(study.curves.columns)) == ("epoch", [1], [0, 1])
    assert list(study.curves.loc[1]) == [trial.intermediate_values[0] for trial in stored]
    assert study.importances.empty
    assert study.spec.metric == "si_sdr_db"
    assert repr(study).startswith("Study(tiny: 2/3 finished (2 complete, 0 pruned, 0 failed), best si_sdr_db ")
    assert study._repr_html_().count("<tr") == 3
    assert api.studies(bench.url) == ["tiny"]


def test_every_state_has_drivebeat_s_name_for_it(bench: Bench, make_spec: Any) -> None:
    made = bench.create(make_spec(epochs=4, budget={"trials": 9}))
    params = {"width": 8, "learning_rate": 1e-3}
    for state, value, attributes in (
        (TrialState.COMPLETE, 1.0, {}),
        (TrialState.PRUNED, None, {FATE: "infeasible", REASON: "too many parameters"}),
        (TrialState.PRUNED, None, {FATE: "pruned"}),
        (TrialState.FAIL, None, {FATE: "failed", REASON: "no room", "si_sdr_db@loud": 1.0}),
        (TrialState.WAITING, None, {}),
    ):
        made.optuna.add_trial(
            create_trial(
                state=state,
                value=value,
                params=params if state != TrialState.WAITING else {},
                distributions=dict(made.space.sampled) if state != TrialState.WAITING else {},
                user_attrs=attributes,
                intermediate_values={0: 0.5, 2: 0.7} if state == TrialState.PRUNED else {},
            )
        )
    study = api.study("tiny", storage=bench.url)
    trials = study.trials
    assert list(trials["state"]) == ["complete", "infeasible", "pruned", "failed", "waiting"]
    assert list(trials["reason"].fillna("")) == ["", "too many parameters", "", "no room", ""]
    assert "si_sdr_db@loud" not in trials
    assert list(study.curves.index) == [1, 3]
    assert study.best is None  # the complete trial has no run: it is another program's


def test_a_study_without_trials_has_empty_tables_and_no_best(bench: Bench, make_spec: Any) -> None:
    bench.create(make_spec())
    study = api.study("tiny", storage=bench.url)
    assert (len(study.trials), len(study.curves), len(study.importances), study.best) == (0, 0, 0, None)
    assert {"number", "state", "value", "worker"} <= set(study.trials.columns)
    with pytest.raises(StudyError, match="no complete, feasible trial to export yet"):
        study.export("best.yaml")


def test_importances_are_a_series_the_largest_first(bench_of_each: Bench, make_spec: Any) -> None:
    """In a database of each kind."""
    made = bench_of_each.create(make_spec(budget={"trials": 40}))
    for i in range(12):
        trial = made.optuna.ask(fixed_distributions=dict(made.space.sampled))
        made.optuna.tell(trial, trial.params["learning_rate"] + 1e-6 * i)
    study = api.study("tiny", storage=bench_of_each.url)
    assert len(study.optuna.trials) == len(study.trials) == 12
    importances = study.importances
    assert list(importances.index) == ["learning_rate", "width"]
    assert importances.sum() == pytest.approx(1.0)
    assert importances.is_monotonic_decreasing


def test_an_export_is_that_of_the_command(tiny: Any, bench: Bench, drivebeat: Callable[..., Any]) -> None:
    assert drivebeat("export", "tiny", "-o", "cli.yaml", "--storage", bench.url).code == 0
    path = api.study("tiny", storage=bench.url).export("api.yaml")
    assert path == Path("api.yaml")
    texts = [Path(name).read_text().splitlines() for name in ("cli.yaml", "api.yaml")]
    cli, own = ([line for line in lines if "exported_at" not in line] for lines in texts)
    assert cli == own
    with pytest.raises(ConfigError, match="a config is written as"):
        api.study("tiny", storage=bench.url).export("api.txt")


def test_a_look_writes_nothing_and_optuna_s_own_study_writes(tiny: Any, bench: Bench, tmp_path: Path) -> None:
    bench.close()
    before = files_of(tmp_path)
    study = api.study("tiny", storage=tmp_path / "studies.db")
    _ = (study.trials, study.curves, study.best, study.spec, study.importances, repr(study), api.studies(bench.url))
    assert files_of(tmp_path) == before
    study.optuna.enqueue_trial({"width": 16, "learning_rate": 0.002})
    assert list(study.trials["state"]) == ["complete", "complete", "waiting"]
    assert study.optuna is study.optuna


def test_where_the_database_cannot_be_written_optuna_s_own_study_reads(
    tiny: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.close()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    before = files_of(tmp_path)
    assert len(api.study("tiny", storage=bench.url).optuna.trials) == 2
    assert files_of(tmp_path) == before


def test_a_renamed_study_goes_on_and_a_deleted_one_is_said(tiny: Any, bench: Bench, tmp_path: Path) -> None:
    study = api.study("tiny", storage=bench.url)
    rename("tiny", "other", bench.storage, bench.engine)
    assert repr(study).startswith("Study(other: 2/3 finished")
    delete("other", bench.storage, bench.engine, open_artifacts(tmp_path / "artifacts"), lambda line: None)
    for look in (lambda: study.trials, lambda: study.best, lambda: study.optuna, lambda: study.export("best.yaml")):
        with pytest.raises(StudyGone, match="study 'tiny' was deleted"):
            look()
    assert repr(study) == "Study(tiny: study 'tiny' was deleted)"
    assert "<table" not in study._repr_html_()


def test_a_study_or_a_database_that_is_not_there_is_refused_by_name(
    bench: Bench, make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.create(make_spec())
    with pytest.raises(StudyError, match=r"no study 'tinny' \(did you mean 'tiny'\?\)"):
        api.study("tinny", storage=bench.url)
    none = tmp_path / "none.db"
    for look in (
        lambda: api.studies(none),
        lambda: api.studies(str(none)),
        lambda: api.study("tiny", storage=none),
    ):
        with pytest.raises(StorageError, match="there is no file"):
            look()
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StorageError, match="ftp is not supported"):
        api.studies("ftp://none.db")
    monkeypatch.setenv("DRIVEBEAT_STORAGE", bench.url)
    assert api.studies() == ["tiny"]


def test_a_dict_with_paths_and_a_file_create_equal_studies(
    study_file: Callable[..., Path], study_document: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    [by_file] = api.create(study_file(), storage=tmp_path / "file.db")
    document = study_document()
    document["data"] = {
        **document["data"],
        **{
            side: [{"files": (Path(f) for f in s["files"])} for s in document["data"][side]]
            for side in ("clean", "noise")
        },
        "rate_hz": np.float64(250.0),
        "window_samples": np.int64(512),
    }
    for side in ("clean", "noise"):
        document["data"][side] = [{"files": tuple(source["files"])} for source in document["data"][side]]
    [by_dict] = api.create(document, storage=tmp_path / "dict.db")
    assert by_dict.spec == by_file.spec
    assert by_dict.name == "tiny"
    [again] = api.create(
        replace(by_file.spec, budget=replace(by_file.spec.budget, trials=7)), storage=tmp_path / "file.db"
    )
    assert again.identity == by_file.identity
    assert by_file.spec.budget.trials == 7


def test_a_dict_may_name_plugins_and_relative_paths_as_a_file_may(
    own_study: Callable[..., Path], recordings: Path, tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start from the working directory; the file of a plug-in is trusted by naming it."""
    monkeypatch.chdir(tmp_path)
    file = own_study(schema_version=2)
    document = tomllib.loads(file.read_text())
    for made in (api.create(document, storage="dict.db", quiet=True), api.create(file, storage="file.db", quiet=True)):
        (study,) = made
        assert study.spec.data.base == str(tmp_path)
        assert [plugin.name for plugin in study.spec.plugins] == ["one_layer.py"]
    assert plugins.read_text().count("one_layer.py") == 1
    document = {**document, "name": "other", "data": {**document["data"], "base": recordings.name}}
    (recordings.parent / "plug").mkdir(exist_ok=True)
    write_plugin(recordings.parent / "plug", "one_layer.py", model_source())
    monkeypatch.chdir(recordings.parent)
    (study,) = api.create({**document, "plugins": ["plug/one_layer.py"]}, storage=tmp_path / "dict.db", quiet=True)
    assert study.spec.data.base == str(recordings)
    (again,) = api.create(study.spec, storage=tmp_path / "dict.db", quiet=True)
    assert again.identity == study.identity


def test_each_family_is_a_study_of_the_list(study_document: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    made = api.create(study_document(models=["autoencoder", "identity"]), storage=tmp_path / "studies.db")
    assert [study.name for study in made] == ["tiny-autoencoder", "tiny-identity"]


def test_what_is_assumed_of_recordings_is_printed(
    study_document: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.create(study_document(), storage=tmp_path / "studies.db")
    shown = capsys.readouterr().out
    assert "warning: " in shown and "vehicles" in shown  # the split, as `create` prints it
    api.create(study_document(), storage=tmp_path / "studies.db", quiet=True)
    assert {line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()} == {"warning"}


def test_a_spec_that_is_not_valid_leaves_no_database(
    study_document: Callable[..., dict[str, Any]], data_section: dict[str, Any], tmp_path: Path
) -> None:
    lost = {**data_section, "clean": [{"files": [str(tmp_path / "none.wav")]}]}
    for changes, error, words in (
        ({"modles": []}, ConfigError, "study: unknown key 'modles'"),
        ({"models": ["autoencodr"]}, ConfigError, "autoencodr"),
        ({"fixed": {"width": object()}}, ConfigError, "study: "),
        ({"data": lost}, DataError, "no recording matches"),
    ):
        with pytest.raises(error) as raised:
            api.create({**study_document(), **changes}, storage=tmp_path / "studies.db")
        assert words in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_is_finished_starts_no_worker(
    bench: Bench, make_spec: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench.create(make_spec(search=["width"], budget={"trials": 9}))  # one of 8, 16
    for width in (8, 16):
        made.optuna.enqueue_trial({"width": width})
        made.optuna.tell(made.optuna.ask(fixed_distributions=dict(made.space.sampled)), 1.0)
    study = api.study("tiny", storage=bench.url)
    assert api.search(study, workers=2) is study
    assert "every point of its space has been tried" in capsys.readouterr().out
    by_name = api.search("tiny", storage=bench.url, quiet=True)
    assert by_name.identity == study.identity
    assert api.search([study], quiet=True) == [study]
    assert capsys.readouterr().out == ""


@pytest.fixture
def asked(bench: Bench, make_spec: Any, monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """The launches that are asked for; each is stopped by SIGINT."""
    bench.create(make_spec())
    requests: list[Launch] = []

    def launch(request: Launch, console: object) -> None:
        requests.append(request)
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr("search.python.workers.launch", launch)
    monkeypatch.delenv("DRIVEBEAT_ARTIFACTS", raising=False)
    return requests


def test_a_stopped_search_raises_keyboard_interrupt_and_says_how_to_go_on(asked: list[Launch], bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt, match="the same call continues the search of tiny"):
        api.search("tiny", storage=bench.url)
    assert [(request.n_workers, request.artifacts, request.logs) for request in asked] == [
        (1, "artifacts", Path("runs/logs"))
    ]


def test_another_signal_does_to_the_script_what_it_would_have_done(
    bench: Bench, make_spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends it, unless it handles the signal itself; but only once the workers have stopped."""
    bench.create(make_spec())
    events: list[str] = []

    def launch(request: Launch, console: object) -> None:
        events.append("workers stopped")
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("search.python.workers.launch", launch)
    signal.signal(signal.SIGTERM, lambda number, frame: events.append(signal.Signals(number).name))
    with pytest.raises(KeyboardInterrupt):
        api.search("tiny", storage=bench.url)
    assert events == ["workers stopped", "SIGTERM"]


def test_names_may_stand_in_a_list(asked: list[Launch], bench: Bench) -> None:
    for given in (["tiny"], ("tiny",)):
        with pytest.raises(KeyboardInterrupt):
            api.search(given, storage=bench.url)
    identity = api.study("tiny", storage=bench.url).identity
    assert [request.studies for request in asked] == [(identity,), (identity,)]


def test_what_a_search_is_given_reaches_its_workers(
    asked: list[Launch], bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = api.study("tiny", storage=bench.url)
    with pytest.raises(KeyboardInterrupt):
        api.search(study, workers=3, threads=2, artifacts=tmp_path / "kept", logs=str(tmp_path / "logs"))
    monkeypatch.setenv("DRIVEBEAT_ARTIFACTS", "s3://bucket/prefix")
    with pytest.raises(KeyboardInterrupt):
        api.search([study], workers=None)
    first, second = asked
    assert first == Launch((study.identity,), bench.url, str(tmp_path / "kept"), 3, tmp_path / "logs", threads=2)
    assert (second.artifacts, second.n_workers) == ("s3://bucket/prefix", None)


def test_a_search_that_cannot_be_is_refused(asked: list[Launch], bench: Bench, tmp_path: Path) -> None:
    study = api.study("tiny", storage=bench.url)
    for options in ({"workers": 0}, {"threads": 0}):
        with pytest.raises(LaunchError, match="is 0; at least 1 is needed"):
            api.search(study, **options)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="the studies are in 2 databases"):
        api.search(study, storage=tmp_path / "other.db")
    with pytest.raises(ConfigError, match="no study is given"):
        api.search([])
    assert asked == []


SEARCH = """
import drivebeat
drivebeat.search("tiny", workers=2, threads=1)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_workers_of_a_script_search_until_the_budget_is_spent(bench: Bench, make_spec: Any, tmp_path: Path) -> None:
    bench.create(make_spec(epochs=1, budget={"trials": 3}))
    there = environment(DRIVEBEAT_STORAGE=bench.url)
    done = subprocess.run(
        [sys.executable, "-c", SEARCH], cwd=tmp_path, env=there, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("complete ") >= 1
    assert "study tiny: its budget of 3 trials is spent" in done.stdout
    assert list(api.study("tiny", storage=bench.url).trials["state"]) == ["complete"] * 3


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ctrl_c_in_a_script_stops_the_workers_and_opens_their_slots(
    bench: Bench, make_spec: Any, tmp_path: Path
) -> None:
    study = bench.create(make_spec(epochs=2000, pruner={"name": "none"}, budget={"trials": 4})).optuna
    # where the tests run in a shell's background SIGINT is ignored, and the script would inherit that
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + SEARCH
    there = environment(DRIVEBEAT_STORAGE=bench.url)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=there, stderr=subprocess.PIPE, text=True
    ) as script:
        try:
            wait_for(lambda: sum(bool(trial.intermediate_values) for trial in study.get_trials()) == 2, 120.0)
            script.send_signal(signal.SIGINT)
            _, said = script.communicate(timeout=90)
        finally:
            script.kill()
    assert said.splitlines()[-1] == (
        "KeyboardInterrupt: the workers have stopped; the same call continues the search of tiny"
    )
    assert {row.status.state for row in workers(bench.engine)} == {"stopped"}
    state = bench.progress()
    assert (state.open, state.claimed, state.finished, state.failed) == (2, 0, 0, 0)
    table = api.study("tiny", storage=bench.url).trials
    pd.testing.assert_series_equal(table["state"], pd.Series(["running", "running"], name="state"))
