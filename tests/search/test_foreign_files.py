"""Files, names and terminals from somewhere else: one line and exit code 2, no way out of a folder, no dead worker."""

import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import text

from data.errors import FileError
from search.artifacts.base import TrialStore
from search.artifacts.folder import checkpoint_folder
from search.artifacts.open import open_artifacts
from search.errors import ConfigError
from search.pages.weights import extract_weights
from search.study.names import MAX_NAME_BYTES
from search.study.study import Study
from search.trials import Fate
from search.worker.result import TrialResult
from search.worker.trial import run_trial
from tests.support.program import command, environment
from tests.support.study import toml_of
from tests.support.worker import BrokenOff, QuietHeartbeat, worker_context
from training.checkpoint import CHECKPOINT, MAGIC, load_checkpoint, save_checkpoint
from training.switches import Switches, read_switches
from training.trackers.base import Trackers, TrackerTarget, Tracking

BOMB = "\n".join(["a0: &a0 [1, 2]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10))])
DEEP = {
    ".toml": f"a = {'[' * 5000}{']' * 5000}",
    ".yaml": "[" * 5000 + "]" * 5000,
    ".json": "[" * 5000 + "]" * 5000,
}


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "FILE"),
        ("create", "tiny.toml", "--warm-start", "FILE"),
        ("train", "FILE", "-o", "runs/x"),
    ],
    ids=["create", "warm start", "train"],
)
def test_a_deep_document_is_refused_wherever_it_is_named(
    arguments: tuple[str, ...], suffix: str, refused: Callable[..., str], study_file: Any, tmp_path: Path
) -> None:
    study_file()
    (tmp_path / f"x{suffix}").write_text(DEEP[suffix])
    assert "nested more than 50 levels deep" in refused(*(f"x{suffix}" if w == "FILE" else w for w in arguments))


def test_a_document_of_aliases_of_aliases_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(BOMB)
    for arguments in (("create", "x.yaml"), ("train", "x.yaml", "-o", "runs/x")):
        assert "more than 100,000 values with its aliases" in refused(*arguments)


def test_a_study_file_with_a_byte_order_mark_is_created(drivebeat: Any, study_file: Any) -> None:
    path = study_file()
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert drivebeat("create", "tiny.toml").code == 0


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfONLY_FIRST_BATCH=yes\n", b"ONLY_FIRST_BATCH=yes\n"])
def test_a_file_of_switches_may_have_a_byte_order_mark(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert read_switches({}, tmp_path / ".env").only_first_batch


def test_a_file_of_switches_in_another_encoding_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("NEPTUNE_PROJECT_NAME=Ärzte\n".encode("latin-1"))
    assert ".env: cannot be read as UTF-8" in refused("train", "x.yaml", "-o", "runs/x")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        (".", "is the folder '.'"),
        ("..", "is the folder '..'"),
        ("a/b", "holds '/'"),
        (" a", "begins or ends with a blank"),
        ("a\u00a0", "begins or ends with a blank"),
        ("-a", "begins with '-'"),
        ("a\nb", "holds unprintable characters"),
        ("a\x1b[2Jb", "holds unprintable characters"),
        ("a\u202eb", "holds unprintable characters"),
        ("é" * (MAX_NAME_BYTES // 2 + 1), f"has {MAX_NAME_BYTES + 2} bytes"),
    ],
)
def test_a_name_that_cannot_be_a_folder_or_a_word_is_refused(name: str, problem: str, make_spec: Any) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.toml: name: ") as got:
        make_spec(name=name)
    line = str(got.value)
    assert problem in line
    assert "a name has 1 to 200 printable bytes of UTF-8, no '/'" in line
    assert line.isprintable()


def test_the_family_counts_in_the_length_of_a_name(make_spec: Any) -> None:
    longest = "x" * (MAX_NAME_BYTES - len("-wave_unet"))
    families = {"models": ["wave_unet", "identity"], "search": [], "ranges": {}, "fixed": {}}
    assert make_spec(name=longest, **families).name == longest
    with pytest.raises(ConfigError, match="has 201 bytes"):
        make_spec(name=longest + "x", **families)


@pytest.mark.parametrize("name", ["demo", "Übung 3", "a  b", "it's", "$(ls)", "x.y", "名前" * 20, "x" * MAX_NAME_BYTES])
def test_any_other_name_is_created_and_printed_for_a_shell(name: str, drivebeat: Any, study_file: Any) -> None:
    study_file(name=name)
    said = drivebeat("create", "tiny.toml")
    assert said.code == 0, said
    line = said.out.splitlines()[-1]
    assert shlex.split(line.removeprefix("next: ")) == ["drivebeat", "launch", name, "--workers", "2"]


def test_a_study_is_renamed_and_copied_by_the_same_rule(drivebeat: Any, study_file: Any, bench: Any) -> None:
    study_file()
    drivebeat("create", "tiny.toml", "--storage", bench.url)
    for arguments in (("rename", "tiny", ".."), ("copy", "tiny", "--to", bench.url, "--name", "..")):
        said = drivebeat(*arguments, "--storage", bench.url)
        assert said.code == 2, said
        assert said.err.startswith(f"drivebeat: {arguments[0]}: name: '..' is the folder '..'; a name has 1 to 200")
    assert " tiny " in drivebeat("show", "--storage", bench.url).out


def test_a_refusal_names_a_command_that_can_be_pasted(drivebeat: Any, study_file: Any) -> None:
    study_file(name="my  study; ls")
    drivebeat("create", "tiny.toml")
    assert drivebeat("export", "my  study; ls").err.endswith("run: drivebeat launch 'my  study; ls'\n")


NAMES = ["..", "../../out", "/tmp/out", "a/b", "", ".", "x" * 400, "a\nb"]


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_name_does_not_lead_out_of_a_folder(name: str, tmp_path: Path) -> None:
    """Other programs rename studies as they like, and checkpoints of a finished trial are deleted with their folder."""
    home = tmp_path / "artifacts"
    targets: list[TrackerTarget] = []

    def keep(names: Any, target: TrackerTarget) -> Trackers:
        targets.append(target)
        return Trackers(())

    Tracking(Switches(trial_logs=tmp_path / "logs"), build=keep).trackers(name, 3)
    roots = {checkpoint_folder(home, name, 3): home / "checkpoints", targets[0].folder: tmp_path / "logs"}
    for folder, root in roots.items():
        assert folder.resolve().parent.parent == root
        folder.mkdir(parents=True)
    open_artifacts(home).checkpoints(name, 3, pytest.fail).delete()
    assert (tmp_path / "logs").is_dir()
    assert home.is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_name_does_not_lead_to_another_study_s_checkpoints(name: str, s3_url: str) -> None:
    store: Any = open_artifacts(s3_url)
    start = store.checkpoints(name, 3, pytest.fail).start
    assert [start.split("/")[i] for i in (0, 2, 3)] == ["checkpoints", "3", ""]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TrialStore:
    """A store of each kind, with a file beside its artifacts."""
    (tmp_path / "secret").write_bytes(b"secret")
    place = request.getfixturevalue("s3_url") if request.param == "s3" else str(tmp_path / "artifacts")
    opened = open_artifacts(place)
    opened.artifacts.write("0f-1", io.BytesIO(b"mine"))
    return opened


@pytest.mark.parametrize("identifier", ["../secret", "/etc/passwd", "..", "", "a/b"])
def test_an_artifact_of_a_foreign_database_is_no_other_file(identifier: str, store: TrialStore, tmp_path: Path) -> None:
    """A report embeds artifacts, and retention removes them."""
    with pytest.raises(ArtifactNotFound):
        store.artifacts.open_reader(identifier)
    with pytest.raises(ArtifactNotFound):
        store.artifacts.remove(identifier)
    assert (tmp_path / "secret").exists()


def replace(path: Path, payload: bytes) -> None:
    """Put another payload, with its right checksum, in a file of its own."""
    path.unlink()
    path.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def refuse(path: Path) -> None:
    """Put a class into the checkpoint, which weights_only does not load."""
    buffer = io.BytesIO()
    torch.save(BrokenOff(), buffer)
    replace(path, buffer.getvalue())


def cut(path: Path) -> None:
    replace(path, path.read_bytes().partition(b"\n")[2][:-2000])


def misshape(path: Path) -> None:
    state = load_checkpoint(path, torch.device("cpu"))
    state["model"] = {name: tensor.flatten()[:1] for name, tensor in state["model"].items()}
    path.unlink()
    save_checkpoint(state, path)


def empty(path: Path) -> None:
    path.unlink()
    save_checkpoint({"reports": "[]"}, path)


@pytest.mark.parametrize("spoil", [refuse, cut, misshape, empty])
@pytest.mark.parametrize("both", [False, True], ids=["newest", "both"])
def test_a_trial_goes_on_from_an_older_checkpoint_or_anew(
    spoil: Callable[[Path], None], both: bool, bench: Any, make_spec: Any, corpus: Any, tmp_path: Path
) -> None:
    """And with the very value of one whose checkpoints are whole."""
    study, undisturbed = (bench.create(make_spec(name=name, budget={"trials": 1})) for name in ("tiny", "again"))
    said: list[str] = []
    place = open_artifacts(tmp_path / "artifacts")

    def run(study: Study, at: Callable[[int, float], None] = lambda epoch, score: None) -> TrialResult | None:
        heartbeat = QuietHeartbeat(at)
        return run_trial(worker_context(study, bench.engine, corpus, place, heartbeat=heartbeat, log=said.append))

    def break_off(epoch: int, score: float) -> None:
        if epoch == 1:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        run(study, break_off)
    (folder,) = {path.parent for path in (tmp_path / "artifacts").rglob(CHECKPOINT)}
    for name in (CHECKPOINT, "checkpoint.previous.pt") if both else (CHECKPOINT,):
        spoil(folder / name)
    scores: list[float] = []
    result, again = run(study, lambda _, score: scores.append(score)), run(undisturbed)
    assert result is not None and again is not None
    assert (result.fate, result.value) == (Fate.COMPLETE, again.value)
    assert len(scores) == 3
    damaged = [line for line in said if "damaged" in line and "continuing without it" in line]
    assert len(damaged) == (2 if both else 1)
    assert all("\n" not in line for line in said)


TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
}
FOREIGN = "心音–±"


@pytest.mark.parametrize(
    ("terminal", "arguments", "code"),
    [
        ("ascii", ("--help",), 0),
        ("ascii", ("data", "info", "x.npz"), 0),
        ("ascii", ("show", b"\xff\xfe"), 2),
        ("latin-1", ("show", FOREIGN), 0),
        ("latin-1", ("watch", FOREIGN, "--once"), 0),
        ("C", ("show",), 0),
    ],
)
def test_a_terminal_without_utf_8_ends_no_command(
    terminal: str, arguments: tuple[str | bytes, ...], code: int, bench: Any, make_spec: Any, tmp_path: Path
) -> None:
    """Characters that it does not have are replaced."""
    bench.create(make_spec(name=FOREIGN))
    signals = np.random.default_rng(0).normal(size=(1, 900))
    np.savez(tmp_path / "x.npz", signals=signals, rate_hz=100.0, channels=["心±"])
    done = subprocess.run(
        [*command(), *map(os.fsencode, arguments)],
        cwd=tmp_path,
        env=environment(**TERMINALS[terminal], COLUMNS="80", DRIVEBEAT_STORAGE=bench.url),
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    if code == 2:
        assert done.stderr.startswith(b"drivebeat: no study '")
        assert done.stderr.count(b"\n") == 1


def test_names_are_printed_as_they_are(drivebeat: Any, study_file: Any, tmp_path: Path) -> None:
    """Square brackets are no markup, and colons no emoji."""
    study_file(name="[red]x :bug:")
    assert "study [red]x :bug:: 2 parameters" in drivebeat("create", "tiny.toml").out
    assert "[red]x :bug:" in drivebeat("show").out
    assert "[red]x :bug:: 0/4 finished" in drivebeat("watch", "[red]x :bug:", "--once").out
    rows = "".join(f"{i % 7},{i % 5}\n" for i in range(500))
    (tmp_path / "[a].csv").write_text(f"[/red],[bold]z\n{rows}")
    said = drivebeat("data", "info", "[a].csv", "--rate-hz", "250")
    assert said.code == 0, said
    for name in ("[a].csv\n", " [/red] ", " [bold]z "):
        assert name in said.out


def test_a_name_that_another_program_gave_does_not_steer_the_terminal(
    drivebeat: Any, bench: Any, make_spec: Any
) -> None:
    bench.create(make_spec())
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE studies SET study_name = :name"), {"name": "a\x1b[2Jb"})
    said = drivebeat("show", "--storage", bench.url)
    assert said.code == 0, said
    assert r"a\x1b[2Jb" in said.out
    assert "\x1b" not in said.out


def test_an_error_does_not_steer_the_terminal(refused: Callable[..., str]) -> None:
    line = refused("train", "a\x1b[2J\x07.yaml", "-o", "runs/x")
    assert r"a\x1b[2J\x07.yaml: no such file" in line


def test_each_recording_that_cannot_be_described_is_a_line_and_the_others_are_shown(
    drivebeat: Any, tmp_path: Path
) -> None:
    """Also one whose name no file system takes, or that would steer the terminal."""
    (tmp_path / "a.csv").write_text("z\n" + "".join(f"{i % 7}\n" for i in range(500)))
    said = drivebeat("data", "info", f"{'x' * 300}.wav", "b\x1b[31m.wav", "c.wav", "a.csv", "--rate-hz", "250")
    assert said.code == 2
    assert "a.csv" in said.out
    lines = said.err.splitlines()
    assert [line.startswith("drivebeat: ") for line in lines] == [True, True, True]
    assert "\x1b" not in said.err and r"b\x1b[31m.wav" in lines[1]


def test_a_folder_whose_name_no_file_system_takes_is_refused(bench: Any, make_spec: Any, tmp_path: Path) -> None:
    study = bench.create(make_spec())
    with pytest.raises(FileError, match="cannot be read"):
        extract_weights(study, 0, bench.engine, open_artifacts(tmp_path / "a").artifacts, Path("x" * 300))


def test_the_folder_of_an_unknown_user_is_refused(refused: Callable[..., str], study_file: Any, tmp_path: Path) -> None:
    document = tomllib.loads(study_file().read_text())
    (tmp_path / "x.json").write_text(json.dumps({**document, "data": {**document["data"], "base": "~nosuch/x"}}))
    assert "x.json: data: base is '~nosuch/x'" in refused("create", "x.json")


def test_an_error_is_one_line_of_a_bounded_length(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"schema_version": "' + "9" * 1_000_000 + '"}')
    line = refused("train", "x.json", "-o", "runs/x")
    assert len(line) < 5000
    assert line.endswith("this Drivebeat reads 1\n")


@pytest.mark.slow
def test_files_whose_names_are_no_utf_8_go_all_the_way(
    drivebeat: Any, study_document: Any, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From recordings with such names, also in the cache, to a report on a run in such a folder."""
    monkeypatch.setenv("DRIVEBEAT_CACHE", str(tmp_path / "cache"))
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff"))
    folder.mkdir()
    (clean,), (noise,) = recordings.rglob("stop.wav"), recordings.rglob("60km.wav")
    for name, source in (("clean", clean), ("noise", noise)):
        (folder / f"{name}\udcfe.wav").symlink_to(source)
    data = {
        **study_document()["data"],
        "clean": [{"files": ["r*/clean*.wav"]}],
        "noise": [{"files": ["r*/noise*.wav"]}],
    }
    (tmp_path / "tiny.toml").write_text(toml_of(study_document(data=data, epochs=1, budget={"trials": 1})))
    assert drivebeat("create", "tiny.toml").code == 0
    assert drivebeat("work", "tiny").code == 0
    assert drivebeat("export", "tiny").code == 0
    run, clean_file = "run\udcfd", str(folder / "clean\udcfe.wav")
    for arguments in (
        ("train", "best.yaml", "-o", run, "-q"),
        ("evaluate", run, "-q"),
        ("apply", run, clean_file, "-o", "e\udcfc.wav", "-q"),
        ("compare", run, "--classical", "-o", "c\udcfb"),
        ("report", "tiny", "--run", run, "--no-classical", "-o", "r\udcfa (1)#.md"),
        ("report", "tiny", "--run", run, "--no-classical", "-o", "r.html"),
    ):
        said = drivebeat(*arguments)
        assert said.code == 0, said
    report = (tmp_path / "r\udcfa (1)#.md").read_text()
    links = re.findall(r"\]\(([^)]*\.png)\)", report)
    assert links
    assert all((tmp_path / unquote(link, errors="surrogateescape")).is_file() for link in links)
    assert "--run $'run\\xfd'" in report
    refused = drivebeat("train", "best.yaml", "-o", "runs/next", "--from", run)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert r"run\udcfd/weights.safetensors: a path that is not UTF-8 cannot stand in run.yaml" in refused.err
