"""Files of named arrays, .mat and .npz: channels by name, rates, clocks, and what is no signal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.filters import resample
from data.readers.names import is_clock_name, is_rate_name, rate_from
from data.readers.read import read

N = 3000
NOISE = np.random.default_rng(1).standard_normal((6, N)).astype(np.float32).astype(np.float64)
LEFT, RIGHT = NOISE[0], NOISE[1]
TIME_S = np.arange(N) / 2000.0


def save_npz(path: Path, held: dict[str, Any]) -> None:
    np.savez(path, **held)


@pytest.fixture(params=["v5.mat", "compressed.mat", "v73.mat", "x.npz"])
def save(
    request: pytest.FixtureRequest, tmp_path: Path, mat73: Callable[..., None]
) -> Callable[[dict[str, Any]], Path]:
    """Writes arrays by name in each format, and returns the file."""
    path: Path = tmp_path / request.param

    def write(held: dict[str, Any]) -> Path:
        if path.suffix == ".npz":
            save_npz(path, held)
        elif path.name == "v73.mat":
            mat73(path, {name: np.atleast_2d(value) for name, value in held.items()})
        else:
            scipy.io.savemat(path, held, do_compression=path.name.startswith("c"))
        return path

    return write


def refused(path: Path, *words: str, **options: Any) -> None:
    """Check that a file is refused in one line with these words."""
    with pytest.raises(DataError) as raised:
        read(path, **options)
    text = str(raised.value)
    assert "\n" not in text
    for word in (str(path), *words):
        assert word in text


def test_channels_by_name_choose_among_variables_that_may_each_be_the_signal(save: Callable[..., Path]) -> None:
    """One variable for each channel is one of the ways in which a file has channels of these names."""
    path = save({"left": LEFT, "right": RIGHT, "other": NOISE[2], "fs": 2000.0})
    recording = read(path, channels=("right", "left"))
    assert (recording.channels, recording.rate_hz) == (("right", "left"), 2000.0)
    np.testing.assert_array_equal(recording.signals, [RIGHT, LEFT])
    refused(path, "more than one variable may be the signal", channels=("right", "wrong"))
    refused(path, "more than one variable may be the signal")


def test_named_variables_are_channels_in_the_order_named(save: Callable[..., Path]) -> None:
    path = save({"left": LEFT, "right": RIGHT, "fs": 2000.0})
    recording = read(path, variables=("right", "left"))
    assert recording.channels == ("right", "left")
    assert recording.rate_hz == 2000.0
    np.testing.assert_array_equal(recording.signals, [RIGHT, LEFT])
    assert read(path, variables=("right", "left"), channels=("left",)).channels == ("left",)


def test_named_variables_of_different_lengths_are_refused_with_the_lengths(save: Callable[..., Path]) -> None:
    path = save({"left": LEFT, "right": RIGHT[:-1], "fs": 2000.0})
    refused(path, "left 3000", "right 2999", variables=("left", "right"))


def test_an_ecg_beside_named_variables_is_attached_and_one_among_them_is_a_channel(save: Callable[..., Path]) -> None:
    path = save({"left": LEFT, "right": RIGHT, "ecg": NOISE[2], "fs": 2000.0})
    recording = read(path, variables=("left", "right"))
    assert recording.ecg is not None
    np.testing.assert_array_equal(recording.ecg, NOISE[2])
    assert read(path, variables=("left", "ecg")).channels == ("left", "ecg")


@pytest.mark.parametrize("names", [("left", "left"), ("left", "r*"), ("left", "matrix"), ("left", "fs"), ("gone",)])
def test_names_that_are_no_channels_are_refused(save: Callable[..., Path], names: tuple[str, ...]) -> None:
    refused(save({"left": LEFT, "right": RIGHT, "matrix": NOISE, "fs": 2000.0}), names[-1], variables=names)


def test_several_vectors_of_one_length_are_not_decided_between_and_variables_is_proposed(
    save: Callable[..., Path],
) -> None:
    refused(save({"left": LEFT, "right": RIGHT, "fs": 2000.0}), "left", "right", "variables=")


@pytest.mark.parametrize(
    ("name", "value", "rate_hz"),
    [
        ("Fs", 2000, 2000),
        ("SampleRate", 2000, 2000),
        ("sampling_frequency_Hz", 2000, 2000),
        ("srate", 2000, 2000),
        ("fs_kHz", 2, 2000),
        ("dt", 0.0005, 2000),
        ("SamplingPeriod", 0.0005, 2000),
        ("sample_interval_ms", 0.5, 2000),
    ],
)
def test_a_rate_is_found_by_any_of_its_names(save: Callable[..., Path], name: str, value: float, rate_hz: int) -> None:
    assert read(save({"acc": LEFT, name: value})).rate_hz == pytest.approx(rate_hz)


def test_names_that_mean_no_rate_are_none() -> None:
    for name in ("freq", "first", "heart_rate", "gain", "its", "s", ""):
        assert not is_rate_name(name) and rate_from(name, 1.0) is None
    for name in ("torque", "temperature", "t_end_s", "timing"):
        assert not is_clock_name(name)


def test_rates_that_differ_and_rates_that_are_none_are_refused(save: Callable[..., Path]) -> None:
    refused(save({"acc": LEFT, "fs": 2000.0, "dt": 0.001}), "two rates", "2000", "1000")
    refused(save({"acc": LEFT, "fs": 0.0}), "fs", "no rate")


def test_a_rate_named_for_one_variable_is_its_own(save: Callable[..., Path]) -> None:
    path = save({"left": LEFT, "right": RIGHT, "left_fs": 500.0, "fs": 2000.0})
    assert read(path, variable="left").rate_hz == 500.0
    assert read(path, variable="right").rate_hz == 2000.0
    refused(path, "differ in duration", "left 6 s", "right 1.5 s", variables=("left", "right"))


def test_variables_of_several_rates_are_brought_to_that_of_the_first_channel(save: Callable[..., Path]) -> None:
    """Each states its own; one sample of the slowest is allowed between their durations. The ECG keeps its own."""
    slow = NOISE[2, : N // 4]
    held = {"left": LEFT, "left_fs": 2000.0, "slow": slow, "slow_fs": 500.0, "ecg": NOISE[3, : N // 8]}
    path = save({**held, "ecg_fs": 250.0})
    recording = read(path, variables=("left", "slow"))
    assert (recording.rate_hz, recording.lowest_rate_hz, recording.ecg_rate_hz) == (2000.0, 500.0, 250.0)
    np.testing.assert_array_equal(recording.signals[0], LEFT)
    np.testing.assert_array_equal(recording.signals[1], resample(slow, 500.0, 2000.0))
    assert "channel slow is resampled from 500 Hz to 2000 Hz" in recording.notes
    assert read(path, variables=("slow", "left")).rate_hz == 500.0
    assert read(path, variables=("left", "slow"), channels=("slow",)).rate_hz == 500.0


def test_of_variables_of_several_rates_each_must_state_its_own(save: Callable[..., Path]) -> None:
    held = {"left": LEFT, "left_fs": 2000.0, "slow": NOISE[2, : N // 4], "slow_fs": 500.0, "other": RIGHT}
    refused(save(held), "other states no rate", variables=("left", "slow", "other"))


@pytest.mark.parametrize("name", ["time", "t", "timestamps", "Time_s"])
def test_a_vector_of_times_gives_the_rate_and_is_no_signal(save: Callable[..., Path], name: str) -> None:
    recording = read(save({"acc": LEFT, name: TIME_S}))
    assert recording.rate_hz == 2000.0
    np.testing.assert_array_equal(recording.signals, [LEFT])
    assert any(name in note for note in recording.notes)


def test_times_in_a_unit_by_their_name_are_read_in_it(save: Callable[..., Path]) -> None:
    assert read(save({"acc": LEFT, "t_ms": TIME_S * 1000})).rate_hz == 2000.0


def test_times_that_contradict_the_stated_rate_are_refused_with_both(save: Callable[..., Path]) -> None:
    refused(save({"acc": LEFT, "time": TIME_S, "fs": 1000.0}), "2000", "1000")
    assert read(save({"acc": LEFT, "time": TIME_S, "fs": 2000.5})).rate_hz == 2000.5


def test_times_with_a_gap_are_refused(save: Callable[..., Path]) -> None:
    refused(save({"acc": LEFT, "time": TIME_S + 0.25 * (TIME_S > 1), "fs": 2000.0}), "time", "equal steps")


def test_a_clock_is_refused_as_a_signal(save: Callable[..., Path]) -> None:
    path = save({"acc": LEFT, "time": TIME_S})
    refused(path, "clock", variable="time")
    refused(path, "clock", variables=("acc", "time"))


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_a_column_that_rises_evenly_is_left_out_and_gives_the_rate(
    save: Callable[..., Path], place: int, turned: bool
) -> None:
    columns = np.insert(NOISE[:3], place, TIME_S, axis=0)
    recording = read(save({"acc": columns if turned else columns.T}))
    assert recording.rate_hz == 2000.0
    np.testing.assert_array_equal(recording.signals, NOISE[:3])
    assert recording.channels == ("ch1", "ch2", "ch3")
    assert any(f"{place + 1} of acc is a clock" in note for note in recording.notes)


def test_a_column_that_counts_samples_is_left_out_and_gives_no_rate(save: Callable[..., Path]) -> None:
    path = save({"acc": np.column_stack([np.arange(N), LEFT, RIGHT])})
    refused(path, "rate_hz=")
    np.testing.assert_array_equal(read(path, rate_hz=500.0).signals, NOISE[:2])


def test_a_column_of_times_must_agree_with_the_stated_rate(save: Callable[..., Path]) -> None:
    columns = np.column_stack([TIME_S, LEFT, RIGHT])
    assert read(save({"acc": columns, "fs": 2000})).rate_hz == 2000.0
    refused(save({"acc": columns, "fs": 1900}), "2000", "1900")


@pytest.mark.parametrize("fault", ["gap", "nan"])
def test_a_column_of_times_with_a_gap_is_refused_not_read_as_a_signal(save: Callable[..., Path], fault: str) -> None:
    times = TIME_S + 0.25 * (TIME_S > 1)
    if fault == "nan":
        times = np.where(np.arange(N) == 77, np.nan, TIME_S)
    refused(save({"acc": np.column_stack([times, LEFT, RIGHT]), "fs": 2000}), "column 1 of acc")


def test_signals_are_no_clocks(save: Callable[..., Path]) -> None:
    """Neither constant ones, nor those that rise unevenly."""
    columns = np.column_stack([np.ones(N), np.cumsum(np.abs(LEFT)), RIGHT])
    assert read(save({"acc": columns, "fs": 2000})).signals.shape == (3, N)


def test_three_axes_are_refused_by_shape_unless_one_has_length_one(save: Callable[..., Path]) -> None:
    refused(save({"acc": NOISE.reshape(2, 3, N), "fs": 2000.0}), "2 x 3 x 3000")
    np.testing.assert_array_equal(read(save({"acc": NOISE.reshape(6, 1, N), "fs": 2000.0})).signals, NOISE)


def test_integers_are_read_exactly_and_a_large_mean_is_removed(save: Callable[..., Path]) -> None:
    counts = np.round(LEFT * 1000).astype(np.int32) + 2**30
    recording = read(save({"acc": counts, "fs": 2000.0}))
    np.testing.assert_allclose(recording.signals[0], counts - counts.mean(), atol=1e-3)
    assert any("mean" in note for note in recording.notes)


def test_logical_numbers_are_no_signal(save: Callable[..., Path]) -> None:
    refused(save({"flag": LEFT > 0, "fs": 2000.0}), "no variable holds a signal")


def test_complex_numbers_are_refused(save: Callable[..., Path]) -> None:
    refused(save({"acc": LEFT * 1j, "fs": 2000.0}), "no array of two or more real numbers", variable="acc")


def test_pieces_are_joined_in_the_order_of_the_numbers_in_their_names(save: Callable[..., Path]) -> None:
    held = {f"part_{i}": LEFT[300 * i : 300 * (i + 1)] for i in range(10)} | {"part_10": LEFT[3000 - 300 :], "fs": 2e3}
    held["part_9"] = LEFT[2700:2850]
    held["part_10"] = LEFT[2850:]
    np.testing.assert_array_equal(read(save(held), variable="part_*").signals, [LEFT])


def test_objects_in_an_archive_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=np.array([{"a": 1}, None], dtype=object), fs=2000.0)
    refused(tmp_path / "x.npz", "object", variable="acc")


def test_variables_of_a_glob_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(300)
    held = {"p1": noise, "p2": noise * 1j, "p3": noise > 0, "p4": "a note", "p5": -noise}
    scipy.io.savemat(tmp_path / "x.mat", held)
    np.savez(tmp_path / "x.npz", **held)  # type: ignore[arg-type]
    for name in ("x.mat", "x.npz"):
        recording = read(tmp_path / name, variable="p*", rate_hz=500.0)
        assert recording.signals.shape == (1, 600)
        (note,) = (note for note in recording.notes if note.startswith("'p*' also matches"))
        assert all(f"p{i} (" in note for i in (2, 3, 4)) and "p5" not in note


def test_a_variable_of_the_lab_by_a_glob_names_what_else_matches(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((300, 1))
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": noise, "HS_note": "a note"})
    assert any("HS_note" in note for note in read(tmp_path / "x.mat", variable="HS*").notes)
