"""The command `data get`: what it prints, its JSON, and what it refuses."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.public.table import COLLECTIONS
from search.cli.data import get_command
from search.cli.interrupted import next_line
from tests.support.program import command, environment
from tests.support.published import CINC2016, REALDATA2, SOUND_HZ, beating


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Six recordings: two good, a noisy one, a clipped one, one of noise, a truncated one."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    noise = np.random.default_rng(1).standard_normal(24_000)
    for i, sound in enumerate(
        [
            beating(SOUND_HZ, 60.0),
            beating(SOUND_HZ, 80.0),
            beating(SOUND_HZ, noise=0.9),
            np.clip(beating(SOUND_HZ), -0.4, 0.4),
            noise,
            beating(SOUND_HZ, 70.0),
        ],
        start=1,
    ):
        soundfile.write(folder / f"a{i:04d}.wav", 0.2 * sound, round(SOUND_HZ), "PCM_16")
    last = folder / "a0006.wav"
    last.write_bytes(last.read_bytes()[:10_000])
    return folder


def get(drivebeat: Any, name: str, source: Path, *options: str) -> Any:
    return drivebeat("data", "get", name, "--from", str(source), *options)


def test_it_counts_what_was_written_and_why_others_were_refused(sounds: Path, drivebeat: Any) -> None:
    said = get(drivebeat, "cinc2016", sounds)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert any(line.split() == ["microphone", "2", "1", "0.6", "1", "3"] for line in lines)
    assert "refused 3 of 6: 1 clipped, 1 unreadable, 1 without a rhythm" in lines
    assert any(line.startswith("  unreadable: ") and "a0006.wav: cut off" in line for line in lines)
    assert lines[-1] == "data/recordings/cinc2016: 3 written, 0 there before, 3 refused"
    again = get(drivebeat, "cinc2016", sounds, "--quiet")
    assert again.out == "data/recordings/cinc2016: 0 written, 3 there before, 3 refused\n"


def test_json_is_one_document(sounds: Path, drivebeat: Any, tmp_path: Path) -> None:
    said = get(drivebeat, "cinc2016", sounds, "-o", "out", "--json")
    assert json.loads(said.out) == {
        "document": "collection",
        "schema_version": 1,
        "collection": "cinc2016",
        "source": str(sounds),
        "folder": "out",
        "table": "out/recordings.csv",
        "recordings": 6,
        "written": 3,
        "existing": 0,
        "counts": {"microphone": {"A": 2, "B": 1, "refused": 3}},
        "refused": {"clipped": 1, "unreadable": 1, "without a rhythm": 1},
    }


def test_only_good_hearts_are_written_on_request_and_the_others_later(sounds: Path, drivebeat: Any) -> None:
    said = get(drivebeat, "cinc2016", sounds, "-o", "out", "--grade", "A")
    assert "refused 4 of 6: 1 below grade A, 1 clipped, 1 unreadable, 1 without a rhythm" in said.out.splitlines()
    assert sorted(path.parent.name for path in Path("out").rglob("*.npz")) == ["A", "A"]
    said = get(drivebeat, "cinc2016", sounds, "-o", "out", "--quiet")
    assert said.out == "out: 1 written, 2 there before, 3 refused\n"
    assert sorted(path.parent.name for path in Path("out").rglob("*.npz")) == ["A", "A", "B"]


def test_it_says_what_a_study_must_know(drivebeat: Any, tmp_path: Path) -> None:
    REALDATA2.write(tmp_path / "packed")
    lines = get(drivebeat, "realdata2", tmp_path / "packed").out.splitlines()
    assert "2 carry only a part of the heart's band: their source in a study needs highest_hz = 45" in lines
    assert any(line.startswith("2 are for research only: weights trained on them may not") for line in lines)


def test_a_study_reads_what_was_written(drivebeat: Any, tmp_path: Path) -> None:
    """By the lines of the guide: kinds have folders of their own, and the table names the groups."""
    from data.config import DataConfig
    from data.corpus import load
    from training.decode import decode

    REALDATA2.write(tmp_path / "packed")
    get(drivebeat, "realdata2", tmp_path / "packed", "-o", "out")
    group = {"manifest": "out/recordings.csv", "column": "group"}
    section = {
        "rate_hz": 250.0,
        "window_samples": 500,
        "clean": [
            {"files": ["out/microphone/*/*.npz"], "group": group},
            {"files": ["out/accelerometer/*/*.npz"], "group": group, "highest_hz": 45.0},
        ],
        "noise": [{"files": ["out/vehicle/*.npz"], "channels": ["z"], "group": group}],
    }
    corpus = load(decode(DataConfig, section, "data"), needed=("train", "test"))
    groups = {segment.group for split in corpus.splits.values() for segment in (*split.clean, *split.noise)}
    assert groups == {expected.group for expected in REALDATA2.expected.values()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cinc2015", "--from", "."], "no collection 'cinc2015' (did you mean 'cinc2016'?); known are mscardio, cinc"),
        (
            ["cinc2016", "--from", "other"],
            "other: is not PhysioNet/CinC 2016: no recording a0001 ... f0114 as .wav",
        ),
        (
            ["cinc2016", "--from", "nowhere"],
            "nowhere: does not exist; give the folder of PhysioNet/CinC 2016 by --from",
        ),
        (["cinc2016", "--from", "file"], "file: is no folder"),
        (["cinc2016", "--from", ".", "--grade", "C"], "--grade is 'C'; A or B is needed"),
        (["cinc2016", "--from", "sounds", "-o", "file/out"], "file/out"),
        (["cinc2016", "--from", "sounds", "-o", "other"], "other/recordings.csv: has the columns file, group, which"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], words: str, sounds: Path, refused: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recordings.csv").write_text("file,group\na.npz,b\n", encoding="utf-8")
    assert words in refused("data", "get", *arguments)


def test_the_help_names_every_collection(drivebeat: Any) -> None:
    text = " ".join(drivebeat("data", "get", "--help").out.split())
    assert all(name in text for name in COLLECTIONS)
    assert get_command.__doc__ is not None


def test_an_interrupted_command_names_the_one_that_goes_on() -> None:
    words = ["data", "get", "cinc2016", "--from", "my sounds"]
    assert next_line(words) == (
        "stopped by SIGINT; the same command converts the recordings that are missing: "
        "drivebeat data get cinc2016 --from 'my sounds'"
    )


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(tmp_path: Path) -> None:
    """Killed after some files: what is there is whole, and the next command ends with what one command writes."""
    CINC2016.write(tmp_path / "in")
    program = (
        "import os, sys, data.readers.arrays.npz as npz\n"
        "savez, written = npz.np.savez, []\n"
        "def savez_or_die(path, **arrays):\n"
        "    if written: open(path, 'wb').write(b'half'); os.kill(os.getpid(), 9)\n"
        "    written.append(path); savez(path, **arrays)\n"
        "npz.np.savez = savez_or_die\n"
        "sys.argv = ['drivebeat', 'data', 'get', 'cinc2016', '--from', 'in', '-o', 'out']\n"
        "from search.cli.app import main\n"
        "main()\n"
    )
    killed = subprocess.run([command()[0], "-c", program], cwd=tmp_path, env=environment(), capture_output=True)
    assert killed.returncode == -9
    assert len([*(tmp_path / "out").rglob("[!.]*.npz")]) == 1
    for folder in ("out", "whole"):
        words = command("data", "get", "cinc2016", "--from", "in", "-o", folder)
        subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, check=True)
    found = {
        folder: {
            str(path.relative_to(tmp_path / folder)): path.read_bytes()
            for path in (tmp_path / folder).rglob("[!.]*")
            if path.is_file()
        }
        for folder in ("out", "whole")
    }
    assert found["out"] == found["whole"]
