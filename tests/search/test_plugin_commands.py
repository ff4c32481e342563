"""The commands new, check and trust: templates that keep the contract, one line for each rule, hashes on a list."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import RULES
from search.plugins.new import KINDS, TEMPLATES
from search.study.spec import run_of, space_of
from tests.support.plugins import METRIC, model_plugin, model_source, write_plugin
from training.config import RunConfig, write_run
from training.plugins.contract import CONFIG_RULES
from training.plugins.plugin import read_plugin
from training.plugins.trust import trusted

pytestmark = pytest.mark.usefixtures("plugins")


# --- new ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_template_of_each_kind_keeps_the_contract(kind: str, drivebeat: Any, tmp_path: Path) -> None:
    said = drivebeat("new", kind, f"lab_{kind}_2.py")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"lab_{kind}_2.py: a {kind} called lab_{kind}_2\nnext: drivebeat check lab_{kind}_2.py\n"
    text = (tmp_path / f"lab_{kind}_2.py").read_text()
    assert f"my_{kind}" not in text and f"My{kind.capitalize()}" not in text
    checked = drivebeat("check", f"lab_{kind}_2.py", "--json")
    document = json.loads(checked.out)
    assert [result for result in document["checks"] if not result["ok"]] == []
    assert document["ok"] and checked.code == 0 and len(document["checks"]) >= 5


def test_every_template_is_offered() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.py")} == set(KINDS)


def test_a_file_that_exists_is_not_replaced(refused: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "mine.py", "# mine\n")
    assert "mine.py: exists already and is not replaced; choose another name" in refused("new", "model", "mine.py")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    assert "exists already" in refused("new", "model", "dangling.py")


@pytest.mark.parametrize(
    ("kind", "file", "words"),
    [
        ("modell", "a.py", "no template 'modell' (did you mean 'model'?); known: model, loss, metric, reader, sampler"),
        ("model", "a.txt", "has small letters, digits and _, begins with a letter and ends in .py"),
        ("model", "my-model.py", "like my_model.py"),
        ("model", "2nd.py", "begins with a letter"),
        ("loss", "MyLoss.py", "like my_loss.py"),
        ("loss", f"{'a' * 100}.py", "like my_loss.py"),
        ("loss", "lambda.py", "'lambda' has a meaning in the template already; choose another name"),
        ("loss", "none.py", "'None' has a meaning in the template already"),
        ("sampler", "optuna.py", "'optuna' has a meaning in the template already"),
        ("sampler", "mixed.py", "'mixed' has a meaning"),
    ],
)
def test_a_wrong_kind_or_name_is_refused(kind: str, file: str, words: str, refused: Any) -> None:
    assert words in refused("new", kind, file)


# --- check ----------------------------------------------------------------------------------------------------------


def test_each_rule_is_a_line_and_a_failure_says_what_to_do(drivebeat: Any, tmp_path: Path) -> None:
    faulty = model_source().replace("return run_padded(self.net, noisy, 1, margin_samples=8)", "return self.net(noisy)")
    write_plugin(tmp_path, "faulty.py", faulty.replace("] = 8", "] = 32"))
    said = drivebeat("check", "faulty.py")
    lines = said.out.splitlines()
    assert said.code == 2 and said.err == ""
    assert len(lines) == len(CONFIG_RULES) + len(RULES) + 1
    assert all(re.match(r"(pass|FAIL)  model one_layer: ", line) for line in lines[:-1])
    assert (
        "FAIL  model one_layer: every default lies in its range: width = 32 lies outside of "
        "IntDistribution(high=16, log=False, low=4, step=1); move the default or widen the range"
    ) in lines
    failed = [line for line in lines if line.startswith("FAIL")]
    assert any("check_input(noisy)" in line for line in failed)
    assert lines[-1] == f"faulty.py: {len(lines) - 1 - len(failed)} of {len(lines) - 1} rules pass, {len(failed)} fail"
    quiet = drivebeat("check", "faulty.py", "--quiet")
    assert quiet.code == 2 and quiet.out.splitlines() == [*failed, lines[-1]]


def test_json_has_every_rule_and_the_exit_code_of_a_failure(drivebeat: Any, tmp_path: Path) -> None:
    path = write_plugin(tmp_path, "signs.py", METRIC.replace("NAME", "signs").replace("maximize", "minimize"))
    said = drivebeat("check", "signs.py", "--json")
    document = json.loads(said.out)
    assert said.code == 2
    assert (document["file"], document["sha256"], document["ok"]) == ("signs.py", hash_of(path), False)
    assert {result["ok"] for result in document["checks"]} == {True, False}
    assert {tuple(result) for result in document["checks"]} == {("kind", "name", "rule", "found", "advice", "ok")}


def hash_of(path: Path) -> str:
    return read_plugin(path).sha256


def test_a_file_that_registers_nothing_or_does_not_load_is_refused(refused: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "empty.py", "x = 1\n")
    assert "empty.py: registers nothing; see the line with register in: drivebeat new model" in refused(
        "check", "empty.py"
    )
    write_plugin(tmp_path, "broken.py", "import torch\nx = tarch\n")
    assert "cannot be loaded: line 2: NameError: name 'tarch' is not defined" in refused("check", "broken.py")
    assert trusted() == frozenset()


def test_what_is_checked_is_trusted(drivebeat: Any, tmp_path: Path) -> None:
    """Its user has run it."""
    path = write_plugin(tmp_path, "signs.py", METRIC.replace("NAME", "signs"))
    assert drivebeat("check", "signs.py", "-q").code == 0
    assert trusted() == {hash_of(path)}


READER = TEMPLATES.joinpath("reader.py").read_text().replace(".my_reader", ".lab")


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[str]:
    signals = np.random.default_rng(0).uniform(-0.9, 0.9, (500, 3)).astype("<f4")
    (tmp_path / "drive.lab").write_bytes(b"MY_READER 250 seat belt roof\n" + signals.tobytes())
    yield "drive.lab"


def test_a_reader_is_checked_on_a_file_of_the_user(recording: str, drivebeat: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "lab.py", READER)
    assert drivebeat("check", "lab.py", "--example", recording).code == 0
    said = drivebeat("data", "info", recording, "--plugin", "lab.py", "--json")
    assert said.code == 0
    assert [channel["name"] for channel in json.loads(said.out)["recordings"][0]["channels"]] == [
        "seat",
        "belt",
        "roof",
    ]


def test_a_reader_without_an_example_asks_for_one(recording: str, refused: Any, drivebeat: Any, tmp_path: Path) -> None:
    write_plugin(tmp_path, "bare.py", READER.replace(", example=write_example", ""))
    said = drivebeat("check", "bare.py")
    assert said.code == 2
    assert said.err == (
        "drivebeat: reader .lab: has no example; name a file with --example, or give Format(example=...)\n"
    )
    (tmp_path / "x.csv").write_text("a\n1\n2\n")
    said = drivebeat("check", "bare.py", "--example", "x.csv")
    assert said.err == "drivebeat: --example x.csv: the plug-in has no reader for it; it has: .lab\n"


def test_a_command_reads_no_file_of_an_unknown_format_without_the_plugin(recording: str, refused: Any) -> None:
    assert "recordings end in" in refused("data", "info", recording)


# --- trust ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path, make_spec: Any) -> Iterator[dict[str, str]]:
    """What holds the plug-in: its file, a run's file and folder, a study file."""
    spec = make_spec()
    run: RunConfig = run_of(spec, space_of(spec, "autoencoder"), {"width": 8, "learning_rate": 0.001})
    for path in ("best.yaml", "best.json", "run/run.yaml"):
        write_run(dataclasses.replace(run, plugins=(model_plugin(),)), tmp_path / path)
    write_plugin(tmp_path, "one_layer.py", model_source())
    (tmp_path / "study.toml").write_text('plugins = ["one_layer.py"]\n')
    yield {
        "file": "one_layer.py",
        "yaml": "best.yaml",
        "json": "best.json",
        "folder": "run",
        "study file": "study.toml",
    }


@pytest.mark.parametrize("target", ["file", "yaml", "json", "folder", "study file"])
def test_trust_names_the_source_and_writes_its_hash(target: str, named: dict[str, str], drivebeat: Any) -> None:
    plugin = model_plugin()
    line = f"one_layer.py: SHA-256 {plugin.sha256}, {plugin.n_lines} lines, "
    shown = drivebeat("trust", named[target], "--show")
    assert (shown.code, shown.out) == (0, f"{line}not trusted\n{plugin.source}\n")
    assert trusted() == frozenset()
    assert drivebeat("trust", named[target]).out == f"{line}trusted now\n"
    assert trusted() == {plugin.sha256}
    assert drivebeat("trust", named[target]).out == f"{line}trusted before\n"
    (entry,) = json.loads(drivebeat("trust", named[target], "--show", "--json").out)["plugins"]
    assert entry == {
        "name": "one_layer.py",
        "sha256": plugin.sha256,
        "lines": plugin.n_lines,
        "trusted": True,
        "source": plugin.source,
    }


def test_trust_takes_a_study_of_the_database(named: dict[str, str], study_file: Any, drivebeat: Any) -> None:
    study_file(plugins=["one_layer.py"], models=["one_layer"], fixed={}, search=["width"], ranges={})
    assert drivebeat("create", "tiny.toml").code == 0
    Path("state/drivebeat/trusted").unlink()
    said = drivebeat("trust", "tiny")
    assert said.code == 0 and said.out.endswith(" lines, trusted now\n")
    Path("tiny").mkdir()
    assert drivebeat("trust", "tiny").out.endswith("trusted before\n")


def test_a_source_shown_cannot_deceive_a_terminal(drivebeat: Any, tmp_path: Path) -> None:
    """Escapes would clear the line, and marks of direction show code in another order."""
    write_plugin(tmp_path, "x.py", "import os  # \x1b[2K\n\tx = '\u202e'\n")
    assert drivebeat("trust", "x.py", "--show").out.endswith("import os  # \\x1b[2K\n    x = '\\u202e'\n\n")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("gone.py", "gone.py: no such file"),
        ("gone.yaml", "gone.yaml: no such file"),
        ("plain.yaml", "plain.yaml: has no plug-in; nothing to trust"),
        ("./folder", "folder/run.yaml: no such file"),
    ],
)
def test_a_target_without_a_plugin_is_refused(target: str, words: str, refused: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain.yaml").write_text("a: 1\n")
    assert words in refused("trust", target)


def test_a_tampered_document_is_not_trusted(named: dict[str, str], refused: Any, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(path.read_text().replace("margin_samples=8", "margin_samples=9"))
    assert "its source has the SHA-256" in refused("trust", "best.yaml")
    assert trusted() == frozenset()
