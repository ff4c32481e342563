"""Tables in HDF5 files, as PyTables and pandas write them, and the values that attributes give to stored numbers."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.errors import DataError
from data.readers.read import read, variables

NOISE = np.random.default_rng(6).standard_normal((3, 500)).astype(np.float32).astype(np.float64)
STAMPS = 1_706_950_800_123_456_789 + 2_000_000 * np.arange(500)


def pytables(file: Any, name: str = "run/acc") -> None:
    rows = np.zeros(500, [("time", "f8"), ("seat", "f8"), ("ECG", "f8"), ("note", "S4")])
    rows["time"], rows["seat"], rows["ECG"] = np.arange(500) / 500, NOISE[0], NOISE[1]
    file[name] = rows


def pandas_table(file: Any, index: Any, kind: str = "") -> None:
    """As DataFrame.to_hdf(format="table") does, with the column "belt" among data_columns, and an index of PyTables."""
    rows = np.zeros(500, [("index", index.dtype), ("values_block_0", "f8", (2,)), ("belt", "f8")])
    rows["index"], rows["values_block_0"], rows["belt"] = index, NOISE[:2].T, NOISE[2]
    file["df/table"] = rows
    if kind:
        file["df/table"].attrs["index_kind"] = np.bytes_(kind)
    file["df/_i_table/index/sorted"] = np.arange(500.0)


def pandas_frame(file: Any, kind: str = "datetime64") -> None:
    """As DataFrame.to_hdf(format="fixed") does, with whole numbers in a block of their own."""
    file["df/axis0"], file["df/axis1"] = [b"seat", b"ECG", b"belt"], STAMPS if kind else np.arange(500)
    file["df/axis1"].attrs["kind"] = np.bytes_(kind or "integer")
    file["df/block0_items"], file["df/block0_values"] = [b"seat", b"ECG"], NOISE[:2].T
    file["df/block1_items"], file["df/block1_values"] = [b"belt"], (1000 * NOISE[2:]).astype(np.int64).T


@pytest.mark.parametrize("variable", [None, "run/acc"])
def test_each_numeric_field_of_a_table_is_a_channel_and_its_times_give_the_rate(
    variable: str | None, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pytables(file)
    recording = read(tmp_path / "x.h5", variable=variable)
    assert (recording.channels, recording.rate_hz) == (("seat",), 500.0)
    assert recording.ecg is not None
    np.testing.assert_array_equal(recording.ecg, NOISE[1])
    assert any("left out: note" in note for note in recording.notes)
    assert [v.name for v in variables(tmp_path / "x.h5")] == ["run/acc"]


def test_the_rate_of_a_table_is_stated_by_an_attribute_and_must_agree_with_its_times(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pytables(file)
        file["run"].attrs["fs"] = 250.0
    with pytest.raises(DataError, match="time rises as at 500 Hz, but the file says 250 Hz"):
        read(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("index", "kind"),
    [(STAMPS, "datetime64"), (STAMPS // 1000, "datetime64[us]"), (STAMPS, ""), (np.arange(500) / 500, "float")],
)
def test_a_table_of_pandas_is_read_with_its_index_as_clock(index: Any, kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pandas_table(file, index, kind)
    recording = read(tmp_path / "x.h5", variable="df")
    assert recording.rate_hz == pytest.approx(500.0)
    assert recording.channels == ("belt", "values_block_0[0]", "values_block_0[1]")
    np.testing.assert_array_equal(recording.signals, NOISE[[2, 0, 1]])
    assert any("never unpickled" in note for note in recording.notes)


def test_a_frame_of_pandas_is_read_with_the_names_of_its_columns_and_its_index_as_clock(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pandas_frame(file)
    recording = read(tmp_path / "x.h5")
    assert recording.channels == ("seat", "belt")
    assert recording.rate_hz == pytest.approx(500.0)
    np.testing.assert_array_equal(recording.signals, [NOISE[0], (1000 * NOISE[2]).astype(np.int64)])
    assert recording.ecg is not None
    assert [(v.name, v.dtype) for v in variables(tmp_path / "x.h5")] == [("df", "frame")]


def test_an_index_that_counts_the_rows_gives_no_rate(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pandas_frame(file, "")
    with pytest.raises(DataError, match=r"index counts the samples.*give rate_hz="):
        read(tmp_path / "x.h5")
    assert read(tmp_path / "x.h5", rate_hz=500.0).channels == ("seat", "belt")


def test_the_clock_the_ecg_and_the_r_peaks_beside_a_table_are_its_own(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        rows = np.zeros(500, [("seat", "f8"), ("belt", "f8")])
        rows["seat"], rows["belt"] = NOISE[:2]
        file["acc"], file["time_ms"] = rows, 2 * np.arange(500)
        file["ecg"], file["r_peaks_s"] = NOISE[2], [0.1, 0.9]
    recording = read(tmp_path / "x.h5")
    assert (recording.channels, recording.rate_hz) == (("seat", "belt"), 500.0)
    assert recording.ecg is not None and recording.r_peaks_s is not None
    np.testing.assert_array_equal(recording.ecg, NOISE[2])


def test_tables_are_not_decided_between_and_one_of_notes_beside_a_signal_is_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        pytables(file, "one")
        pytables(file, "two")
    with pytest.raises(DataError, match="more than one variable may be the signal: one, two"):
        read(tmp_path / "x.h5")
    assert read(tmp_path / "x.h5", variable="two").channels == ("seat",)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["acc"], file["beats"] = NOISE, np.zeros(9, [("at", "f8"), ("kind", "i4")])
    assert read(tmp_path / "y.h5", rate_hz=500.0).signals.shape == (3, 500)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"scale_factor": 0.001}, 0.001 * NOISE),
        ({"add_offset": 5.0}, NOISE + 5),
        ({"scale_factor": np.array([2.0]), "add_offset": -1}, 2 * NOISE - 1),
        ({"conversion": 0.5, "offset": 1.0}, 0.5 * NOISE + 1),
    ],
)
def test_the_factor_and_the_offset_in_attributes_are_applied_and_noted(
    attributes: dict[str, Any], expected: Any, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs.update(attributes)
        file["row"] = NOISE[0]
        file["row"].attrs.update(attributes)
    recording = read(tmp_path / "x.h5", variable="acc", rate_hz=500.0)
    np.testing.assert_allclose(recording.signals, expected, rtol=1e-6)
    assert any("as its attributes say" in note for note in recording.notes)
    np.testing.assert_allclose(read(tmp_path / "x.h5", variable="row", rate_hz=500.0).signals, expected[:1], rtol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [{"scale_factor": "0.1"}, {"scale_factor": [1.0, 2.0, 3.0]}, {"scale_factor": 0.0}, {"add_offset": np.nan}],
)
def test_a_factor_or_offset_that_is_no_number_is_refused_by_name(attributes: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs.update(attributes)
    with pytest.raises(DataError, match=f"{next(iter(attributes))} of acc is"):
        read(tmp_path / "x.h5", rate_hz=500.0)


def test_samples_of_the_value_that_stands_for_none_are_gaps(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = np.where(np.arange(500) == 77, -9999.0, NOISE)
        file["acc"].attrs["_FillValue"] = -9999.0
    recording = read(tmp_path / "x.h5", rate_hz=500.0)
    np.testing.assert_allclose(recording.signals, np.delete(NOISE, 77, axis=1), rtol=1e-6)
