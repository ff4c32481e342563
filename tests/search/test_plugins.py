"""A study with a plug-in: stored once, executed where it is trusted, and refused elsewhere."""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from optuna.artifacts import FileSystemArtifactStore

import search.launch.base
from models import DENOISERS
from search.artifacts.open import open_artifacts
from search.commands.create import create as create_command
from search.dashboard.server import build
from search.dashboard.storage import PageStorage
from search.errors import StudyError
from search.launch.base import Launch, start_worker
from search.storage.open import open_storage
from search.study.export import run_of_trial
from search.study.spec import prepare
from search.study.study import create, load_study
from search.terminal.console import PlainConsole
from search.trials import PLUGIN, RUN, SPEC
from search.worker.worker import work
from tests.support.plugins import (
    HASH,
    METRIC,
    SAMPLER,
    forget,
    in_another_process,
    load_trusted,
    model_plugin,
    model_source,
    not_trusted,
    write_plugin,
)
from tests.support.study import url_of
from training.config import read_run
from training.documents import read_document
from training.errors import PluginError
from training.plugins.plugin import plugin_of
from training.plugins.trust import remember

NOT_TRUSTED = not_trusted("study tiny", "tiny") + " with the same --storage"


def attributes(folder: Path) -> dict[str, Any]:
    """The study's user attributes, as another program sees them."""
    return dict(optuna.load_study(study_name="tiny", storage=url_of(folder)).user_attrs)


# --- create ---------------------------------------------------------------------------------------------------------


def test_create_trusts_the_file_and_stores_its_source_once(created: Path, plugins: Path) -> None:
    assert plugins.read_text().split() == [HASH, plugins.read_text().split()[1], "one_layer.py"]
    stored = attributes(created)
    assert json.loads(stored[SPEC])["plugins"] == [{"name": "one_layer.py", "sha256": HASH}]
    assert stored[f"{PLUGIN}{HASH}"] == model_source()


def test_a_trials_run_names_the_plugin_and_its_documents_hold_it(searched: Path) -> None:
    (trial,) = optuna.load_study(study_name="tiny", storage=url_of(searched)).trials
    assert json.loads(trial.user_attrs[RUN])["plugins"] == [{"name": "one_layer.py", "sha256": HASH}]
    files = [path for path in (searched / "artifacts").iterdir() if path.is_file()]
    documents = [path for path in files if b"one_layer" in path.read_bytes()]  # run.yaml and best.yaml
    assert [yaml.safe_load(path.read_bytes())["plugins"][0]["source"] for path in documents] == [model_source()] * 2


def test_create_again_is_accepted_and_with_a_changed_plugin_refused(
    created: Path, drivebeat: Any, refused: Any
) -> None:
    write_plugin(created, "one_layer.py", model_source())
    assert drivebeat("create", "tiny.toml").code == 0
    other = model_plugin(more="# changed\n")
    write_plugin(created, "one_layer.py", other.source)
    with in_another_process("one_layer"):
        text = refused("create", "tiny.toml")
    assert (
        "study 'tiny' exists with other settings: plugins "
        f"('one_layer.py ({HASH[:12]})', now 'one_layer.py ({other.sha256[:12]})')"
    ) in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = = 1\n", "tiny.toml: plug-in one_layer.py (*) cannot be loaded: line 1: invalid syntax"),
        (model_source("wave_unet"), "model 'wave_unet' is registered already, by models.wave_unet"),
        ("x = 1\n", "models: unknown model 'one_layer'"),
    ],
)
def test_a_file_that_does_not_load_is_refused_and_leaves_nothing(
    source: str, words: str, own_study: Any, refused: Any, plugins: Path, tmp_path: Path
) -> None:
    own_study()
    write_plugin(tmp_path, "one_layer.py", source)
    assert re.search(re.escape(words).replace(r"\*", ".*"), refused("create", "tiny.toml"))
    assert not plugins.exists() and not (tmp_path / "studies.db").exists()


def test_create_trusts_no_source_that_stands_inside_the_study_file(
    own_study: Any, drivebeat: Any, refused: Any, plugins: Path, tmp_path: Path
) -> None:
    """The file that it names beside the source is trusted, and does not lend its trust."""
    document = {**tomllib.loads(own_study().read_text()), "plugins": ["mine.py", asdict(model_plugin())]}
    write_plugin(tmp_path, "mine.py", "x = 1\n")
    (tmp_path / "tiny.json").write_text(json.dumps(document))
    assert not_trusted("tiny.json", "tiny.json") in refused("create", "tiny.json")
    assert not plugins.exists() and "one_layer" not in DENOISERS
    remember([model_plugin()])
    assert drivebeat("create", "tiny.json").code == 0
    assert [line.split()[2] for line in plugins.read_text().splitlines()] == ["one_layer.py", "mine.py"]


def test_create_remembers_the_named_plugins_only(own_study: Any, plugins: Path, tmp_path: Path) -> None:
    """Also where this process has executed the other one already."""
    document = {**tomllib.loads(own_study().read_text()), "plugins": ["mine.py", asdict(model_plugin())]}
    write_plugin(tmp_path, "mine.py", "x = 1\n")
    load_trusted(model_plugin())
    given = prepare(document, tmp_path / "tiny.json", executing_named=True)
    assert [plugin.name for plugin in given.named] == ["mine.py"]
    create_command(given, url_of(tmp_path), PlainConsole(quiet=True))
    assert [line.split()[2] for line in plugins.read_text().splitlines()] == ["mine.py"]


def test_a_missing_file_is_named_with_the_near_one(own_study: Any, refused: Any) -> None:
    own_study(plugins=["one_leyer.py"])
    assert "tiny.toml: plugins: no file 'one_leyer.py' beside it" in (text := refused("create", "tiny.toml"))
    assert "did you mean 'one_layer.py'?" in text


def test_an_unwritable_state_folder_stops_create_before_the_database(
    own_study: Any, refused: Any, tmp_path: Path
) -> None:
    own_study()
    (tmp_path / "state").write_text("")
    assert "state/drivebeat: cannot be made" in refused("create", "tiny.toml")
    assert not (tmp_path / "studies.db").exists()


def test_a_study_may_choose_metric_and_sampler_of_plugins(own_study: Any, drivebeat: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "signs.py", METRIC.replace("NAME", "same_signs"))
    write_plugin(tmp_path, "draws.py", SAMPLER.replace("NAME", "draws"))
    own_study(
        plugins=["one_layer.py", "signs.py", "draws.py"],
        metric="same_signs",
        sampler={"name": "draws"},
        budget={"trials": 2},
    )
    said = drivebeat("create", "tiny.toml")
    assert said.code == 0, said.err
    store = open_artifacts(tmp_path / "artifacts")
    assert work(["tiny"], url_of(tmp_path), store, threads=1, log=lambda line: None) == 2
    assert "same_signs +0." in drivebeat("export", "tiny").out
    assert read_run(tmp_path / "best.yaml").fit.score == "same_signs"
    unknown = {"plugins": ["one_layer.py"], "sampler": {"name": "drawz"}}
    own_study(**unknown)
    assert "sampler.name: unknown sampler 'drawz' (did you mean 'draws'?)" in drivebeat("create", "tiny.toml").err


# --- where it is not trusted ----------------------------------------------------------------------------------------


@pytest.fixture
def stranger(created: Path, plugins: Path) -> Iterator[Path]:
    """Another machine with the same database: nothing is trusted, and nothing executed yet."""
    forget(plugins)
    with in_another_process("one_layer"):
        yield created


@pytest.mark.parametrize(
    "words",
    [
        ("work", "tiny"),
        ("launch", "tiny"),
        ("export", "tiny"),
        ("report", "tiny"),
        ("enqueue", "tiny", "width=8"),
        ("show", "tiny", "--across"),
    ],
    ids=lambda words: words[0],
)
def test_commands_that_build_the_model_refuse(words: tuple[str, ...], stranger: Path, drivebeat: Any) -> None:
    said = drivebeat(*words)
    assert said.code == 2
    assert said.err.splitlines()[-1] == f"drivebeat: {NOT_TRUSTED}"
    assert "one_layer" not in DENOISERS


def test_commands_that_list_studies_show_it_with_the_reason(stranger: Path, drivebeat: Any) -> None:
    line = "tiny: 0/1 finished (0 complete, 0 pruned, 0 failed)"
    listed = drivebeat("show")
    assert listed.code == 0 and "one_layer" in listed.out and f"note: {NOT_TRUSTED}\n" in listed.out
    for words in (("show", "tiny"), ("watch", "tiny", "--once")):
        said = drivebeat(*words)
        assert said.code == 0 and said.out.startswith(line) and said.out.endswith(f"; {NOT_TRUSTED}\n")
    (snap,) = json.loads(drivebeat("watch", "tiny", "--once", "--json").out)["studies"]
    assert (snap["budget"], snap["problem"]) == (1, NOT_TRUSTED)
    checks = json.loads(drivebeat("doctor", "tiny", "--json").out)["checks"]
    (recordings,) = [check for check in checks if check["name"] == "recordings"]
    assert recordings["fix"] == "read it with --show, then trust it: drivebeat trust tiny with the same --storage"
    assert not [check for check in checks if check["state"] == "broken" and check["name"] != "recordings"]


def test_a_finite_space_whose_plugin_fails_is_listed(own_study: Any, drivebeat: Any, plugins: Path) -> None:
    """Whether its points are used up is asked of the model, which is not there."""
    own_study(search=["width"], ranges={"width": {"choices": [8]}}, budget={"trials": 2})
    assert drivebeat("create", "tiny.toml").code == 0
    work(["tiny"], url_of(Path.cwd()), open_artifacts(Path("artifacts")), threads=1, log=lambda line: None)
    assert "every point" in drivebeat("watch", "tiny", "--once", "--json").out
    forget(plugins)
    with in_another_process("one_layer"):
        (snap,) = json.loads(drivebeat("watch", "tiny", "--once", "--json").out)["studies"]
    assert (snap["stop_reason"], snap["problem"]) == ("", NOT_TRUSTED)


def test_the_dashboard_shows_the_study_without_the_source(stranger: Path, bench: Any, ask: Any) -> None:
    shown = build(PageStorage(open_storage(bench.url, fast=False), bench.engine), FileSystemArtifactStore("."))
    study = optuna.load_study(study_name="tiny", storage=bench.storage)
    code, _, body = ask(shown, f"/api/studies/{study._study_id}")
    assert code == 200
    assert {row["key"] for row in json.loads(body)["user_attrs"]} == {"drivebeat:family", "drivebeat:data_fingerprint"}


def test_the_variable_is_enough(stranger: Path, drivebeat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVEBEAT_TRUST", HASH)
    assert drivebeat("enqueue", "tiny", "width=8").code == 0


def test_a_launch_passes_the_trust_to_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what its own environment has."""
    program = "import os; print(os.environ.get('DRIVEBEAT_TRUST'))"
    monkeypatch.setattr(search.launch.base, "work_command", lambda launch, threads: [sys.executable, "-c", program])
    launch = Launch(("tiny",), url_of(tmp_path), "artifacts", 1, tmp_path, trusted=("b" * 64, "a" * 64))
    for given, expected in (("", f"{'b' * 64},{'a' * 64}"), ("a" * 64, f"{'a' * 64},{'b' * 64}")):
        monkeypatch.setenv("DRIVEBEAT_TRUST", given)
        log = tmp_path / f"{len(given)}.log"
        assert start_worker(launch, log, 1).wait(30) == 0
        assert log.read_text().strip() == expected


# --- changed by others ----------------------------------------------------------------------------------------------


def change(folder: Path, key: str, value: Any) -> None:
    optuna.load_study(study_name="tiny", storage=url_of(folder)).set_user_attr(key, value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (f"{PLUGIN}{HASH}", model_source(more="import os\n"), "its source has the SHA-256"),
        (f"{PLUGIN}{HASH}", 7, "source"),
    ],
)
def test_a_source_that_was_changed_in_the_database_is_refused(
    key: str, value: Any, words: str, searched: Path, drivebeat: Any
) -> None:
    """The machine trusts the SHA-256; the source has another one."""
    change(searched, key, value)
    said = drivebeat("export", "tiny")
    assert said.code == 2 and words in said.err and said.err.count("\n") == 1
    assert said.err.startswith("drivebeat: study tiny: plugins")
    listed = drivebeat("show")
    assert listed.code == 0 and words in listed.out


def test_a_source_that_is_missing_makes_the_study_unreadable(searched: Path, drivebeat: Any) -> None:
    spec = json.loads(attributes(searched)[SPEC])
    spec["plugins"][0]["sha256"] = "0" * 64
    change(searched, SPEC, json.dumps(spec))
    listed = drivebeat("show")
    assert listed.code == 0
    assert (
        "not shown: study 'tiny': its attribute drivebeat:plugin:..., the source of a plug-in, is missing" in listed.out
    )


def test_a_trial_cannot_bring_code_of_its_own(searched: Path, plugins: Path, bench: Any) -> None:
    """Its run may only name a plug-in of the study, or hold one that is trusted."""
    study = load_study("tiny", bench.storage)
    trial = study.optuna.get_trials()[0]
    document = json.loads(trial.user_attrs[RUN])
    for entry, words in (
        ({"name": "x.py", "sha256": "0" * 64}, "has no source here"),
        ({"name": "x.py", "sha256": model_plugin("x").sha256, "source": model_source("x")}, "not trusted"),
    ):
        trial.user_attrs[RUN] = json.dumps({**document, "plugins": [entry]})
        with pytest.raises(PluginError, match=words):
            run_of_trial(trial, "tiny", study.spec.plugins)


def test_a_copy_of_the_study_has_the_plugin(searched: Path, drivebeat: Any) -> None:
    assert drivebeat("copy", "tiny", "--to", f"sqlite:///{searched}/other.db", "--name", "again").code == 0
    said = drivebeat("export", "again", "--storage", f"sqlite:///{searched}/other.db")
    assert said.code == 0, said.err


def test_a_column_that_cannot_hold_the_source_is_named_before_anything_is_stored(
    own_study: Any, plugins: Path, tmp_path: Path, bench: Any
) -> None:
    file = own_study()
    spec = prepare(read_document(file), file, executing_named=True).spec
    long = replace(spec, plugins=(plugin_of("long.py", "#" * 70_000),))
    engine: Any = SimpleNamespace(dialect=SimpleNamespace(name="mysql"))
    with pytest.raises(StudyError, match=r"long\.py: 70,002 bytes, and a column of this database holds 65,535"):
        create(long, bench.storage, engine, "fingerprint")
    assert bench.storage.get_all_studies() == []
