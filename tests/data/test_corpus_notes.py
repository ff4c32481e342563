"""What a corpus says of its recordings: what was refused, left out or assumed in reading them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.config import DataConfig, Source
from data.corpus import load
from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.recording import Recording

RATE_HZ = 500.0


def write(path: Path, seed: int, rate_hz: float = RATE_HZ, **changes: object) -> str:
    signals = np.random.default_rng(seed).standard_normal((2, round(12 * rate_hz))).astype(np.float32)
    np.savez(path, **({"signals": signals, "rate_hz": rate_hz, "channels": ["z", "x"]} | changes))  # type: ignore[arg-type]
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Three clean and three noise recordings with two channels, of which the first is used."""
    clean = tuple(write(tmp_path / f"c{i}.npz", i) for i in range(3))
    noise = tuple(write(tmp_path / f"n{i}.npz", 10 + i) for i in range(3))
    return DataConfig((Source(clean),), (Source(noise),), rate_hz=RATE_HZ, window_samples=500)


def test_nothing_is_noted_of_recordings_that_state_everything(config: DataConfig) -> None:
    assert load(config).notes == ()


@pytest.mark.parametrize("name", ["c1.npz", "n1.npz"])
def test_a_recording_whose_own_rate_is_too_low_for_the_band_is_refused(
    name: str, config: DataConfig, tmp_path: Path
) -> None:
    write(tmp_path / name, 1, rate_hz=100.0)
    with pytest.raises(DataError, match=rf"{name}: recorded at 100 Hz; the band up to 55 Hz needs at least 110 Hz"):
        load(config)
    write(tmp_path / name, 1, rate_hz=110.0)
    load(config)


def test_gaps_and_flat_channels_that_are_not_used_do_no_harm(config: DataConfig, tmp_path: Path) -> None:
    before = load(config)
    signals = np.random.default_rng(1).standard_normal((2, 6000)).astype(np.float32)
    for unused in (np.full(6000, np.nan), np.zeros(6000)):
        write(tmp_path / "c1.npz", 1, signals=np.stack([signals[0], unused]))
        assert load(config).fingerprint == before.fingerprint
    write(tmp_path / "c1.npz", 1, signals=np.stack([np.zeros(6000), signals[0]]))
    with pytest.raises(DataError, match=r"c1.npz: channel z: constant"):
        load(config)


def test_gaps_follow_the_rule_of_their_source(config: DataConfig, tmp_path: Path) -> None:
    signals = np.random.default_rng(1).standard_normal((2, 6000)).astype(np.float32)
    signals[0, 100:150] = np.nan
    for name in ("c0.npz", "c1.npz"):
        write(tmp_path / name, 1, signals=signals + np.float32(name == "c0.npz") * signals[::-1] * 0.1)
    (note,) = load(config).notes
    assert "c0.npz" in note and "c1.npz" in note and "1 gap of 0.1 s in all (0.833 %) cut out" in note
    (source,) = config.clean
    with pytest.raises(DataError, match="50 of 6000 samples are NaN"):
        load(dataclasses.replace(config, clean=(dataclasses.replace(source, gaps="refuse"),)))


def test_an_ecg_that_cannot_be_a_reference_is_counted_and_its_beats_are_not_used(
    config: DataConfig, tmp_path: Path
) -> None:
    """The fingerprint counts its beats all the same: it identifies the recording as it is."""
    fingerprints = set()
    for i, peaks_s in enumerate((np.arange(0.4, 12, 0.8), np.arange(0.4, 12, 5.0), np.arange(0.4, 12, 4.0))):
        path = tmp_path / "c1.npz"
        signals = np.random.default_rng(1).standard_normal((2, 6000)).astype(np.float32)
        write_npz(Recording(signals, RATE_HZ, ("z", "x"), path, r_peaks_s=peaks_s), path)
        corpus = load(config)
        fingerprints.add(corpus.fingerprint)
        segments = [segment for split in corpus.splits.values() for segment in split.clean]
        (beats,) = [segment.r_peaks_s for segment in segments if segment.source == path]
        assert (beats is None) == (i > 0)
        assert ("not used for scores of the heart rate: 3 beats in 12 s" in " ".join(corpus.notes)) == (i > 0)
    assert len(fingerprints) == 3


def test_variables_of_a_source_are_its_channels(tmp_path: Path) -> None:
    for i in range(6):
        seat, belt = np.random.default_rng(i).standard_normal((2, 6000)).astype(np.float32)
        np.savez(tmp_path / f"{i}.npz", seat=seat, belt=belt, fs=RATE_HZ)
    files = [str(tmp_path / f"{i}.npz") for i in range(6)]
    both = ("belt", "seat")
    config = DataConfig(
        (Source(tuple(files[:3]), variables=both),),
        (Source(tuple(files[3:]), variables=both),),
        rate_hz=RATE_HZ,
        window_samples=500,
    )
    assert config.n_channels == load(config).n_channels == 2
