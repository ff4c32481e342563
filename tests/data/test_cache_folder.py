"""The folder of prepared recordings: where it is, what limits are allowed, whose leavings are swept."""

import os
from pathlib import Path

import numpy as np
import pytest

from data.config import DataConfig, Source
from data.corpus import load
from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.recording import Recording


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Three short recordings of either kind."""
    for name in ("c0", "c1", "c2", "n0", "n1", "n2"):
        path = tmp_path / f"{name}.npz"
        samples = np.random.default_rng(ord(name[0]) + int(name[1])).standard_normal((1, 1600)).astype(np.float32)
        write_npz(Recording(samples, 400.0, ("z",), path), path)
    clean, noise = ((Source((f"{tmp_path}/{kind}*.npz",)),) for kind in "cn")
    return DataConfig(clean=clean, noise=noise, rate_hz=250.0, window_samples=250)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIVEBEAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIVEBEAT_CACHE_GB", raising=False)
    return tmp_path / "cache"


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_no_positive_number_is_refused(
    config: DataConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DRIVEBEAT_CACHE_GB", text)
    with pytest.raises(DataError, match=f"DRIVEBEAT_CACHE_GB is '{text}'; a positive number is needed"):
        load(config)


def test_the_folder_is_that_of_the_xdg_base_directories(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIVEBEAT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load(config)
    assert len(list((tmp_path / "xdg" / "drivebeat" / "prepared").glob("*.npy"))) == 6


def test_temporary_files_of_dead_writers_are_removed(config: DataConfig, cache: Path) -> None:
    (cache / "prepared").mkdir(parents=True)
    dead, living = cache / "prepared" / ".dead.1.npy", cache / "prepared" / ".living.2.npy"
    for place in (dead, living):
        place.write_bytes(b"half")
    os.utime(dead, (1e9, 1e9))
    load(config)
    assert not dead.exists() and living.exists()
