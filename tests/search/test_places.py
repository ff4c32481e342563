"""Commands find recordings, database and artifacts wherever they are started, or say where they looked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.corpus import load
from search.artifacts.open import open_artifacts
from search.dashboard.missing import missing_artifacts
from search.storage.open import open_storage
from search.study.spec import read_spec
from search.study.study import load_study
from search.worker.worker import work
from tests.search.conftest import Drivebeat
from tests.support.study import Bench, MakeSpec, toml_of
from training.config import read_run
from training.documents import with_base, write_document
from training.learner import run_text

Document = Callable[..., dict[str, Any]]


@pytest.fixture
def project(recordings: Path, tmp_path: Path, study_document: Document) -> Callable[..., Path]:
    """Make a folder with recordings in `own/` and a study file with relative paths to them; return the file."""

    def make(name: str = "project", prefix: str = "own", **changes: Any) -> Path:
        folder = tmp_path / name
        (folder / "own").mkdir(parents=True)
        for path in recordings.rglob("*.wav"):
            shutil.copy(path, folder / "own" / path.name)
        document = study_document(**changes)
        document["data"] = {
            **document["data"],
            "clean": [{"files": [f"{prefix}/stop.wav"]}],
            "noise": [{"files": [f"{prefix}/60km.wav"]}],
        }
        file = folder / "study.toml"
        file.write_text(toml_of(document), encoding="utf-8")
        return file

    return make


def stored_base(folder: Path) -> str | None:
    return load_study("tiny", open_storage(f"sqlite:///{folder}/studies.db")).spec.data.base


def test_paths_of_schema_version_2_start_from_the_study_files_folder(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path
) -> None:
    file = project(schema_version=2)
    said = drivebeat("create", str(file))
    assert said.code == 0, said.err
    assert stored_base(tmp_path) == str(file.parent)


def test_paths_of_schema_version_1_start_from_the_directory_of_create_and_still_do_elsewhere(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project(prefix="project/own")
    assert drivebeat("create", str(file)).code == 0
    assert stored_base(tmp_path) == str(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = load_study("tiny", open_storage(f"sqlite:///{tmp_path}/studies.db"))
    assert load(study.spec.data).fingerprint == study.fingerprint


def test_a_trial_trains_and_is_exported_and_trained_again_from_other_folders(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    assert drivebeat("create", str(project(schema_version=2, budget={"trials": 1})), "--storage", url).code == 0
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    assert drivebeat("work", "tiny", "--storage", url, "--artifacts", str(tmp_path / "artifacts")).code == 0
    assert drivebeat("export", "tiny", "--storage", url, "-o", str(tmp_path / "best.yaml")).code == 0
    monkeypatch.chdir(tmp_path / "two")
    said = drivebeat("train", str(tmp_path / "best.yaml"), "-o", "run", "--epochs", "1")
    assert said.code == 0, said.err


def test_a_folder_that_is_not_here_is_replaced_by_the_working_directory_with_a_note(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = read_spec(project(schema_version=2))
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    notes = load(spec.data).notes
    assert f"{tmp_path}/project, is not here; paths start from {tmp_path}/moved" in notes[0]


def test_the_same_study_created_from_another_place_is_the_same_study(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path
) -> None:
    file = project(schema_version=2)
    assert drivebeat("create", str(file)).code == 0
    (tmp_path / "project").rename(tmp_path / "moved")
    assert drivebeat("create", str(tmp_path / "moved" / "study.toml")).code == 0
    assert stored_base(tmp_path) == str(tmp_path / "moved")


def test_equal_relative_paths_in_two_folders_are_two_corpora(project: Callable[..., Path]) -> None:
    """A worker that goes from one study to the next reads the recordings of each."""
    one, two = (read_spec(project(name, schema_version=2)).data for name in ("a", "b"))
    assert one == two
    assert {segment.source.parent for data in (one, two) for segment in load(data).splits["train"].clean} == {
        Path(data.base or "", "own") for data in (one, two)
    }


def test_a_run_is_the_same_wherever_its_recordings_are(project: Callable[..., Path], tmp_path: Path) -> None:
    """Its digest and its checkpoint do not depend on the folder."""
    document = {
        "schema_version": 1,
        "data": {"clean": [{"files": ["own/stop.wav"]}], "noise": [{"files": ["own/60km.wav"]}]},
        "model": {"name": "identity"},
        "loss": {"name": "l1"},
    }
    texts = []
    for base in (".", "..", "/nowhere", None):
        values = {**document, "data": {**document["data"], **({} if base is None else {"base": base})}}  # type: ignore[dict-item]
        write_document(values, tmp_path / "run.yaml")
        run = read_run(tmp_path / "run.yaml")
        texts.append(run_text(run))
        wanted = {".": str(tmp_path), "..": str(tmp_path.parent), "/nowhere": "/nowhere", None: None}
        assert run.data.base == wanted[base]
    assert len(set(texts)) == 1


@pytest.mark.parametrize("version", [0, 3])
def test_another_schema_version_is_refused(
    version: int, project: Callable[..., Path], refused: Callable[..., str]
) -> None:
    said = refused("create", str(project(schema_version=version)))
    assert f"schema_version is {version}; 1 or 2 is needed" in said
    assert ("newer Drivebeat" in said) == (version > 2)


def test_a_glob_without_a_match_names_the_folder_it_was_looked_for_in(
    project: Callable[..., Path], refused: Callable[..., str]
) -> None:
    file = project(schema_version=2, prefix="typo")
    assert f"'typo/stop.wav' (looked from {file.parent})" in refused("create", str(file))


def test_create_and_launch_name_the_database_and_the_artifacts_with_absolute_paths(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path
) -> None:
    said = drivebeat("create", str(project(schema_version=2, budget={"trials": 1})))
    assert f"database {tmp_path}/studies.db\n" in said.out
    said = drivebeat("launch", "tiny", "--workers", "1")
    assert f"database {tmp_path}/studies.db, artifacts {tmp_path}/artifacts, logs of workers {tmp_path}/runs/logs" in (
        said.out.replace("\n", " ")
    )


def test_a_dashboard_with_other_artifacts_names_the_place_of_the_workers(
    bench: Bench, make_spec: MakeSpec, tmp_path: Path
) -> None:
    bench.create(make_spec(budget={"trials": 1}))
    work(["tiny"], bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None)
    right, wrong = (open_artifacts(tmp_path / name) for name in ("artifacts", "other"))
    assert missing_artifacts(bench.engine, right.artifacts, right.place) == []
    (note,) = missing_artifacts(bench.engine, wrong.artifacts, wrong.place)
    assert f"study tiny are not in {tmp_path}/other; a worker stored them in {tmp_path}/artifacts on " in note


def test_a_file_with_a_data_section_alone_starts_from_its_folder(
    project: Callable[..., Path], drivebeat: Drivebeat, tmp_path: Path
) -> None:
    """--data takes it; without schema_version 2 it starts from the working directory."""
    folder = project(schema_version=2).parent
    document = {"data": {"clean": [{"files": ["own/stop.wav"]}], "noise": [{"files": ["own/60km.wav"]}]}}
    for version, base in ((2, str(folder)), (None, None)):
        values = document if version is None else {"schema_version": version, **document}
        assert with_base(values, folder / "other.toml")["data"].get("base") == base


def test_an_old_study_file_in_another_folder_is_told_of_the_new_rule(
    project: Callable[..., Path], refused: Callable[..., str]
) -> None:
    file = project()
    assert f"with schema_version = 2 in {file}, paths start from its folder" in refused("create", str(file))


@pytest.mark.parametrize(
    ("command", "words"),
    [("train", "is a study file, not a run; make its study"), ("create", "is a run, not a study file; train it")],
)
def test_a_study_file_and_a_run_are_not_taken_for_each_other(
    command: str, words: str, project: Callable[..., Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    file = project()
    run = tmp_path / "run.yaml"
    run.write_text("schema_version: 1\ndata: {}\nmodel: {name: identity}\nloss: {name: l1}\n", encoding="utf-8")
    said = refused("train", str(file), "-o", "runs/x") if command == "train" else refused("create", str(run))
    assert words in said
