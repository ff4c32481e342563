"""Texts beside a matrix that name its channels: they tell its axes, and none is dropped without a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.readers.arrays.npz import write_npz
from data.readers.read import read
from data.recording import Recording

NOISE = np.random.default_rng(3).standard_normal((3, 500)).astype(np.float32).astype(np.float64)
NAMES = ("seat", "belt", "floor")


@pytest.fixture(params=["v4.mat", "v5.mat", "compressed.mat", "v73.mat", "x.npz", "x.h5"])
def save(
    request: pytest.FixtureRequest, tmp_path: Path, mat73: Callable[..., None]
) -> Callable[[dict[str, Any]], Path]:
    """Writes arrays and texts by name in each format, and returns the file."""
    path: Path = tmp_path / request.param

    def write(held: dict[str, Any]) -> Path:
        if path.suffix == ".npz":
            np.savez(path, **held)
        elif path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                for name, value in held.items():
                    file[name] = list(value) if isinstance(value, tuple) else value
        elif path.name == "v73.mat":
            mat73(path, {name: _rows(value) for name, value in held.items()})
        else:
            is_4 = path.name.startswith("v4")  # which has matrices of characters, and no cells
            texts: Any = np.array if is_4 else lambda value: np.array(value, object)
            made = {name: texts(value) if isinstance(value, tuple) else value for name, value in held.items()}
            scipy.io.savemat(path, made, format="4" if is_4 else "5", do_compression=path.name.startswith("c"))
        return path

    return write


def _rows(value: Any) -> Any:
    if isinstance(value, tuple):
        return [*value]
    return value if isinstance(value, str) else np.atleast_2d(value)


@pytest.mark.parametrize("name", ["channels", "labels", "channel_names", "names", "columns", "acc_labels"])
def test_texts_beside_a_matrix_name_its_channels_and_the_ecg_among_them(save: Callable[..., Path], name: str) -> None:
    recording = read(save({"acc": NOISE.T, "fs": 500.0, name: ("seat", "ECG", "belt")}))
    assert recording.channels == ("seat", "belt")
    assert recording.ecg is not None
    np.testing.assert_array_equal(recording.ecg, NOISE[1])
    np.testing.assert_array_equal(recording.signals, NOISE[[0, 2]])


def test_names_of_other_number_are_noted_and_not_used(save: Callable[..., Path]) -> None:
    recording = read(save({"acc": NOISE, "fs": 500.0, "labels": ("seat", "belt")}))
    assert recording.channels == ("ch1", "ch2", "ch3")
    assert any("labels (seat, belt) are not used" in note for note in recording.notes)


def test_names_tell_which_axis_is_that_of_the_channels(save: Callable[..., Path]) -> None:
    """Where they fit the longer axis too."""
    few = NOISE[:, :2]
    recording = read(save({"acc": few, "fs": 500.0, "channels": NAMES}))
    assert recording.channels == NAMES
    np.testing.assert_array_equal(recording.signals, few)


def test_names_with_that_of_the_times_fit_a_matrix_with_and_without_them(save: Callable[..., Path]) -> None:
    names = ("time", *NAMES)
    path = save({"acc": np.vstack([np.arange(500) / 500, NOISE]).T, "channels": names})
    assert (read(path).channels, read(path).rate_hz) == (NAMES, 500.0)
    assert read(save({"acc": NOISE, "fs": 500.0, "channels": names})).channels == NAMES


def test_one_text_with_commas_names_several_channels(save: Callable[..., Path]) -> None:
    assert read(save({"acc": NOISE, "fs": 500.0, "channels": "seat, belt,floor"})).channels == NAMES


def test_a_text_for_each_sample_names_no_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, fs=500.0, labels=[f"beat {i}" for i in range(500)])
    assert read(tmp_path / "x.npz").signals.shape == (3, 500)


def test_the_labels_of_channels_in_an_array_of_structs_are_their_names(tmp_path: Path) -> None:
    places = np.array([("Fz", 1.0), ("ECG", 2.0), ("Cz", 3.0)], [("labels", object), ("theta", object)])
    scipy.io.savemat(tmp_path / "x.mat", {"EEG": {"data": NOISE, "srate": 500.0, "chanlocs": places}})
    recording = read(tmp_path / "x.mat")
    assert recording.channels == ("Fz", "Cz")
    assert recording.ecg is not None


def test_names_that_cannot_be_read_are_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", signals=NOISE.T, rate_hz=500.0, channels=np.array(NAMES, object))
    recording = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(recording.signals, NOISE)
    assert any("channels holds no texts" in note for note in recording.notes)


@pytest.mark.parametrize("turned", [False, True])
def test_the_names_decide_the_axes_of_signals_in_an_archive_of_our_layout(turned: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", signals=NOISE.T if turned else NOISE, rate_hz=500.0, channels=NAMES)
    recording = read(tmp_path / "x.npz")
    assert recording.channels == NAMES
    np.testing.assert_array_equal(recording.signals, NOISE)


@pytest.mark.parametrize("signals", [NOISE, NOISE.T, NOISE[0]])
def test_names_that_fit_neither_axis_of_our_layout_are_refused(signals: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", signals=signals, rate_hz=500.0, channels=["seat", "belt"])
    with pytest.raises(DataError, match=r"channels \(seat, belt\) fit neither axis of signals"):
        read(tmp_path / "x.npz")


def test_a_column_named_as_times_in_our_layout_is_a_clock_unless_write_npz_wrote_it(tmp_path: Path) -> None:
    """Where names are required, they say which columns are signals, even those that rise evenly."""
    np.savez(tmp_path / "z.npz", signals=np.arange(40.0).reshape(20, 2), rate_hz=500.0, channels=["seat", "belt"])
    assert read(tmp_path / "z.npz").signals.tolist() == np.arange(40.0).reshape(20, 2).T.tolist()
    signals = np.vstack([np.arange(500) / 500, NOISE]).astype(np.float32)
    names = ("t", *NAMES)
    np.savez(tmp_path / "x.npz", signals=signals.T, rate_hz=500.0, channels=names)
    assert read(tmp_path / "x.npz").channels == NAMES
    write_npz(Recording(signals=signals, rate_hz=500.0, channels=names, source=Path("x")), tmp_path / "y.npz")
    assert read(tmp_path / "y.npz").channels == names


@pytest.mark.parametrize("shape", [(1, 7), (7, 7), (7, 3), (3, 2)])
def test_any_shape_that_write_npz_writes_is_read_back_equal(shape: tuple[int, int], tmp_path: Path) -> None:
    signals = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    names = tuple(f"a,{i}" for i in range(shape[0]))
    write_npz(Recording(signals=signals, rate_hz=10.0, channels=names, source=Path("x")), tmp_path / "x.npz")
    recording = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(recording.signals, signals)
    assert recording.channels == names


def test_a_lab_matrix_with_names_as_many_as_rows_holds_channels_not_segments(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"data": NOISE, "labels": np.array(NAMES, object)})
    assert read(tmp_path / "x.mat", rate_hz=500.0).channels == NAMES
