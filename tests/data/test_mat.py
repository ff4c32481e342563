"""Distinguish MATLAB layouts, and refuse files whose layout is unclear."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.filters import bandpass
from data.readers.read import read, variables
from data.synthetic.recordings import SynthConfig, simulate, synthesise

NOISE = np.random.default_rng(1).standard_normal(6000)


def test_segments_are_joined_in_row_order(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])})
    assert read(tmp_path / "x.mat").signals.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_v73_segments_are_joined_in_the_rows_that_matlab_shows(
    tmp_path: Path, mat73: Callable[[Path, dict[str, Any]], None]
) -> None:
    mat73(tmp_path / "x.mat", {"HS_data": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])})
    assert read(tmp_path / "x.mat").signals.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert [(v.name, v.shape, v.dtype) for v in variables(tmp_path / "x.mat")] == [("HS_data", (2, 3), "double")]


def test_a_file_of_ecg_segments_alone_is_one_channel_named_ecg(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "ECG_data_stop.mat", {"ECG_data": NOISE.reshape(4, -1)})
    recording = read(tmp_path / "ECG_data_stop.mat")
    assert recording.channels == ("ECG",)
    assert recording.ecg is None


def test_the_lab_s_ecg_file_is_attached_to_its_heart_sounds(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "HS_data_stop.mat", {"HS_data": NOISE.reshape(4, -1)})
    scipy.io.savemat(tmp_path / "ECG_data_stop.mat", {"ECG_data": NOISE[::-1].reshape(4, -1)})
    recording = read(tmp_path / "HS_data_stop.mat", ecg=tmp_path / "ECG_data_stop.mat")
    assert recording.ecg is not None
    np.testing.assert_array_equal(recording.ecg, NOISE[::-1].astype(np.float32))
    assert recording.ecg_rate_hz == 1000.0


def test_a_name_says_nothing_only_variables_do(tmp_path: Path) -> None:
    """A 240517 variable in a file called as one of 240219 is still read as 240517."""
    scipy.io.savemat(tmp_path / "100km.mat", {"HS_data": NOISE})
    assert read(tmp_path / "100km.mat").rate_hz == 1000.0


@pytest.mark.parametrize("fault", ["gap", "nan", "back"])
def test_eight_columns_whose_time_is_uneven_are_refused_not_guessed(tmp_path: Path, fault: str) -> None:
    columns = np.random.default_rng(0).standard_normal((2000, 8))
    columns[:, 0] = np.arange(2000) / 1000
    if fault == "gap":
        columns[1000:, 0] += 0.001
    elif fault == "nan":
        columns[10, 0] = np.nan
    else:
        columns[:, 0] = columns[::-1, 0]
    scipy.io.savemat(tmp_path / "x.mat", {"data": columns})
    with pytest.raises(DataError, match="Time"):
        read(tmp_path / "x.mat")
    with pytest.raises(DataError, match="Time"):
        read(tmp_path / "x.mat", layout="240219")
    assert read(tmp_path / "x.mat", layout="generic", rate_hz=1000.0, channels=("ch2",)).signals.shape == (
        1,
        2000,
    )


def test_eight_columns_written_the_other_way_round_are_not_taken_for_segments(tmp_path: Path) -> None:
    columns = np.random.default_rng(0).standard_normal((2000, 8))
    columns[:, 0] = np.arange(2000) / 1000
    scipy.io.savemat(tmp_path / "x.mat", {"data": columns.T})
    recording = read(tmp_path / "x.mat")
    assert recording.rate_hz == 1000.0
    np.testing.assert_array_equal(recording.signals[0], columns[:, 2].astype(np.float32))


def test_a_stated_layout_rules(tmp_path: Path) -> None:
    matrix = NOISE.reshape(2, 3000)
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": matrix, "seat": matrix})
    assert read(tmp_path / "x.mat").signals.shape == (1, 6000)
    assert read(tmp_path / "x.mat", variable="seat", layout="240826").signals.shape == (1, 6000)
    assert read(tmp_path / "x.mat", variable="seat", rate_hz=500.0).signals.shape == (2, 3000)
    for layout, why in (("240219", "samples x 8"), ("240517", "samples x 1"), ("240818", "240826")):
        with pytest.raises(DataError, match=why):
            read(tmp_path / "x.mat", layout=layout)


def test_two_signals_are_not_decided_between(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "lab.mat", {"HS_data": NOISE, "Noise_data": NOISE[::-1]})
    scipy.io.savemat(tmp_path / "any.mat", {"left": NOISE, "right": NOISE[::-1], "fs": 1000})
    for name, known in (("lab.mat", "Noise_data"), ("any.mat", "right")):
        with pytest.raises(DataError, match="variable=") as raised:
            read(tmp_path / name)
        assert f"{known} (" in str(raised.value) and "6000" in str(raised.value)
        recording = read(tmp_path / name, variable=known)
        np.testing.assert_array_equal(recording.signals[0], NOISE[::-1].astype(np.float32))


def test_a_near_name_is_suggested(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": NOISE})
    with pytest.raises(DataError, match="did you mean 'HS_data'"):
        read(tmp_path / "x.mat", variable="hs_dat")


def test_what_holds_no_signal_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"settings": {"gain": 2.0}, "names": "seat", "fs": 1000.0})
    with pytest.raises(DataError, match="no variable holds a signal") as raised:
        read(tmp_path / "x.mat")
    assert "settings" in str(raised.value) and "struct" in str(raised.value)
    with pytest.raises(DataError, match="no array of two or more real numbers"):
        read(tmp_path / "x.mat", variable="settings")


def test_pieces_that_match_a_glob_are_joined_by_name(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"b_2": NOISE[3000:], "b_1": NOISE[:3000], "a": np.eye(3)})
    recording = read(tmp_path / "x.mat", variable="b_*", rate_hz=1000.0)
    np.testing.assert_array_equal(recording.signals, [NOISE.astype(np.float32)])


def test_a_rate_in_the_file_beats_the_layout_s_default(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": NOISE, "fs": 4000})
    assert read(tmp_path / "x.mat").rate_hz == 4000.0
    with pytest.raises(DataError, match="4000"):
        read(tmp_path / "x.mat", rate_hz=1000.0)


def test_two_rates_that_differ_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"acc": NOISE, "fs": 4000, "sr": 1000})
    with pytest.raises(DataError, match="two rates"):
        read(tmp_path / "x.mat")


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": NOISE * 1e300})
    with pytest.raises(DataError, match="infinite"):
        read(tmp_path / "x.mat")


def test_integers_are_read_as_they_stand(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"Noise_data": np.array([-32768, 0, 32767], np.int16)})
    assert read(tmp_path / "x.mat").signals.tolist() == [[-32768, 0, 32767]]


def test_one_channel_of_a_large_v73_file_costs_a_few_columns_not_the_matrix(
    tmp_path: Path, mat73: Callable[[Path, dict[str, Any]], None]
) -> None:
    columns = np.random.default_rng(0).standard_normal((200_000, 8))
    columns[:, 0] = np.arange(200_000) / 32000
    mat73(tmp_path / "x.mat", {"data": columns})
    tracemalloc.start()
    try:
        recording = read(tmp_path / "x.mat", channels=("ch6z",))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(recording.signals[0], columns[:, 7].astype(np.float32))
    assert peak < 0.75 * columns.nbytes


def smooth(n_samples: int, seed: int = 2) -> Any:
    """Noise in the band of heart sounds."""
    return bandpass(np.random.default_rng(seed).standard_normal((1, n_samples)), 1000.0, 25.0, 55.0)[0]


@pytest.mark.parametrize("speed_kmh", [30, 100])
@pytest.mark.parametrize("minutes", [0.1, 0.2, 0.5])
def test_generated_segments_of_layout_240826_are_recognised(tmp_path: Path, speed_kmh: int, minutes: float) -> None:
    config = SynthConfig(seed=4, minutes=minutes, layout="240826", speeds_kmh=(speed_kmh,))
    path = next(p for p in synthesise(config, tmp_path) if "Noise" in p.name)
    recording = read(path)
    made = simulate(config, speed_kmh)[0].signals[0]
    np.testing.assert_array_equal(recording.signals[0], made[: made.size // 5120 * 5120])
    assert recording.channels == ("ch1z",)
    assert any("240826" in note for note in recording.notes)


def test_six_channels_as_long_as_a_segment_are_not_joined(tmp_path: Path) -> None:
    """They were recorded together, so they are alike sample by sample."""
    signals = simulate(SynthConfig(seed=4, minutes=0.1, layout="240826"), 30)[0].signals[:, :5120]
    scipy.io.savemat(tmp_path / "x.mat", {"data": signals})
    with pytest.raises(DataError, match=r"layout='240826'.*layout='generic' with rate_hz="):
        read(tmp_path / "x.mat")


def test_rows_that_continue_each_other_are_segments(tmp_path: Path) -> None:
    signal = smooth(8000)
    scipy.io.savemat(tmp_path / "x.mat", {"data": signal.reshape(4, 2000)})
    np.testing.assert_array_equal(read(tmp_path / "x.mat").signals, [signal])


@pytest.mark.parametrize("kind", ["white", "smooth", "faded", "white segments"])
def test_a_matrix_that_may_hold_segments_or_channels_is_refused_with_both_readings(tmp_path: Path, kind: str) -> None:
    white = np.random.default_rng(3).standard_normal((6, 4000))
    rows = np.stack([smooth(4000, seed) for seed in range(6)])
    faded = rows * np.hanning(4000)
    matrix = {"white": white, "smooth": rows, "faded": faded, "white segments": NOISE.reshape(4, -1)}[kind]
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"data": matrix})
    with pytest.raises(DataError, match=r"layout='240826'.*layout='generic' with rate_hz=") as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert read(path, layout="240826").signals.shape == (1, matrix.size)
    np.testing.assert_array_equal(read(path, layout="generic", rate_hz=2000.0).signals, matrix.astype(np.float32))


def test_more_than_sixteen_rows_are_segments(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"data": NOISE.reshape(20, 300)})
    assert read(tmp_path / "x.mat").signals.shape == (1, 6000)


def test_data_with_a_rate_beside_it_is_generic(tmp_path: Path) -> None:
    """Channels in rows at a stated rate are not joined at an assumed one."""
    for matrix in (NOISE.reshape(3, 2000), NOISE.reshape(3, 2000).T, NOISE.reshape(20, 300)):
        scipy.io.savemat(tmp_path / "x.mat", {"data": matrix, "SampleRate": 2000})
        recording = read(tmp_path / "x.mat")
        assert recording.rate_hz == 2000.0
        assert recording.signals.shape == tuple(sorted(matrix.shape))


def test_data_with_its_times_beside_it_is_generic(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"data": NOISE.reshape(3, 2000), "time": np.arange(2000) / 500})
    recording = read(tmp_path / "x.mat")
    assert recording.signals.shape == (3, 2000)
    assert recording.rate_hz == 500.0


def test_a_vector_named_data_states_no_rate(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"data": NOISE})
    with pytest.raises(DataError, match="rate_hz="):
        read(tmp_path / "x.mat")
    assert read(tmp_path / "x.mat", rate_hz=500.0).rate_hz == 500.0


def test_a_rate_beside_the_time_column_must_agree(tmp_path: Path) -> None:
    columns = np.random.default_rng(0).standard_normal((2000, 8))
    columns[:, 0] = np.arange(2000) / 1000
    scipy.io.savemat(tmp_path / "x.mat", {"data": columns, "fs": 1000})
    assert read(tmp_path / "x.mat").rate_hz == 1000.0
    scipy.io.savemat(tmp_path / "x.mat", {"data": columns, "fs": 2000})
    with pytest.raises(DataError, match=r"1000 Hz.*2000 Hz"):
        read(tmp_path / "x.mat")


def test_the_recognised_layout_and_what_was_assumed_are_noted(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": NOISE})
    notes = " / ".join(read(tmp_path / "x.mat").notes)
    assert "240517" in notes and "1000 Hz assumed" in notes


@pytest.mark.parametrize("name", ["HS_data", "Noise_data"])
def test_columns_under_the_lab_s_names_are_channels_and_not_segments(name: str, tmp_path: Path) -> None:
    """Joined in row order they would be one interleaved signal."""
    noise = np.random.default_rng(0).standard_normal((400, 3))
    scipy.io.savemat(tmp_path / "x.mat", {name: noise})
    with pytest.raises(DataError, match="no sampling rate in the file"):
        read(tmp_path / "x.mat")
    recording = read(tmp_path / "x.mat", rate_hz=2000.0)
    np.testing.assert_array_equal(recording.signals, noise.T.astype(np.float32))
    joined = read(tmp_path / "x.mat", layout="240826")
    assert joined.signals.shape == (1, 1200)


def test_no_rate_is_said_to_be_assumed_where_the_caller_gives_it(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"HS_data": NOISE})
    assert any("1000 Hz assumed" in note for note in read(tmp_path / "x.mat").notes)
    assert not any("assumed" in note for note in read(tmp_path / "x.mat", rate_hz=500.0).notes)
