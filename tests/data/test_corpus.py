"""Recordings are dealt without leaks, alike wherever they lie, and refused with one clear line."""

import dataclasses
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, EcgRule, Source, SplitConfig, Use
from data.corpus import Segment, find, load
from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from data.splits import SPLITS, counts

Write = Callable[..., Path]
RATE_HZ = 500.0
USES: tuple[Use, ...] = ("train", "validation", "test")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recording of coloured noise, seeded, with R peaks every 0.8 s where `beats` is true."""

    def make(
        name: str,
        seed: int,
        *,
        seconds: float = 12.0,
        rate_hz: float = RATE_HZ,
        channels: tuple[str, ...] = ("z",),
        beats: bool = False,
        level: float = 1.0,
    ) -> Path:
        n_samples = round(seconds * rate_hz)
        samples = np.random.default_rng(seed).standard_normal((len(channels), n_samples)).astype(np.float32)
        path = tmp_path / name
        peaks = np.arange(0.4, seconds, 0.8) if beats else None
        write_npz(Recording(level * samples, rate_hz, channels, path, r_peaks_s=peaks), path)
        return path

    return make


def sources(*paths: Path, **options: Any) -> tuple[Source, ...]:
    return (Source(tuple(str(path) for path in paths), **options),)


def config(clean: tuple[Source, ...], noise: tuple[Source, ...], **options: Any) -> DataConfig:
    return DataConfig(clean=clean, noise=noise, **({"rate_hz": RATE_HZ, "window_samples": 500} | options))


@pytest.fixture
def several(write: Write) -> DataConfig:
    """Five clean and four noise recordings, to be split by recording."""
    clean = [write(f"c{i}.npz", i, beats=True) for i in range(5)]
    noise = [write(f"n{i}.npz", 10 + i) for i in range(4)]
    return config(sources(*clean), sources(*noise))


def names(segments: tuple[Segment, ...]) -> list[str]:
    return [segment.source.name for segment in segments]


def test_no_recording_lies_in_two_splits_and_none_is_lost(several: DataConfig) -> None:
    corpus = load(several)
    for role, expected in (("clean", 5), ("noise", 4)):
        dealt = [name for use in SPLITS for name in names(getattr(corpus.splits[use], role))]
        assert len(set(dealt)) == len(dealt) == expected


@settings(max_examples=40)
@given(n=st.integers(3, 40), validation=st.floats(0.01, 0.49), test=st.floats(0.01, 0.49))
def test_from_three_recordings_on_every_split_has_one(n: int, validation: float, test: float) -> None:
    n_validation, n_test = counts(n, SplitConfig(1 - validation - test, validation, test))
    assert n_validation >= 1
    assert n_test >= 1
    assert n - n_validation - n_test >= 1


def test_the_seed_deals(several: DataConfig) -> None:
    dealt = {
        tuple(names(load(dataclasses.replace(several, split=SplitConfig(seed=seed))).splits["test"].clean))
        for seed in range(6)
    }
    assert len(dealt) > 1


def test_clean_is_never_returned_as_noise(several: DataConfig) -> None:
    """A loader once cached by class name and gave the clean recording as noise."""
    corpus = load(several)
    for use in SPLITS:
        assert all(name.startswith("c") for name in names(corpus.splits[use].clean))
        assert all(name.startswith("n") for name in names(corpus.splits[use].noise))
        for clean in corpus.splits[use].clean:
            for noise in corpus.splits[use].noise:
                assert not np.array_equal(clean.signals, noise.signals)


def test_arrays_are_read_only(several: DataConfig) -> None:
    segment = load(several).splits["train"].clean[0]
    for array in (segment.signals, segment.in_band):
        with pytest.raises(ValueError, match="read-only"):
            array[..., 0] = 1.0


def test_a_single_recording_is_split_in_time_with_guard_gaps_of_a_window(write: Write) -> None:
    window = 500
    clean = write("c.npz", 1, seconds=40, beats=True)
    data = config(sources(clean), sources(write("n.npz", 2, seconds=40)), band_hz=None, level="raw")
    corpus = load(data)
    whole = np.load(clean)["signals"][0]
    spans = []
    for use in SPLITS:
        (segment,) = corpus.splits[use].clean
        start = int(np.flatnonzero(whole == segment.signals[0, 0])[0])
        assert np.array_equal(whole[start : start + segment.n_samples], segment.signals[0])
        spans.append((start, start + segment.n_samples))
    spans.sort()
    assert all(later[0] - earlier[1] >= window for earlier, later in itertools.pairwise(spans))
    assert all(stop - start >= window for start, stop in spans)


def test_r_peaks_of_time_cut_segments_stay_on_their_beats(write: Write) -> None:
    """A click stands at each R peak; after the cut it still does, in every split."""
    path = write("c.npz", 1, seconds=40, beats=True)
    with np.load(path) as held:
        peaks, signals = held["r_peaks_s"], np.zeros((1, 20_000), np.float32)
    signals[0, np.round(peaks * RATE_HZ).astype(int)] = 1.0
    write_npz(Recording(signals, RATE_HZ, ("z",), path, r_peaks_s=peaks), path)
    corpus = load(config(sources(path), sources(write("n.npz", 2, seconds=40)), band_hz=None, level="raw"))
    for use in SPLITS:
        (segment,) = corpus.splits[use].clean
        assert segment.r_peaks_s is not None
        assert len(segment.r_peaks_s) > 3
        clicks = np.flatnonzero(segment.signals[0] > 0.5) / RATE_HZ
        np.testing.assert_allclose(segment.r_peaks_s, clicks, atol=1 / RATE_HZ)


def test_use_pins_a_source_to_its_split(write: Write) -> None:
    clean = tuple(
        Source((str(write(f"{use}{i}.npz", seed)),), use=use)
        for seed, (use, i) in enumerate((use, i) for use in USES for i in range(2))
    )
    noise = sources(*(write(f"n{i}.npz", 20 + i) for i in range(3)))
    corpus = load(config(clean, noise))
    for use in SPLITS:
        assert {name.removesuffix(".npz")[:-1] for name in names(corpus.splits[use].clean)} == {use}


def test_same_recordings_elsewhere_give_the_same_fingerprint_and_splits(several: DataConfig, tmp_path: Path) -> None:
    """Neither folder, nor file name, nor order of the list decides anything."""
    there = tmp_path / "elsewhere"
    there.mkdir()
    clean = [Path(name) for name in several.clean[0].files]
    moved = [there / f"{9 - i}.npz" for i in range(len(clean))]
    for old, new in zip(clean, moved, strict=True):
        new.write_bytes(old.read_bytes())
    one, other = load(several), load(dataclasses.replace(several, clean=sources(*reversed(moved))))
    assert one.fingerprint == other.fingerprint
    for use in SPLITS:
        for a, b in zip(one.splits[use].clean, other.splits[use].clean, strict=True):
            assert np.array_equal(a.signals, b.signals)


def test_the_fingerprint_changes_with_samples_peaks_and_roles(several: DataConfig) -> None:
    before = load(several).fingerprint
    swapped = dataclasses.replace(several, clean=several.noise, noise=several.clean)
    assert load(swapped).fingerprint != before
    path = Path(several.clean[0].files[0])
    with np.load(path) as held:
        signals, peaks = held["signals"].copy(), held["r_peaks_s"]
    write_npz(Recording(signals, RATE_HZ, ("z",), path, r_peaks_s=peaks[:-1]), path)
    fewer_peaks = load(several).fingerprint
    signals[0, 7] += 1
    write_npz(Recording(signals, RATE_HZ, ("z",), path, r_peaks_s=peaks), path)
    assert len({before, fewer_peaks, load(several).fingerprint}) == 3


def test_a_recording_in_two_splits_is_refused_even_under_another_name(several: DataConfig, write: Write) -> None:
    copy = write("copy.npz", 1, beats=True)
    held_back = Source((str(copy),), use="test")
    with pytest.raises(DataError, match="the same recording as clean"):
        load(dataclasses.replace(several, clean=(*several.clean, held_back)))


def test_a_recording_that_is_clean_and_noise_is_refused(several: DataConfig) -> None:
    with pytest.raises(DataError, match=r"listed as noise.*the same recording as clean"):
        load(dataclasses.replace(several, noise=(*several.noise, Source((several.clean[0].files[0],)))))


def test_channels_of_one_file_may_be_listed_apart_only_within_one_split(several: DataConfig, write: Write) -> None:
    file = (str(write("two.npz", 30, channels=("a", "b"))),)
    together = (Source(file, ("a",), use="train"), Source(file, ("b",), use="train"))
    corpus = load(dataclasses.replace(several, clean=(*several.clean, *together)))
    assert names(corpus.splits["train"].clean).count("two.npz") == 2
    apart = (Source(file, ("a",), use="train"), Source(file, ("b",), use="test"))
    with pytest.raises(DataError, match="list it once"):
        load(dataclasses.replace(several, clean=(*several.clean, *apart)))


@pytest.mark.parametrize("several_names", [False, True], ids=["variable", "variables"])
def test_variables_of_one_file_may_be_listed_apart_only_within_one_split_or_as_clean_and_noise(
    several: DataConfig, tmp_path: Path, several_names: bool
) -> None:
    rng = np.random.default_rng(77)
    np.savez(tmp_path / "many.npz", **{name: rng.standard_normal(6000) for name in "abc"}, fs=RATE_HZ)  # type: ignore[arg-type]

    def source(name: str, use: Any = "split") -> Source:
        chosen: dict[str, Any] = {"variables": (name,)} if several_names else {"variable": name}
        return Source((str(tmp_path / "many.npz"),), use=use, **chosen)

    for uses in (("split", "split", "split"), ("train", "train", "test")):
        apart = tuple(map(source, "abc", uses))
        with pytest.raises(DataError, match=r"the same recording as clean.*pin its channels or variables to one use"):
            load(dataclasses.replace(several, clean=(*several.clean, *apart)))
    pinned = tuple(source(name, "train") for name in "ab")
    corpus = load(dataclasses.replace(several, clean=(*several.clean, *pinned), noise=(*several.noise, source("c"))))
    assert names(corpus.splits["train"].clean).count("many.npz") == 2
    with pytest.raises(DataError, match=r"listed as noise.*the same recording as clean"):
        load(dataclasses.replace(several, clean=(*several.clean, *pinned), noise=(*several.noise, source("a"))))


def test_mismatched_rates_are_resampled(write: Write) -> None:
    clean = [write(f"c{i}.npz", i, rate_hz=rate_hz) for i, rate_hz in enumerate((400.0, 1000.0, 2000.0))]
    noise = [write(f"n{i}.npz", 9 + i, rate_hz=750.0) for i in range(3)]
    corpus = load(config(sources(*clean), sources(*noise)))
    for use in SPLITS:
        for segment in (*corpus.splits[use].clean, *corpus.splits[use].noise):
            assert segment.n_samples == 12 * RATE_HZ


@pytest.mark.parametrize("band_hz", [(25.0, 55.0), None])
def test_level_unit_gives_an_in_band_rms_of_one_and_raw_keeps_amplitudes(
    write: Write, band_hz: tuple[float, float] | None
) -> None:
    clean = [write(f"c{i}.npz", i, level=10.0**-i) for i in range(3)]
    noise = [write(f"n{i}.npz", 9 + i, level=100.0) for i in range(3)]
    unit = load(config(sources(*clean), sources(*noise), band_hz=band_hz))
    for use in SPLITS:
        for segment in (*unit.splits[use].clean, *unit.splits[use].noise):
            assert np.sqrt(np.mean(segment.in_band.astype(np.float64) ** 2)) == pytest.approx(1, abs=1e-5)
    raw = load(config(sources(*clean), sources(*noise), band_hz=None, level="raw"))
    for use in SPLITS:
        for segment in raw.splits[use].clean:
            assert np.array_equal(segment.signals, np.load(segment.source)["signals"])


def test_references_that_a_clean_recording_lacks_are_zeros(write: Write) -> None:
    clean = [write(f"c{i}.npz", i) for i in range(3)]
    noise = [write(f"n{i}.npz", 9 + i, channels=("z", "x", "y")) for i in range(3)]
    corpus = load(config(sources(*clean), sources(*noise, channels=("z", "x", "y"))))
    assert corpus.n_channels == 3
    for use in SPLITS:
        assert not corpus.splits[use].clean[0].signals[1:].any()
        assert corpus.splits[use].noise[0].signals.all(axis=-1).any()


def test_noise_without_the_reference_channels_is_refused(write: Write) -> None:
    clean = [write(f"c{i}.npz", i, channels=("z", "x")) for i in range(3)]
    noise = [write(f"n{i}.npz", 9 + i, channels=("z", "x")) for i in range(3)]
    with pytest.raises(DataError, match=r"1 channels where 2 are asked for.*list them under its channels"):
        load(config(sources(*clean, channels=("z", "x")), sources(*noise)))


def test_a_window_longer_than_the_recording_is_refused(write: Write) -> None:
    short = write("short.npz", 1, seconds=0.5)
    with pytest.raises(DataError, match=r"short.npz: 0.50 s is shorter than one window of 500 samples \(1.00 s"):
        load(config(sources(short), sources(write("n.npz", 2, seconds=40))))


def test_too_few_windows_for_a_split_in_time_are_refused_with_what_is_needed(write: Write) -> None:
    data = config(sources(write("c.npz", 1, seconds=6)), sources(write("n.npz", 2, seconds=40)))
    with pytest.raises(
        DataError, match=r"c.npz has 6.0 s, and splitting it in time with guard gaps needs 7.0 s"
    ) as got:
        load(data)
    needed_s = float(re.findall(r"needs ([\d.]+) s", str(got.value))[0])
    load(config(sources(write("c.npz", 1, seconds=needed_s + 0.1)), data.noise))


def test_a_split_without_recordings_is_refused(write: Write) -> None:
    clean = sources(write("c.npz", 1, seconds=40), use="train")
    with pytest.raises(DataError, match="too few windows: validation has no clean recording"):
        load(config(clean, sources(write("n.npz", 2, seconds=40))))


def test_a_file_is_found_once_by_overlapping_globs_and_by_a_name_with_brackets(write: Write, tmp_path: Path) -> None:
    write("a.npz", 1)
    bracketed = write("run[1].npz", 2)
    found = find(Source((str(tmp_path / "*.npz"), str(tmp_path / "a*.npz"), str(bracketed))))
    assert [path.name for path in found] == ["a.npz", "run[1].npz"]


def test_an_ecg_rule_that_does_not_fit_the_name_is_refused(write: Write) -> None:
    data = config(sources(write("c.npz", 1), ecg=EcgRule("_PCG", "_ECG")), sources(write("n.npz", 2)))
    with pytest.raises(DataError, match="does not hold '_PCG'"):
        load(data)


def test_a_split_that_is_not_needed_may_be_empty_and_a_needed_one_may_not(several: DataConfig) -> None:
    """An evaluation asks for the one split that it scores."""
    pinned = dataclasses.replace(
        several,
        clean=tuple(dataclasses.replace(source, use="test") for source in several.clean),
        noise=tuple(dataclasses.replace(source, use="test") for source in several.noise),
    )
    corpus = load(pinned, ("test",))
    assert {use: len(split.clean) for use, split in corpus.splits.items()} == {"train": 0, "validation": 0, "test": 5}
    with pytest.raises(DataError, match="train has no clean"):
        load(pinned)
    with pytest.raises(DataError, match="validation has no clean"):
        load(pinned, ("validation", "test"))
