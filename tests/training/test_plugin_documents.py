"""Plug-ins in documents and runs: readable, joined by their SHA-256, refused where they were changed."""

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data.cache import Prepared, open_cache, store
from data.config import DataConfig
from data.readers.read import read
from tests.support.plugins import METRIC, load_trusted, made, model_plugin, undone, write_plugin
from training.config import RunConfig, from_document, read_run, to_document, write_run
from training.documents import LongText, read_document, write_document
from training.errors import ConfigError, PluginError
from training.evaluation.scores import SCORES
from training.lineage import config_sha256, start_from
from training.plugins.load import load_plugins, module_name
from training.plugins.plugin import MAX_BYTES, joined, plugin_of, read_plugin, referenced, sources_of
from training.plugins.trust import remember
from training.runs import data_of, evaluate_folder, train_to_folder

MakeRun = Callable[..., RunConfig]
SMALL = "x = 1\n"


# --- documents ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(plugins: Path, make_run: MakeRun) -> RunConfig:
    """A run of a plug-in's model, which this machine trusts."""
    plugin = model_plugin()
    remember([plugin])
    load_plugins([plugin], "test")
    return dataclasses.replace(make_run(), model=made("one_layer", width=6), plugins=(plugin,))


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_document_holds_the_source_and_gives_the_run_back(suffix: str, run: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / f"best{suffix}"
    write_run(run, path, {"study": "s"})
    assert read_run(path) == run
    assert read_document(path)["plugins"] == [
        {"name": "one_layer.py", "sha256": run.plugins[0].sha256, "source": run.plugins[0].source}
    ]


def test_the_source_in_yaml_can_be_read_by_people(run: RunConfig, tmp_path: Path) -> None:
    """It is a block with a line for each line, before the provenance."""
    path = tmp_path / "best.yaml"
    write_run(run, path, {"study": "s"})
    text = path.read_text()
    block = "".join(f"    {line}\n" if line else "\n" for line in run.plugins[0].source.splitlines())
    assert f"  source: |\n{block}provenance:\n" in text


def test_a_run_without_plugins_has_no_such_key(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    write_run(run, tmp_path / "run.yaml")
    assert "plugins" not in to_document(run)
    assert "plugins" not in (tmp_path / "run.yaml").read_text()


PRINTABLE = st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0\r")


@given(text=st.text(st.one_of(st.sampled_from(" \t\n#'\":-|>x\\"), PRINTABLE), max_size=60))
def test_a_text_of_any_characters_survives_yaml(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    write_document({"plugins": [{"source": LongText(text), "after": 1}], "last": [2]}, path)
    assert read_document(path) == {"plugins": [{"source": text, "after": 1}], "last": [2]}


@pytest.mark.parametrize("text", ["if x:\n\ty = 1  \n", "  first\nsecond", "\n\n  x\n", "é = 'ü'\n\n\n"])
def test_tabs_and_blanks_at_ends_of_lines_stay_in_a_block(text: str, tmp_path: Path) -> None:
    write_document({"source": LongText(text)}, tmp_path / "x.yaml")
    assert re.match(r"source: \|[0-9+-]*\n", (tmp_path / "x.yaml").read_text())
    assert read_document(tmp_path / "x.yaml") == {"source": text}


def test_a_document_written_by_hand_names_files_beside_it(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {**to_document(run), "plugins": ["one_layer.py"]}
    folder, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(PluginError, match=r"no file 'one_layer\.py' beside it or in the working directory"):
        read_run(path)
    write_plugin(elsewhere, "one_layer.py", run.plugins[0].source)
    assert read_run(path) == run
    write_plugin(folder, "one_layer.py", run.plugins[0].source + "# beside\n")
    with pytest.raises(PluginError, match="not trusted"):  # the file beside the document comes first
        read_run(path)
    path.write_text(yaml.safe_dump({**document, "plugins": ["one_layr.py"]}))
    with pytest.raises(PluginError, match=r"did you mean 'one_layer\.py'"):
        read_run(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda entry: {**entry, "source": entry["source"] + "import os\n"},
            r"one_layer\.py: its source has the SHA-256",
        ),
        (lambda entry: {**entry, "sha256": "0" * 64}, "and was changed; get the document again"),
        (lambda entry: {"name": entry["name"], "sha256": entry["sha256"]}, "has no source here"),
        (lambda entry: {**entry, "name": "../x.py"}, "without a folder is needed"),
        (lambda entry: {**entry, "version": 1}, "unknown key 'version'"),
        (lambda entry: 7, "a table of keys is needed, got 7"),
    ],
)
def test_a_plugin_that_was_changed_in_its_document_is_refused(
    change: Callable[[dict[str, str]], Any], words: str, run: RunConfig, tmp_path: Path
) -> None:
    document = to_document(run)
    document["plugins"] = [change(document["plugins"][0])]
    path = tmp_path / "best.yaml"
    write_document(document, path)
    with pytest.raises(PluginError, match=words) as refused:
        read_run(path)
    assert str(refused.value).startswith(f"{path}: plugins[0]")
    assert "\n" not in str(refused.value)


def test_two_plugins_of_one_name_and_too_many_bytes_are_refused(run: RunConfig) -> None:
    document = to_document(run)
    (entry,) = document["plugins"]
    with pytest.raises(PluginError, match=r"'one_layer\.py' stands twice"):
        from_document({**document, "plugins": [entry, entry]}, "best.yaml")
    halves = [plugin_of(f"{i}.py", "#" * (MAX_BYTES // 2 + 1)) for i in range(2)]
    with pytest.raises(PluginError, match="1,048,578 bytes together"):
        from_document({**document, "plugins": [dataclasses.asdict(half) for half in halves]}, "best.yaml")
    with pytest.raises(PluginError, match="a list is needed, of file names"):
        from_document({**document, "plugins": "one_layer.py"}, "best.yaml")


def test_a_document_in_a_database_names_the_source_by_its_sha256(run: RunConfig) -> None:
    document = json.loads(json.dumps(referenced(to_document(run))))
    assert document["plugins"] == [{"name": "one_layer.py", "sha256": run.plugins[0].sha256}]
    assert from_document(document, "trial 1", run.plugins) == run
    assert joined(document, sources_of(run.plugins)) == to_document(run)
    with pytest.raises(PluginError, match="has no source here"):
        from_document(document, "trial 1", (plugin_of("other.py", SMALL),))


def test_the_sections_are_decoded_after_the_plugins(plugins: Path, make_run: MakeRun) -> None:
    plugin = model_plugin("late")
    document = {
        **to_document(make_run()),
        "model": {"name": "late", "width": 5},
        "plugins": [dataclasses.asdict(plugin)],
    }
    with pytest.raises(PluginError, match="not trusted"):
        from_document(document, "best.yaml")
    remember([plugin])
    assert from_document(document, "best.yaml").model.build(1) is not None
    with pytest.raises(ConfigError, match=r"unknown model 'latte' \(did you mean 'late'\?\)"):
        from_document({**document, "model": {"name": "latte"}}, "best.yaml")


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_starts_from_weights_of_another_version_of_its_plugin(
    run: RunConfig, tmp_path: Path, quiet: Callable[[], Console]
) -> None:
    """Its code is not needed: the weights and what run.yaml says of them are."""
    older = model_plugin(more="# version 0\n")
    earlier = dataclasses.replace(run, plugins=(older,))
    train_to_folder(run, tmp_path / "a", {}, [], quiet())
    write_run(earlier, tmp_path / "a" / "run.yaml", {"study": "s"})
    started = start_from(run, tmp_path / "a", partial=False)
    (ancestor,) = started.init.lineage
    assert ancestor.config_sha256 == config_sha256(earlier)
    assert ancestor.score == "si_sdr_db"
    assert module_name(older) not in sys.modules


def test_an_evaluation_shows_the_score_that_the_weights_were_chosen_by(
    plugins: Path, make_run: MakeRun, tmp_path: Path, quiet: Callable[[], Console]
) -> None:
    plugin = plugin_of("signs.py", METRIC.replace("NAME", "same_signs"))
    remember([plugin])
    load_plugins([plugin], "test")
    assert SCORES["same_signs"].direction == "maximize"
    run = dataclasses.replace(make_run(score="same_signs"), plugins=(plugin,))
    train_to_folder(run, tmp_path / "run", {}, [], quiet())
    rows = evaluate_folder(tmp_path / "run", None, tmp_path / "out", "test", 1, quiet())
    assert all(0 <= row.scores["same_signs"] <= 1 for row in rows)
    assert "same_signs" in (tmp_path / "out" / "table.csv").read_text().splitlines()[0]
    assert (tmp_path / "out" / "same_signs.png").exists()


READER = """
import numpy as np
from data.readers.contents import Variable, gather
from data.readers.read import Format, register_reader

def read(path, wanted):
    signal = FACTOR * np.fromfile(path, "<f4")
    return gather(["z"], wanted.channels, path, lambda rows: (signal for _ in rows), [250.0])

register_reader(Format(read, lambda path: (Variable("z", (1,), "float32"),)), ".raw4")
"""


def test_prepared_recordings_are_kept_for_one_version_of_a_reader(plugins: Path, tmp_path: Path) -> None:
    """A changed reader may read other samples from the same file."""
    path = tmp_path / "drive.raw4"
    np.ones(100, "<f4").tofile(path)
    made = []

    def prepared() -> Prepared:
        signals = read(path).signals
        made.append(float(signals[0, 0]))
        return Prepared(signals, signals[0], None, 1.0, "d", "c")

    for factor in (1, 1, 2):
        with undone(), open_cache({"DRIVEBEAT_CACHE": str(tmp_path / "cache")}) as cache:
            load_trusted(plugin_of("reader.py", READER.replace("FACTOR", str(factor))))
            assert float(store(cache, path, None, {}, prepared).signals[0, 0]) == factor
    assert made == [1.0, 2.0]


@pytest.mark.parametrize(
    ("parts", "calibration"),
    [("", "drive.cal"), (', parts=lambda path: (path, path.with_name("all.txt"))', "all.txt")],
    ids=["of one name", "named by the reader"],
)
def test_a_changed_file_beside_a_recording_of_several_files_is_noticed(
    parts: str, calibration: str, plugins: Path, tmp_path: Path
) -> None:
    path, beside = tmp_path / "drive.raw4", tmp_path / calibration
    np.ones(100, "<f4").tofile(path)
    source = READER.replace("FACTOR", f"float(path.with_name({calibration!r}).read_text())")
    source = source.replace('"float32"),))', f'"float32"),){parts})')

    def prepared() -> Prepared:
        signals = read(path).signals
        return Prepared(signals, signals[0], None, 1.0, "d", "c")

    with undone(), open_cache({"DRIVEBEAT_CACHE": str(tmp_path / "cache")}) as cache:
        load_trusted(plugin_of("reader.py", source))
        for factor in (3.0, 4.0):
            beside.write_text(str(factor))
            assert float(store(cache, path, None, {}, prepared).signals[0, 0]) == factor


def test_data_of_a_plugins_format_is_read_with_its_document(plugins: Path, data: DataConfig, tmp_path: Path) -> None:
    """evaluate --data other.toml: the plug-ins of the other document are loaded first, if they are trusted."""
    write_plugin(tmp_path, "reader.py", READER.replace("FACTOR", "1"))
    document = {"plugins": ["reader.py"], "data": json.loads(json.dumps(dataclasses.asdict(data)))}
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(PluginError, match=r"other\.json: plug-in reader\.py .* drivebeat trust"):
        data_of(tmp_path / "other.json", data)
    remember([read_plugin(tmp_path / "reader.py")])
    assert data_of(tmp_path / "other.json", data) == data
