"""What the cache of prepared recordings gives is what would be made without it, whatever happens to its folder."""

import dataclasses
import errno
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data.cache
import data.corpus
from data.config import DataConfig, EcgRule, Source
from data.corpus import Corpus, Segment, load
from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.recording import Recording, Signal
from data.splits import SPLITS
from tests.support.program import environment

RATE_HZ = 400.0


def write(folder: Path, name: str, seed: int, beats: bool = False) -> Path:
    samples = np.random.default_rng(seed).standard_normal((2, 1600)).astype(np.float32)
    peaks = np.arange(0.3, 4, 0.7) if beats else None
    write_npz(Recording(samples, RATE_HZ, ("z", "x"), folder / name, r_peaks_s=peaks), folder / name)
    return folder / name


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    for i in range(3):
        write(tmp_path, f"c{i}.npz", i, beats=True)
        write(tmp_path, f"n{i}.npz", 9 + i)
    return DataConfig(
        clean=(Source((str(tmp_path / "c*.npz"),), ("z", "x")),),
        noise=(Source((str(tmp_path / "n*.npz"),), ("z", "x")),),
        rate_hz=250.0,
        window_samples=250,
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIVEBEAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIVEBEAT_CACHE_GB", raising=False)
    return tmp_path / "cache"


def without(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    with monkeypatch.context() as off:
        off.setenv("DRIVEBEAT_CACHE", "")
        return load(config)


def segments(corpus: Corpus) -> list[Segment]:
    return [s for use in SPLITS for s in (*corpus.splits[use].clean, *corpus.splits[use].noise)]


def assert_equal(one: Corpus, other: Corpus) -> None:
    assert one.fingerprint == other.fingerprint
    for a, b in zip(segments(one), segments(other), strict=True):
        assert a.source == b.source
        assert a.signals.tobytes() == b.signals.tobytes() and a.signals.shape == b.signals.shape
        assert a.in_band.tobytes() == b.in_band.tobytes() and a.in_band.dtype == b.in_band.dtype
        assert (a.r_peaks_s is None) == (b.r_peaks_s is None)
        assert a.r_peaks_s is None or b.r_peaks_s is None or a.r_peaks_s.tobytes() == b.r_peaks_s.tobytes()


def refuse_to_make(*_: Any) -> Any:
    raise AssertionError("prepared again")


@pytest.mark.parametrize("options", [{}, {"band_hz": None}, {"level": "raw"}, {"rate_hz": 400.0, "level": "raw"}])
def test_the_corpus_is_the_same_to_the_bit_without_with_an_empty_and_with_a_filled_cache(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    config = dataclasses.replace(config, **options)
    plain = without(config, monkeypatch)
    assert_equal(load(config), plain)
    monkeypatch.setattr(data.corpus, "_prepare", refuse_to_make)
    assert_equal(load(config), plain)


def test_what_is_mapped_cannot_be_written(config: DataConfig, cache: Path) -> None:
    load(config)
    for segment in segments(load(config)):
        for held in (segment.signals, segment.in_band):
            with pytest.raises(ValueError, match="read-only"):
                held[..., 0] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                held.setflags(write=True)


@pytest.mark.parametrize(
    "options",
    [{"rate_hz": 300.0}, {"band_hz": (20.0, 60.0)}, {"band_hz": None}, {"level": "raw"}],
    ids=str,
)
def test_other_settings_have_entries_of_their_own(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    load(config)
    other = dataclasses.replace(config, **options)
    assert_equal(load(other), without(other, monkeypatch))


def test_windows_and_splits_may_change_without_preparing_again(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config)
    monkeypatch.setattr(data.corpus, "_prepare", refuse_to_make)
    load(dataclasses.replace(config, window_samples=300, stride_samples=7))
    with pytest.raises(DataError, match=r"c0.npz: 4.00 s is shorter than one window of 2500 samples \(10.00 s"):
        load(dataclasses.replace(config, window_samples=2500))


def test_a_changed_reader_is_other_code(tmp_path: Path) -> None:
    """Readers stand in a folder of their own: what a changed one prepared is not mapped again."""
    reader = tmp_path / "readers" / "wav.py"
    reader.parent.mkdir()
    reader.write_text("RATE_HZ = 1000")
    before = data.cache._code(tmp_path)
    reader.write_text("RATE_HZ = 2000")
    assert data.cache._code(tmp_path) != before


def test_other_code_has_entries_of_its_own(config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(config)
    monkeypatch.setattr(data.cache, "_code", lambda: "another version")
    monkeypatch.setattr(data.corpus, "_prepare", refuse_to_make)
    with pytest.raises(AssertionError, match="prepared again"):
        load(config)


def test_a_file_changed_in_place_with_its_size_and_modification_time_kept_is_noticed(
    config: DataConfig, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = time.time() + 60  # the files are long settled
    monkeypatch.setattr("data.cache.time.time", lambda: late)
    before = load(config)
    file = tmp_path / "c1.npz"
    was = file.stat()
    changed = write(tmp_path, "d1.npz", 77, beats=True).read_bytes()
    assert len(changed) == was.st_size
    time.sleep(0.02)  # a tick of the file system's clock
    file.write_bytes(changed)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    after = load(config)
    assert after.fingerprint != before.fingerprint
    assert_equal(after, without(config, monkeypatch))


def test_a_file_that_changes_while_it_is_prepared_leaves_no_entry(
    config: DataConfig, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = data.corpus._prepare

    def meddling(recording: Recording, *rest: Any) -> tuple[Signal, Signal]:
        if recording.source.name == "c1.npz":
            write(tmp_path, "c1.npz", 55, beats=True)
        return prepare(recording, *rest)

    with monkeypatch.context() as meddled:
        meddled.setattr(data.corpus, "_prepare", meddling)
        load(config)
    assert len(list((cache / "prepared").glob("*.npy"))) == 5
    assert_equal(load(config), without(config, monkeypatch))


@pytest.mark.parametrize("ending", ["npy", "json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "gone", "exchanged"])
def test_a_damaged_entry_is_made_again(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, ending: str, damage: str
) -> None:
    load(config)  # not kept: what is cut short under a mapping takes its process down
    plain = without(config, monkeypatch)
    first, second = sorted((cache / "prepared").glob(f"*.{ending}"))[:2]
    content = first.read_bytes()
    if damage == "flipped":
        middle = len(content) // 2
        first.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "gone":
        first.unlink()
    elif damage == "exchanged":
        shutil.copy(second, first)
    else:
        first.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    assert_equal(load(config), plain)
    assert first.read_bytes() == content


def test_an_equal_file_elsewhere_uses_the_entry_under_its_own_name(
    config: DataConfig, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config)
    for file in tmp_path.glob("*.npz"):
        file.rename(file.with_name(f"{file.stem[0]}_{file.stem[1]}.npz"))
    monkeypatch.setattr(data.corpus, "_prepare", refuse_to_make)
    assert {s.source.name for s in segments(load(config))} == {f"{r}_{i}.npz" for r in "cn" for i in range(3)}


def test_processes_that_start_together_end_with_the_files_one_would_write(
    config: DataConfig, cache: Path, tmp_path: Path
) -> None:
    alone = load(config)
    expected = {p.name: p.read_bytes() for p in (cache / "prepared").iterdir()}
    program = (
        "import sys; from data.config import DataConfig, Source; from data.corpus import load; f = sys.argv[1]; "
        "made = lambda r: (Source((f'{f}/{r}*.npz',), ('z', 'x')),); "
        "print(load(DataConfig(made('c'), made('n'), rate_hz=250.0, window_samples=250)).fingerprint)"
    )
    there = environment(DRIVEBEAT_CACHE=str(tmp_path / "crowd"))
    crowd = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env=there)
        for _ in range(3)
    ]
    assert [p.communicate()[0].decode().strip() for p in crowd] == 3 * [alone.fingerprint]
    assert {p.name: p.read_bytes() for p in (tmp_path / "crowd" / "prepared").iterdir()} == expected


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "drivebeat.cache" and r.levelno == logging.WARNING]


def test_where_the_folder_cannot_be_made_loading_works_and_says_so_once(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DRIVEBEAT_CACHE", str(tmp_path / "file" / "cache"))
    assert_equal(load(config), without(config, monkeypatch))
    (line,) = warnings_of(caplog)
    assert "file/cache: prepared recordings are not kept (Not a directory)" in line and "DRIVEBEAT_CACHE" in line


def test_a_full_disk_costs_one_line_and_leaves_no_half_entry(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: Any, *_: Any, **__: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plain = without(config, monkeypatch)
    with monkeypatch.context() as disk:
        disk.setattr(np, "save", full)
        assert_equal(load(config), plain)
    (line,) = warnings_of(caplog)
    assert "No space left on device" in line
    assert list((cache / "prepared").iterdir()) == []
    assert_equal(load(config), plain)
    assert len(warnings_of(caplog)) == 1


def test_beyond_the_limit_those_go_that_were_not_used_for_longest(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = dataclasses.replace(config, level="raw")
    load(old)
    unused = set((cache / "prepared").iterdir())
    for place in unused:
        os.utime(place, (1e9, 1e9))
    size = sum(p.stat().st_blocks * 512 for p in unused)
    monkeypatch.setenv("DRIVEBEAT_CACHE_GB", str(1.2 * size / 1e9))
    plain = load(config)
    left = set((cache / "prepared").iterdir())
    assert sum(p.stat().st_blocks * 512 for p in left) <= 1.2 * size
    assert len(left - unused) == 12 and len(left & unused) < 12
    assert_equal(load(config), plain)


def test_a_changed_ecg_file_changes_what_is_found(tmp_path: Path, config: DataConfig, cache: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        samples = rng.standard_normal((1, 4000)).astype(np.float32)
        ecg = 0.01 * rng.standard_normal((1, 4000)).astype(np.float32)
        ecg[0, 100::300] += 1
        write_npz(Recording(samples, RATE_HZ, ("z",), tmp_path / "r"), tmp_path / f"r{i}_PCG.npz")
        write_npz(Recording(ecg, RATE_HZ, ("ECG",), tmp_path / "r"), tmp_path / f"r{i}_ECG.npz")
    source = Source((str(tmp_path / "r*_PCG.npz"),), ecg=EcgRule("_PCG", "_ECG"))
    config = dataclasses.replace(config, clean=(source,))
    before = load(config)
    late = np.roll(ecg, 60)
    write_npz(Recording(late, RATE_HZ, ("ECG",), tmp_path / "r"), tmp_path / "r2_ECG.npz")
    assert load(config).fingerprint != before.fingerprint
