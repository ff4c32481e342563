"""Recordings whose rate carries only a part of the band are taken where their source says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.conditioning import condition
from data.config import DataConfig, Source
from data.corpus import Corpus, load
from data.errors import DataError
from data.filters import bandpass, resample
from data.readers.read import read
from training.decode import decode, encode

Write = Callable[[str, float], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, rate_hz: float) -> str:
        signals = np.random.default_rng(len(name)).standard_normal((1, round(12 * rate_hz))).astype(np.float32)
        signals += np.float32(0.01 * sum(map(ord, name)))
        np.savez(tmp_path / name, signals=signals, rate_hz=rate_hz, channels=["z"])
        return str(tmp_path / name)

    return write


@pytest.fixture
def config(write: Write) -> DataConfig:
    """Clean recordings at 99.4 Hz and three at 500 Hz, with noise at 500 Hz."""
    clean = tuple(write(f"c{'x' * i}.npz", rate_hz) for i, rate_hz in enumerate((99.4, 500.0, 500.0, 500.0)))
    noise = tuple(write(f"n{'y' * i}.npz", 500.0) for i in range(6, 9))
    return DataConfig((Source(clean),), (Source(noise),), rate_hz=250.0, window_samples=500)


def up_to(config: DataConfig, highest_hz: float | None) -> DataConfig:
    return replace(config, clean=(replace(config.clean[0], highest_hz=highest_hz),))


def segments(corpus: Corpus) -> dict[str, np.ndarray]:
    return {segment.source.name: segment.signals for split in corpus.splits.values() for segment in split.clean}


def test_without_the_field_a_low_rate_is_refused_with_its_name(config: DataConfig) -> None:
    with pytest.raises(
        DataError, match=r"c.npz: recorded at 99.4 Hz; the band up to 55 Hz needs at least 110 Hz; set"
    ) as e:
        load(config)
    assert "highest_hz" in str(e.value)
    assert "\n" not in str(e.value)


def test_with_the_field_it_is_resampled_and_noted(config: DataConfig) -> None:
    """The recordings whose rate carries the whole band are as they were, and not noted."""
    corpus = load(up_to(config, 45.0))
    (note,) = corpus.notes
    assert note.endswith("c.npz: carries only 25 to 45 Hz of the band 25 to 55 Hz")
    found = segments(corpus)
    (path,) = (Path(file) for file in config.clean[0].files if file.endswith("c.npz"))
    band = bandpass(resample(read(path).signals, 99.4, 250.0), 250.0, 25.0, 55.0)
    rms = float(np.sqrt(np.mean(np.square(band[0], dtype=np.float64))))
    np.testing.assert_array_equal(found["c.npz"], band / rms)


def test_the_field_changes_no_recording_that_carries_the_band(config: DataConfig) -> None:
    whole = replace(config, clean=(replace(config.clean[0], files=config.clean[0].files[1:]),))
    one, other = load(whole), load(up_to(whole, 45.0))
    assert one.fingerprint == other.fingerprint
    assert other.notes == ()
    for name, signals in segments(one).items():
        np.testing.assert_array_equal(signals, segments(other)[name])


@pytest.mark.parametrize(
    ("rate_hz", "highest_hz", "words"),
    [
        (89.0, 45.0, "recorded at 89 Hz; highest_hz = 45 needs at least 90 Hz; lower it"),
        (99.4, 49.8, "recorded at 99.4 Hz; highest_hz = 49.8 needs at least 99.6 Hz"),
        (99.4, 80.0, "recorded at 99.4 Hz; highest_hz = 80 needs at least 110 Hz"),
    ],
)
def test_a_rate_below_twice_the_field_is_refused(
    rate_hz: float, highest_hz: float, words: str, config: DataConfig, write: Write
) -> None:
    write("c.npz", rate_hz)
    with pytest.raises(DataError) as raised:
        load(up_to(config, highest_hz))
    assert words in str(raised.value)


@pytest.mark.parametrize("highest_hz", [0.0, -1.0, float("inf"), float("nan")])
def test_the_field_is_a_positive_frequency(highest_hz: float) -> None:
    with pytest.raises(ValueError, match=r"highest_hz is .*; a positive number of Hz is needed"):
        Source(("a",), highest_hz=highest_hz)


def test_a_part_of_the_band_has_more_than_10_hz(config: DataConfig) -> None:
    with pytest.raises(ValueError, match=r"highest_hz is 35 for .*c.npz; more than 35 Hz is needed for the band 25 to"):
        up_to(config, 35.0)
    with pytest.raises(ValueError, match=r"more than 35 Hz is needed"):
        replace(up_to(config, 45.0), band_hz=None, clean=(Source(("a",), highest_hz=30.0),))
    assert up_to(config, 35.1).clean[0].highest_hz == 35.1


def test_documents_without_the_field_stay_as_they_were(config: DataConfig) -> None:
    """So do their hashes; with the field they are read back as they are."""
    assert "highest_hz" not in str(encode(config))
    part = up_to(config, 45.0)
    assert decode(DataConfig, encode(part), "data") == part


def test_a_recording_to_be_denoised_is_refused_without_a_word_of_sources(config: DataConfig) -> None:
    (path,) = (Path(file) for file in config.clean[0].files if file.endswith("c.npz"))
    with pytest.raises(DataError, match=r"recorded at 99.4 Hz; the band up to 55 Hz needs at least 110 Hz; leave it"):
        condition(read(path), up_to(config, 45.0))


def test_the_cache_knows_the_field(config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that it holds is refused without the field all the same, and its note is kept."""
    monkeypatch.setenv("DRIVEBEAT_CACHE", str(tmp_path / "cache"))
    first, second = load(up_to(config, 45.0)), load(up_to(config, 45.0))
    assert first.notes == second.notes != ()
    assert "25 to 40 Hz" in load(up_to(config, 40.0)).notes[0]
    with pytest.raises(DataError, match=r"recorded at 99.4 Hz"):
        load(config)
