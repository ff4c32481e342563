"""NumPy's files of one array: which axis is time, and what is no signal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import DataError
from data.readers.read import read, variables

NOISE = np.random.default_rng(0).uniform(-1, 1, (3, 500)).astype(np.float32)


@pytest.mark.parametrize(
    "stored", [NOISE, NOISE.T, np.asfortranarray(NOISE), NOISE.astype(">f8"), NOISE[0], NOISE[:1], NOISE[:1].T]
)
def test_the_longer_axis_is_time(stored: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", stored)
    recording = read(tmp_path / "x.npy", rate_hz=100.0)
    np.testing.assert_array_equal(recording.signals, NOISE if stored.size == NOISE.size else NOISE[:1])
    assert [v.shape for v in variables(tmp_path / "x.npy")] == [(500,)] * len(recording.channels)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_all_numeric_types_are_read(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(100).astype(dtype))
    assert read(tmp_path / "x.npy", rate_hz=100.0).signals.tolist() == [list(range(100))]


def test_the_numeric_fields_of_records_are_the_channels(tmp_path: Path) -> None:
    records = np.zeros(500, [("seat", "f4"), ("label", "U3"), ("ecg", "i2"), ("pair", "f4", (2,)), ("belt", ">f8")])
    records["seat"], records["ecg"], records["belt"] = NOISE[0], np.arange(500), NOISE[1]
    np.save(tmp_path / "x.npy", records)
    recording = read(tmp_path / "x.npy", rate_hz=100.0)
    assert recording.channels == ("seat", "belt")
    np.testing.assert_array_equal(recording.signals, NOISE[:2])
    assert recording.ecg is not None
    assert recording.ecg.tolist() == list(range(500))


@pytest.mark.parametrize(("name", "step"), [("time", 0.005), ("t_ms", 5), ("time [us]", 5000)])
def test_the_times_in_records_give_the_rate_and_are_no_channel(name: str, step: float, tmp_path: Path) -> None:
    records = np.zeros(500, [(name, "f8"), ("seat", "f4")])
    records[name], records["seat"] = step * np.arange(500), NOISE[0]
    np.save(tmp_path / "x.npy", records)
    recording = read(tmp_path / "x.npy")
    assert (recording.channels, recording.rate_hz) == (("seat",), 200.0)
    assert recording.notes == (f"{name} is a clock of 200 Hz, and left out",)


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (np.eye(5), "5 x 5 is not"),
        (np.zeros((4, 5, 6)), "4 x 5 x 6 is not"),
        (np.float64(3), "scalar is not"),
        (np.zeros((0, 3)), "without samples"),
        (NOISE * 1j, "real numbers are needed"),
        (np.array(["a", "b"]), "real numbers are needed"),
        (np.array([True, False]), "real numbers are needed"),
        (np.zeros(5, [("name", "U3")]), "numeric fields are needed"),
        (np.zeros((5, 2), [("x", "f4")]), "numeric fields are needed"),
    ],
)
def test_other_arrays_are_refused(stored: Any, found: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", stored)
    with pytest.raises(DataError, match=found) as got:
        read(tmp_path / "x.npy", rate_hz=100.0)
    assert "\n" not in str(got.value)


class Trap:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([Trap(tmp_path / "sprung"), None]))
    for action in (lambda: read(tmp_path / "x.npy", rate_hz=100.0), lambda: variables(tmp_path / "x.npy")):
        with pytest.raises(DataError, match="never unpickled"):
            action()
    assert not (tmp_path / "sprung").exists()


def test_the_rate_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", NOISE)
    with pytest.raises(DataError, match="give rate_hz="):
        read(tmp_path / "x.npy")


def test_a_small_file_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(117) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"x\.npy: ") as got:
        read(tmp_path / "x.npy", rate_hz=100.0)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("turned", [False, True])
def test_a_column_that_rises_evenly_is_a_clock_and_gives_the_rate(turned: bool, tmp_path: Path) -> None:
    columns = np.vstack([np.arange(500) / 200, NOISE])
    np.save(tmp_path / "x.npy", columns if turned else columns.T)
    recording = read(tmp_path / "x.npy")
    assert (recording.rate_hz, recording.channels) == (200.0, ("ch1", "ch2", "ch3"))
    np.testing.assert_array_equal(recording.signals, NOISE)
    assert any("1 of the array is a clock" in note for note in recording.notes)


def test_a_column_that_counts_samples_is_left_out_and_gives_no_rate(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.vstack([np.arange(500), NOISE]))
    with pytest.raises(DataError, match=r"counts the samples.*give rate_hz="):
        read(tmp_path / "x.npy")
    np.testing.assert_array_equal(read(tmp_path / "x.npy", rate_hz=100.0).signals, NOISE)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_rate_that_contradicts_the_clock_of_a_column_is_refused(scale: float, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.vstack([scale * np.arange(500) / 200, NOISE]))
    assert read(tmp_path / "x.npy", rate_hz=200.0).signals.shape == (3, 500)
    with pytest.raises(DataError, match="rate_hz"):
        read(tmp_path / "x.npy", rate_hz=250.0)


def test_a_column_of_times_with_a_gap_is_refused_and_no_channel(tmp_path: Path) -> None:
    times = np.arange(500) / 200 + 0.4 * (np.arange(500) > 300)
    np.save(tmp_path / "x.npy", np.vstack([times, NOISE]))
    records = np.zeros(500, [("when_ms", "f8"), ("seat", "f4")])
    records["when_ms"], records["seat"] = 1000 * times, NOISE[0]
    np.save(tmp_path / "y.npy", records)
    for name in ("x.npy", "y.npy"):
        with pytest.raises(DataError, match="does not rise in equal steps"):
            read(tmp_path / name, rate_hz=200.0)


def test_a_field_that_counts_or_holds_dates_is_no_channel_and_one_without_a_number_is_named(tmp_path: Path) -> None:
    records = np.zeros(500, [("k", "i4"), ("when", "M8[ms]"), ("seat", "f4"), ("label", "U3")])
    records["k"], records["seat"] = np.arange(500), NOISE[0]
    records["when"] = np.datetime64("2024-02-03", "ms") + np.arange(500) * np.timedelta64(5, "ms")
    np.save(tmp_path / "x.npy", records)
    recording = read(tmp_path / "x.npy")
    assert recording.channels == ("seat",)
    assert recording.rate_hz == pytest.approx(200.0)
    assert any("label" in note for note in recording.notes)
