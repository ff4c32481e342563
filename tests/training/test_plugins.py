"""Plug-ins: what is read from a file, whose code is executed, and what it may register."""

import dataclasses
import inspect
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import pytest
import torch

from data.errors import FileError
from models import DENOISERS
from objectives.metrics import METRICS
from tests.support.plugins import METRIC, load_trusted, made, model_plugin, model_source
from tests.support.program import ROOT, environment
from training.config import RunConfig
from training.errors import PluginError
from training.evaluation.scores import OWN_SCORES
from training.plugins.load import PREFIX, load_plugins, module_name, registered_by
from training.plugins.plugin import MAX_BYTES, Plugin, plugin_of, read_plugin, sha256_of
from training.plugins.trust import VARIABLE, remember, trust_file, trusted

MakeRun = Callable[..., RunConfig]
SMALL = "x = 1\n"


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


@pytest.mark.parametrize("first", [True, False])
def test_a_kind_of_a_higher_layer_is_undone_and_listed_too(first: bool) -> None:
    """Also where the plug-in is the first that imports its module."""
    program = f"""
from tests.support.plugins import SAMPLER, load_trusted, undone
from training.errors import PluginError
from training.plugins.load import registered_by
from training.plugins.plugin import plugin_of
import sys
if not {first}:
    import search.sampling.samplers
assert ("search.sampling.samplers" in sys.modules) != {first}
replacing = "from search.sampling.samplers import SAMPLERS\\nSAMPLERS['tpe'] = build\\n"
for more, words in (("raise ValueError('x')", "ValueError: x"), (replacing, "'tpe' is registered already")):
    try:
        load_trusted(plugin_of("bad.py", SAMPLER.replace("NAME", "mine") + more))
    except PluginError as error:
        assert words in str(error), error
    else:
        raise AssertionError
    from search.sampling.samplers import SAMPLERS
    assert "mine" not in SAMPLERS and SAMPLERS["tpe"].__module__ == "search.sampling.samplers"
good = plugin_of("good.py", SAMPLER.replace("NAME", "mine"))
with undone():
    load_trusted(good)
    assert registered_by(good) == (("sampler", "mine"),)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


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
