"""Plug-ins: what is read, whose code is executed, what it may register, and how documents hold it."""

import dataclasses
import inspect
import json
import pickle
import re
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data.cache import Prepared, open_cache, store
from data.config import DataConfig
from data.errors import FileError
from data.readers.read import read
from models import DENOISERS
from objectives.metrics import METRICS
from tests.support.plugins import METRIC, model_plugin, model_source, undone, write_plugin
from training.config import RunConfig, from_document, read_run, to_document, write_run
from training.documents import LongText, read_document, write_document
from training.errors import ConfigError, PluginError
from training.evaluation.scores import OWN_SCORES, SCORES
from training.lineage import config_sha256, start_from
from training.plugins.load import PREFIX, load_plugins, module_name, registered_by
from training.plugins.plugin import MAX_BYTES, Plugin, joined, plugin_of, read_plugin, referenced, sha256_of, sources_of
from training.plugins.trust import VARIABLE, remember, trust_file, trusted
from training.runs import data_of, evaluate_folder, train_to_folder

MakeRun = Callable[..., RunConfig]
SMALL = "x = 1\n"


def load_trusted(*plugins: Plugin) -> None:
    load_plugins(plugins, "best.yaml", allowed=[plugin.sha256 for plugin in plugins])


def made(model: str, **settings: Any) -> Any:
    """Make the config of a registered model."""
    return DENOISERS[model](**settings)


# --- reading a file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.py", None, "no such file; check the path"),
        ("model.txt", b"x = 1\n", "name is 'model.txt'; the name of a .py file without a folder is needed"),
        ("model.py", b"x = '\xe4'\n", "cannot be read as UTF-8 (byte 0xe4 at 5)"),
        ("model.py", b"x = 1\0\n", "has a NUL character"),
        ("model.py", b"#" * (MAX_BYTES + 1), "larger than 1,048,576 bytes"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused_in_one_line(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PluginError, match=re.escape(words)) as refused:
        read_plugin(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_byte_order_mark_and_line_ends_do_not_change_the_sha256(tmp_path: Path) -> None:
    """Editors on Windows write them; Python ignores them."""
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = 2\n")
    (tmp_path / "b.py").write_bytes(b"\xef\xbb\xbfx = 1\r\ny = 2\r\n")
    one, other = (read_plugin(tmp_path / name) for name in ("a.py", "b.py"))
    assert one.sha256 == other.sha256 == sha256_of("x = 1\ny = 2\n")


def test_a_sha256_that_is_not_the_sources_is_refused() -> None:
    plugin = plugin_of("a.py", SMALL)
    with pytest.raises(ValueError, match=r"a\.py: its source has the SHA-256 .* and was changed"):
        dataclasses.replace(plugin, source="x = 2\n")


# --- whose code is executed -----------------------------------------------------------------------------------------


def marking(path: Path) -> Plugin:
    """A plug-in that writes a file when it is executed."""
    return plugin_of("marking.py", f"from pathlib import Path\nPath({str(path)!r}).write_text('executed')\n")


def test_an_untrusted_plugin_is_not_executed_and_the_error_says_what_to_do(plugins: Path, tmp_path: Path) -> None:
    plugin = marking(tmp_path / "mark")
    with pytest.raises(PluginError) as refused:
        load_plugins([plugin], "best.yaml")
    assert str(refused.value) == (
        f"best.yaml: plug-in marking.py (SHA-256 {plugin.sha256[:12]}) is not trusted on this machine; read it with "
        "--show, then trust it: drivebeat trust best.yaml"
    )
    assert not (tmp_path / "mark").exists()


def test_nothing_is_executed_if_one_of_several_is_not_trusted(plugins: Path, tmp_path: Path) -> None:
    plugin = marking(tmp_path / "mark")
    remember([plugin])
    with pytest.raises(PluginError, match=r"other\.py"):
        load_plugins([plugin, plugin_of("other.py", SMALL)], "best.yaml")
    assert not (tmp_path / "mark").exists()


def test_a_plugin_in_the_trust_file_is_executed(plugins: Path, tmp_path: Path) -> None:
    plugin = marking(tmp_path / "mark")
    assert remember([plugin]) == (plugin,)
    assert plugins.read_text() == f"{plugin.sha256} {date.today().isoformat()} marking.py\n"
    load_plugins([plugin], "best.yaml")
    assert (tmp_path / "mark").read_text() == "executed"
    assert remember([plugin]) == ()


def test_a_plugin_in_the_variable_is_executed(plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = marking(tmp_path / "mark")
    monkeypatch.setenv(VARIABLE, f"{'0' * 64}, {plugin.sha256.upper()},")
    load_plugins([plugin], "best.yaml")
    assert (tmp_path / "mark").exists()
    assert not plugins.exists()


def test_the_first_digits_of_a_sha256_trust_nothing(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = plugin_of("a.py", SMALL)
    monkeypatch.setenv(VARIABLE, plugin.sha256[:12])
    with pytest.raises(PluginError, match=f"{VARIABLE} holds '{plugin.sha256[:12]}'; whole SHA-256s"):
        load_plugins([plugin], "best.yaml")
    monkeypatch.delenv(VARIABLE)
    plugins.parent.mkdir(parents=True)
    plugins.write_text(f"{plugin.sha256[:12]} 2025-01-01 a.py\n# a note\n\n")
    assert trusted() == frozenset()


def test_the_trust_file_follows_the_specification_of_xdg(tmp_path: Path) -> None:
    assert trust_file({"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/drivebeat/trusted")
    home = Path("~/.local/state/drivebeat/trusted").expanduser()
    assert trust_file({}) == trust_file({"XDG_STATE_HOME": "relative"}) == home


def test_a_state_folder_that_cannot_be_made_is_named(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(FileError, match="state"):
        remember([plugin_of("a.py", SMALL)])
    assert trusted() == frozenset()


def _remember(source: str) -> None:
    remember([plugin_of("a.py", source)])


def test_processes_that_trust_at_once_lose_no_line(plugins: Path) -> None:
    sources = [f"x = {i}\n" for i in range(16)]
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_remember, sources))
    assert trusted() == {sha256_of(source) for source in sources}


# --- execution ------------------------------------------------------------------------------------------------------


def test_a_plugin_is_executed_once_a_process_under_a_private_name(plugins: Path) -> None:
    plugin = model_plugin()
    load_trusted(plugin)
    cls = DENOISERS["one_layer"]
    load_trusted(plugin)
    load_plugins([dataclasses.replace(plugin, name="renamed.py")], "other.yaml")  # the same source, so trusted
    assert DENOISERS["one_layer"] is cls
    assert cls.__module__ == module_name(plugin) == f"{PREFIX}{plugin.sha256}"
    assert registered_by(plugin) == (("model", "one_layer"),)


def test_its_classes_can_be_pickled_and_shown_with_their_source(plugins: Path) -> None:
    load_trusted(model_plugin())
    config = made("one_layer", width=6)
    torch.manual_seed(0)
    net = config.build().eval()
    noisy = torch.ones(1, 1, 20)
    assert pickle.loads(pickle.dumps(config)) == config
    assert torch.equal(pickle.loads(pickle.dumps(net))(noisy), net(noisy))
    assert inspect.getsource(type(net)).startswith("class Net(nn.Module):")


def test_a_traceback_shows_the_line_of_the_plugin(plugins: Path) -> None:
    load_trusted(model_plugin())
    with pytest.raises(ValueError, match="takes") as error:
        DENOISERS["one_layer"]().build()(torch.ones(3))
    text = "".join(traceback.format_exception(error.value))
    n_line = model_source().splitlines().index("        return run_padded(self.net, noisy, 1, margin_samples=8)") + 1
    assert f'File "<plug-in {model_plugin().label}>", line {n_line}, in forward' in text
    assert "return run_padded(self.net, noisy, 1, margin_samples=8)" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("x = = 3\n", "line 1: invalid syntax"),
        ("\nimport not_there\n", "line 2: ModuleNotFoundError.*install not_there, or copy what it needs"),
        ("\n\n1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "line 1: SystemExit: 3"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_line_and_registers_nothing(more: str, words: str, plugins: Path) -> None:
    before = dict(DENOISERS)
    source = more if "syntax" in words else f"{more.rstrip()}\n"
    plugin = plugin_of("failing.py", source)
    with pytest.raises(PluginError, match=words) as refused:
        load_trusted(plugin)
    assert str(refused.value).startswith(f"best.yaml: plug-in failing.py ({plugin.sha256[:12]}) cannot be loaded: ")
    assert "\n" not in str(refused.value)
    assert before == DENOISERS
    assert module_name(plugin) not in sys.modules


def test_what_a_failing_plugin_registered_before_its_error_is_removed(plugins: Path) -> None:
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load_trusted(model_plugin("half", "\n1 / 0\n"))
    assert "half" not in DENOISERS
    load_trusted(model_plugin("half"))
    assert "half" in DENOISERS


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (model_source("wave_unet"), "model 'wave_unet' is registered already, by models.wave_unet"),
        (model_source("a/b"), "model 'a/b': a name has letters, digits and _"),
        (
            "from models import DENOISERS\nDENOISERS['wave_unet'] = None\n",
            "model 'wave_unet' is registered already and may not be replaced",
        ),
        (
            "from models import DENOISERS\ndel DENOISERS['wave_unet']\n",
            "model 'wave_unet' is registered already and may not be replaced",
        ),
        (METRIC.replace("NAME", "event_f1"), "metric 'event_f1' is registered already, as a score"),
        (METRIC.replace("NAME", "mad"), "metric 'mad' is registered already, by objectives.metrics"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(source: str, words: str, plugins: Path) -> None:
    before = [dict(DENOISERS), dict(METRICS), dict(OWN_SCORES)]
    with pytest.raises(PluginError, match=re.escape(words)):
        load_trusted(plugin_of("taken.py", source))
    assert before == [DENOISERS, METRICS, OWN_SCORES]


def test_two_plugins_with_one_model_are_refused_by_both_names(plugins: Path) -> None:
    first, second = model_plugin(), model_plugin(more="# changed\n")
    load_trusted(first)
    with pytest.raises(PluginError) as refused:
        load_trusted(second)
    words = f"model 'one_layer' is registered already, by plug-in {first.label}; rename one, or use them in two"
    assert words in str(refused.value) and second.label in str(refused.value)
    assert DENOISERS["one_layer"].__module__ == module_name(first)


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


def test_data_of_a_plugins_format_is_read_with_its_document(plugins: Path, data: DataConfig, tmp_path: Path) -> None:
    """evaluate --data other.toml: the plug-ins of the other document are loaded first, if they are trusted."""
    write_plugin(tmp_path, "reader.py", READER.replace("FACTOR", "1"))
    document = {"plugins": ["reader.py"], "data": json.loads(json.dumps(dataclasses.asdict(data)))}
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(PluginError, match=r"other\.json: plug-in reader\.py .* drivebeat trust"):
        data_of(tmp_path / "other.json", data)
    remember([read_plugin(tmp_path / "reader.py")])
    assert data_of(tmp_path / "other.json", data) == data
