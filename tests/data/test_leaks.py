"""What lies in two splits is found: groups, parts of one recording, and copies that are not the same samples."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.config import DataConfig, Source
from data.corpus import Corpus, Segment, Split, load
from data.filters import bandpass, resample
from data.leaks import MAX_RECORDINGS, find_leaks, near_pairs
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from data.synthetic.recordings import SynthConfig, simulate

Floats = NDArray[np.float64]
RATE_HZ = 250.0
OWN_HZ = 1000.0


def segment(samples: Floats, name: str, from_hz: float = OWN_HZ) -> Segment:
    band = bandpass(resample(samples[None], from_hz, RATE_HZ), RATE_HZ, 25.0, 55.0)
    return Segment(band, band[0], Path(name))


def heart(session: int, speed_kmh: int | None = None) -> Floats:
    """Half a minute of a generated driver in a generated car."""
    recording, _ = simulate(SynthConfig(seed=7, minutes=0.5, sessions=9), speed_kmh, session)
    return np.asarray(recording.signals[0], np.float64)


def with_noise(samples: Floats, snr_db: float, seed: int = 3) -> Floats:
    noise = np.random.default_rng(seed).standard_normal(samples.size)
    size, of_noise = (float(np.std(bandpass(x[None], OWN_HZ, 25.0, 55.0))) for x in (samples, noise))
    return samples + noise * size / of_noise * 10 ** (-snr_db / 20)


@pytest.mark.parametrize("speed_kmh", [None, 60], ids=["heart", "driving"])
@pytest.mark.parametrize(
    ("copy", "rate_hz"),
    [
        (lambda x: -30.0 * x, OWN_HZ),
        (lambda x: x[7313:], OWN_HZ),
        (lambda x: x[:-9001], OWN_HZ),
        (lambda x: with_noise(x, 10.0), OWN_HZ),
        (lambda x: 0.1 * with_noise(x, 10.0)[5003:], OWN_HZ),
        (lambda x: resample(x, OWN_HZ, 433.0), 433.0),
        (lambda x: np.concatenate([heart(5, 30), x]), OWN_HZ),
    ],
    ids=["rescaled", "late", "short", "noisy", "rescaled, late and noisy", "at another rate", "in a longer one"],
)
def test_a_copy_in_another_split_is_found(
    speed_kmh: int | None, copy: Callable[[Floats], Floats], rate_hz: float
) -> None:
    own = heart(1, speed_kmh)
    found = [("train", segment(own, "a")), ("test", segment(copy(own), "b", rate_hz))]
    ((pair, value),) = near_pairs(found, RATE_HZ).items()
    assert pair == ("a (train)", "b (test)")
    assert 0.9 < value <= 1.0
    assert near_pairs([("train", s) for _, s in found], RATE_HZ) == {}


def test_different_persons_cars_and_drives_are_no_copies() -> None:
    found = [
        (("train", "test")[i % 2], segment(heart(session, speed), f"{session} {speed}"))
        for i, (session, speed) in enumerate((n, s) for s in (None, 0, 100) for n in range(1, 6))
    ]
    assert near_pairs(found, RATE_HZ) == {}


def test_independent_noise_clicks_and_mains_hum_are_no_copies() -> None:
    """Any two clicks, and any two tones of one frequency, have the same shape in the band."""
    rng = np.random.default_rng(2)
    hum = 30 * np.sin(2 * np.pi * 50 * np.arange(30_000) / OWN_HZ)
    click = np.zeros(30_000)
    click[[9_000, 21_000]] = 3000.0
    for added in (np.zeros(30_000), hum, click):
        found = [
            (use, segment(rng.standard_normal(30_000) + added, str(i)))
            for i, use in enumerate(("train", "train", "validation", "test"))
        ]
        assert near_pairs(found, RATE_HZ) == {}


def test_parts_of_one_recording_are_not_compared() -> None:
    """Whatever repeats in it, it is named once, as divided in time."""
    found = [(use, segment(heart(1), "a")) for use in ("train", "test")]
    assert near_pairs(found, RATE_HZ) == {}


def test_silence_and_recordings_of_a_second_are_no_copies() -> None:
    for samples in (np.zeros(30_000), np.random.default_rng(1).standard_normal(1000)):
        found = [("train", segment(samples, "a")), ("test", segment(samples, "b"))]
        assert near_pairs(found, RATE_HZ) == {}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, int], str]:
    """Writes 12 s of white noise."""

    def make(name: str, seed: int) -> str:
        path = tmp_path / name
        samples = np.random.default_rng(seed).standard_normal((1, 6000)).astype(np.float32)
        write_npz(Recording(samples, 500.0, ("z",), path), path)
        return str(path)

    return make


def corpus(clean: tuple[Source, ...], noise: tuple[Source, ...]) -> Corpus:
    return load(DataConfig(clean, noise, rate_hz=500.0, window_samples=500))


def test_independent_recordings_are_not_warned_of(write: Callable[[str, int], str]) -> None:
    files = [write(f"{i}.npz", i) for i in range(6)]
    leaks = find_leaks(corpus((Source(tuple(files[:3])),), (Source(tuple(files[3:])),)))
    assert (leaks.warnings, leaks.notes) == ((), ())


def test_a_group_in_two_splits_by_pins_is_warned_of(write: Callable[[str, int], str]) -> None:
    files = [write(f"s{i}_run{j}.npz", 10 * i + j) for i in range(1, 6) for j in range(2)]
    noise = (Source(tuple(write(f"n{i}.npz", 90 + i) for i in range(3))),)
    pinned = (
        Source((files[0],), use="train", group="s*"),
        Source((files[1],), use="test", group="s*"),
        Source(tuple(files[2:]), group="s*"),
    )
    (warning,) = find_leaks(corpus(pinned, noise)).warnings
    assert "group 's1' is in train and test" in warning


def test_a_recording_divided_in_time_is_warned_of(write: Callable[[str, int], str]) -> None:
    clean, noise = (Source((write("c.npz", 1),)),), (Source(tuple(write(f"n{i}.npz", 9 + i) for i in range(3))),)
    (warning,) = find_leaks(corpus(clean, noise)).warnings
    assert "c.npz: divided in time" in warning and "three clean recordings" in warning


def test_beyond_a_number_of_recordings_signals_are_not_compared_and_a_note_says_so(
    write: Callable[[str, int], str],
) -> None:
    files = [write(f"{i}.npz", i) for i in range(6)]
    loaded = corpus((Source(tuple(files[:3])),), (Source(tuple(files[3:])),))
    train = loaded.splits["train"]
    many = Split(train.clean * (MAX_RECORDINGS + 1), train.noise)
    leaks = find_leaks(dataclasses.replace(loaded, splits={**loaded.splits, "train": many}))
    assert leaks.warnings == ()
    (note,) = leaks.notes
    assert "203 clean recordings are not compared" in note


def test_longer_excerpts_tell_steady_hearts_apart() -> None:
    """Of two generated drivers; the copy of a recording is found by either."""
    found = [("train", segment(heart(1)[:12_000], "a")), ("test", segment(heart(2)[:12_000], "b"))]
    values = [near_pairs(found, RATE_HZ, 0.0, share)[("a (train)", "b (test)")] for share in (0.5, 5 / 6)]
    assert values[1] < values[0]
    copies = [("train", segment(heart(1)[:12_000], "a")), ("test", segment(2 * heart(1)[:12_000], "b"))]
    for share in (0.5, 5 / 6):
        assert near_pairs(copies, RATE_HZ, share=share)[("a (train)", "b (test)")] > 0.99
