"""Which recordings are denoised, and where their files go: folders, globs, WFDB records, ECGs; nothing overwritten."""

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.config import DataConfig, EcgRule, GroupTable
from data.errors import DataError, FileError
from data.files import matching
from data.recording import Recording
from training.denoising.denoise import read_recording
from training.denoising.recordings import Extras, Plan, plan
from training.errors import ConfigError

Heartbeat = Callable[..., Recording]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def planned(data: DataConfig, *given: str, o: str = "out", format: str | None = None, **extras: bool) -> Plan:
    return plan(given, Path(o), format, Extras(**{"beats": False, **extras}), data)


def written(found: Plan) -> dict[str, str]:
    """Recording -> the file of its estimate."""
    return {str(job.recording): str(job.estimate) for job in found.jobs}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["d"], {"d/a.wav": "out/a.wav", "d/s1/b.mat": "out/s1/b.wav", "d/s2/b.csv": "out/s2/b.wav"}),
        (["d/s1", "d/s2"], {"d/s1/b.mat": "out/s1/b.wav", "d/s2/b.csv": "out/s2/b.wav"}),
        (["d/s1", "d/a.wav"], {"d/s1/b.mat": "out/s1/b.wav", "d/a.wav": "out/a.wav"}),
        (["d/s2/b.csv", "d/s1/b.mat"], {"d/s2/b.csv": "out/s2/b.wav", "d/s1/b.mat": "out/s1/b.wav"}),
        (["d/*/b.*"], {"d/s1/b.mat": "out/s1/b.wav", "d/s2/b.csv": "out/s2/b.wav"}),
        (["d/s*"], {"d/s1/b.mat": "out/s1/b.wav", "d/s2/b.csv": "out/s2/b.wav"}),
        (["d/a.wav"], {"d/a.wav": "out/a.wav"}),
        (["d/s1"], {"d/s1/b.mat": "out/b.wav"}),
    ],
)
def test_estimates_keep_names_and_folders(
    given: list[str], expected: dict[str, str], data: DataConfig, here: Path
) -> None:
    """Below the deepest folder that holds all that is named. An order is kept, and names twice count once."""
    touch("d/a.wav", "d/s1/b.mat", "d/s2/b.csv")
    touch("d/s1/notes.md", "d/.hidden.wav", "d/.git/x.wav", "d/s1/truth.npz", "d/README.txt", "d/people.csv")
    clean = dataclasses.replace(data.clean[0], group=GroupTable("d/people.csv", "person"))
    data = dataclasses.replace(data, clean=(clean,))
    found = planned(data, *given)
    assert list(written(found).items()) == list(expected.items())
    assert found.folder == Path("out")
    assert written(planned(data, *given, *given)) == expected


def test_files_beside_an_estimate_are_no_recordings_of_a_folder_and_are_said(data: DataConfig, here: Path) -> None:
    """The endings are those that a job writes. A file that is named itself is taken."""
    touch("d/a.wav")
    job = planned(data, "d/a.wav", o="d/e.wav", beats=True, picture=True, audible=True).jobs[0]
    touch(*map(str, job.files[1:]))
    found = planned(data, "d")
    assert list(written(found)) == ["d/a.wav"]
    assert "left out as tables and sounds of an estimate: 3 files that end in .beats.csv" in found.notes[0]
    assert list(written(planned(data, "d/e.audible.wav"))) == ["d/e.audible.wav"]


def test_a_quoted_glob_gives_what_the_shell_would(data: DataConfig, here: Path) -> None:
    touch("d/a.wav", "d/s1/b.mat", "d/s2/b.csv")
    for pattern in ("d/*", "d/**/*.*", "d/s?/*"):
        by_shell = sorted(str(path) for path in matching(pattern))
        assert written(planned(data, pattern)) == written(planned(data, *by_shell))


def test_a_single_recording_is_written_to_the_file_it_is_given(data: DataConfig, here: Path) -> None:
    touch("a.wav")
    found = planned(data, "a.wav", o="new/e.csv", beats=True, picture=True, audible=True)
    assert found.folder is None
    names = ["e.csv", "e.beats.csv", "e.heart_rate.csv", "e.png", "e.audible.wav"]
    assert [str(path) for path in found.jobs[0].files] == [f"new/{name}" for name in names]
    assert planned(data, "*.wav", o="e.csv").folder is None, "a glob that matches one"
    assert planned(data, "a.wav", o="e.csv", format="csv").folder is None
    Path("there.csv").mkdir()
    assert written(planned(data, "a.wav", o="there.csv", format="npz")) == {"a.wav": "there.csv/a.npz"}


def test_a_folder_is_searched_for_every_format_through_links_and_each_folder_once(data: DataConfig, here: Path) -> None:
    touch("d/a.WAV", "d/b.tdms", "d/c.edf", "d/d.npz", "d/e.lvm", "d/f.h5", "d/g.docx", "elsewhere/x.flac")
    Path("d/link").symlink_to(here / "elsewhere")
    Path("elsewhere/back").symlink_to(here / "d")
    names = ["d/a.WAV", "d/b.tdms", "d/c.edf", "d/d.npz", "d/e.lvm", "d/f.h5", "d/link/x.flac"]
    assert list(written(planned(data, "d"))) == names


def write_wfdb(folder: Path, name: str, n_samples: int = 3000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.random.default_rng(0).integers(-1000, 1000, n_samples).astype("<i2").tofile(folder / f"{name}.dat")
    (folder / f"{name}.hea").write_text(f"{name} 1 250 {n_samples}\n{name}.dat 16 200/mV 16 0 0 0 0 z\n")


def test_a_wfdb_record_counts_once_by_whatever_name(data: DataConfig, here: Path) -> None:
    """Its signal file is none of its own, also where that has the ending of another format, nor are its segments."""
    write_wfdb(here / "d", "r.1")
    write_wfdb(here / "d", "challenge")
    header = Path("d/challenge.hea")
    Path("d/challenge.dat").rename("d/challenge.mat")
    header.write_text(header.read_text().replace("challenge.dat", "challenge.mat"))
    write_wfdb(here / "d", "p1")
    Path("d/whole.hea").write_text("whole/2 1 250 6000\np1 3000\np1 3000\n")
    touch("d/table.dat")
    expected = ["d/challenge.hea", "d/r.1.hea", "d/table.dat", "d/whole.hea"]
    assert list(written(planned(data, "d"))) == expected
    assert set(written(planned(data, "d/*"))) == set(expected)
    for name in ("d/r.1", "d/r.1.hea", "d/r.1.dat"):
        assert written(planned(data, name)) == {"d/r.1.hea": "out/r.1.wav"}
    assert len(planned(data, "d/r.1", "d/r.1.dat", "d/r.1.hea").jobs) == 1


def test_two_recordings_for_one_file_are_refused_with_both_names(data: DataConfig, here: Path) -> None:
    touch("d/a.mat", "d/a.csv")
    with pytest.raises(ConfigError, match=r"out/a.wav: would be written for d/a.csv and for d/a.mat; rename one"):
        planned(data, "d")
    assert written(planned(data, "d/*.mat")) == {"d/a.mat": "out/a.wav"}


def test_files_beside_an_estimate_collide_too(data: DataConfig, here: Path) -> None:
    touch("d/a.wav", "d/a.beats.wav")
    with pytest.raises(ConfigError, match=r"out/a.beats.csv: would be written for"):
        planned(data, "d", format="csv", beats=True)
    assert len(planned(data, "d", format="csv").jobs) == 2


def test_no_recording_is_ever_overwritten(data: DataConfig, here: Path) -> None:
    """Neither by an estimate, nor by a file beside it, nor a signal file of a WFDB record, nor under another name."""
    touch("d/a.wav", "d/a.csv", "a.beats.csv")
    with pytest.raises(ConfigError, match=r"d/a.wav: is the recording itself, which is never written"):
        planned(data, "d/a.wav", o="d/a.wav")
    with pytest.raises(ConfigError, match=r"is a file of the recording d/a.csv"):
        planned(data, "d/a.wav", "d/a.csv", o="d/../d", format="csv")
    with pytest.raises(ConfigError, match=r"a.beats.csv: is the recording itself"):
        planned(data, "a.beats.csv", o="a.wav", beats=True)
    write_wfdb(here / "w", "r")
    for name in ("w/r.dat", "w/r.hea"):
        Path("out.wav").unlink(missing_ok=True)
        Path("out.wav").symlink_to(here / name)
        with pytest.raises(ConfigError, match=r"out.wav: is the recording itself"):
            planned(data, "w/r", o="out.wav")


def test_the_folder_of_the_estimates_is_not_searched(data: DataConfig, here: Path) -> None:
    """So that the same command can be repeated."""
    touch("d/a.wav", "d/out/a.wav", "d/out/s/b.wav", "d/output/c.wav")
    found = planned(data, "d", o="d/out")
    assert written(found) == {"d/a.wav": "d/out/a.wav", "d/output/c.wav": "d/out/output/c.wav"}
    assert found.notes == ("d/out: the folder of the estimates is not searched for recordings",)
    with pytest.raises(ConfigError, match="d: is the folder of the recordings"):
        planned(data, "d", o="d")


@pytest.mark.parametrize(
    ("given", "options", "rule"),
    [
        (["gone.wav"], {}, r"no recording matches 'gone.wav' \(looked from"),
        (["d/*.edf"], {}, "no recording matches"),
        (["empty"], {}, "empty: has no recording; files that end in .mat"),
        (["d"], {"o": "e.wav"}, "e.wav: a file for the estimates of 2 recordings; name a folder with -o"),
        (["d/s"], {"o": "e.wav"}, "e.wav: a file for the estimates of 1 recording; name a folder"),
        (["d"], {"o": "d/a.wav"}, "d/a.wav: a file for the estimates of 2 recordings"),
        (["d"], {"format": "mp3"}, "--format is 'mp3'; wav, csv, mat, npz are known"),
        (["d/a.wav"], {"o": "e.mat", "format": "csv"}, "e.mat: --format is csv, the file ends in .mat"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    given: list[str], options: dict[str, str], rule: str, data: DataConfig, here: Path
) -> None:
    touch("d/a.wav", "d/s/b.wav")
    Path("empty").mkdir()
    with pytest.raises((ConfigError, DataError), match=rule) as refused:
        planned(data, *given, **options)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_read_is_named(data: DataConfig, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("d/a.wav", "d/closed/b.wav")
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # chmod does not stop root
    with pytest.raises(FileError, match="d/closed: cannot be read"):
        planned(data, "d")


def with_ecgs(data: DataConfig) -> DataConfig:
    """The same data, with ECGs in files of their own: a.wav and a_ECG.wav."""
    source = dataclasses.replace(data.clean[0], ecg=EcgRule(".", "_ECG."))
    return dataclasses.replace(data, clean=(source,))


def write_sound_file(path: Path, samples: Any, rate_hz: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples, np.float32), rate_hz, subtype="FLOAT")


def ecg(r_peaks_s: Any, seconds: float) -> Any:
    """R waves at 250 Hz."""
    time_s = np.arange(round(250 * seconds)) / 250
    return np.exp(-0.5 * ((time_s - np.asarray(r_peaks_s)[:, None]) / 0.01) ** 2).sum(axis=0)


def test_an_ecg_in_a_file_of_its_own_is_read_with_its_recording_and_not_denoised(
    data: DataConfig, heart: Heartbeat, here: Path
) -> None:
    sound = heart(0, Path("a"), seconds=20.0)
    write_sound_file(Path("d/a.wav"), sound.signals[0], 250)
    write_sound_file(Path("d/a_ECG.wav"), ecg(sound.r_peaks_s, 20.0), 250)
    found = planned(with_ecgs(data), "d")
    assert written(found) == {"d/a.wav": "out/a.wav"}
    assert found.notes == ("left out as the ECG of another recording: 1 file",)
    assert len(planned(data, "d").jobs) == 2, "a run without the rule knows of no ECG"
    assert read_recording(with_ecgs(data), Path("d/a.wav")).ecg is not None
    assert read_recording(data, Path("d/a.wav")).ecg is None


def test_an_ecg_that_cannot_be_used_is_a_note(data: DataConfig, heart: Heartbeat, here: Path) -> None:
    write_sound_file(Path("a.wav"), heart(0, Path("a"), seconds=20.0).signals[0], 250)
    write_sound_file(Path("a_ECG.wav"), ecg([1.0, 2.0], 5.0), 250)
    recording = read_recording(with_ecgs(data), Path("a.wav"))
    assert recording.ecg is None
    assert any("its ECG is not used (a_ECG.wav: this ECG lasts 5.0 s" in note for note in recording.notes)
    Path("a.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"a.wav"):
        read_recording(with_ecgs(data), Path("a.wav"))
