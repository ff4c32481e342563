"""HDF5 files: a dataset by its path, its rate and names from attributes, and no data of other files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.errors import DataError
from data.readers.arrays.archive import BLOCK_BYTES, lines_of
from data.readers.read import read, variables

NOISE = np.random.default_rng(0).uniform(-1, 1, (3, 500))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("name", ["group/acc", "/group/acc"])
def test_a_dataset_is_named_by_its_path(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    with h5py.File(path, "w") as file:
        file["group/acc"], file["group/gyro"] = NOISE, 2 * NOISE
    recording = read(path, variable=name, rate_hz=100.0)
    np.testing.assert_allclose(recording.signals, NOISE, rtol=1e-6)
    assert [v.name for v in variables(path)] == ["group/acc", "group/gyro"]


@pytest.mark.parametrize("stored", [NOISE, NOISE.T, NOISE[0], NOISE[:1], NOISE[:1].T])
def test_the_longer_axis_is_time(stored: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = stored
    got = read(tmp_path / "x.h5", rate_hz=100.0).signals
    np.testing.assert_allclose(got, NOISE if stored.size == NOISE.size else NOISE[:1], rtol=1e-6)


def test_the_only_numeric_dataset_of_two_samples_or_more_is_the_signal(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b/acc"], file["gain"], file["empty"] = NOISE, 3.0, h5py.Empty("f8")
        file["text"], file["flags"] = ["x", "y"], np.array([True, False])
        file["table"] = np.zeros(5, [("x", "f8"), ("y", "i4")])
        file["complex"] = NOISE * 1j
    np.testing.assert_allclose(read(tmp_path / "x.h5", rate_hz=100.0).signals, NOISE, rtol=1e-6)


def test_several_datasets_are_refused_with_their_list(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/acc"], file["b/acc"] = NOISE, NOISE
    with pytest.raises(DataError, match=r"a/acc \(3 x 500 float64\), b/acc \(3 x 500 float64\); choose with variable="):
        read(tmp_path / "x.h5", rate_hz=100.0)


@pytest.mark.parametrize("place", ["a/b/acc", "a/b", "a", "/"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fs", 800),
        ("Fs", np.array([800.0])),
        ("rate_hz", 800.0),
        ("SampleRate", "800"),
        ("sampling frequency", np.float32(800)),
        ("Sampling_Rate", np.bytes_("800")),
    ],
)
def test_the_rate_is_an_attribute_of_the_dataset_its_groups_or_the_file(
    name: str, value: object, place: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b/acc"] = NOISE
        file[place].attrs[name] = value
        file[place].attrs["frequency"] = 3.0  # of a filter, it may be
    assert read(tmp_path / "x.h5").rate_hz == 800.0


@pytest.mark.parametrize("place", ["a/", ""])
def test_the_rate_is_a_scalar_beside_the_dataset_or_above_it(place: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/acc"] = NOISE
        file[f"{place}Sampling Rate"] = 800
        file["other/fs"] = 3.0
    assert read(tmp_path / "x.h5").rate_hz == 800.0


def test_the_rate_stated_nearest_to_the_dataset_counts(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc/data"], file["gyro/data"] = NOISE, NOISE
        file.attrs["fs"], file["gyro"].attrs["fs"] = 800.0, 100.0
    assert read(tmp_path / "x.h5", variable="acc/data").rate_hz == 800.0
    assert read(tmp_path / "x.h5", variable="gyro/data").rate_hz == 100.0


def test_two_rates_at_one_place_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs["fs"], file["acc"].attrs["sample_rate"] = 800.0, 100.0
    with pytest.raises(DataError, match=r"two rates .*acc_fs = 800 Hz, acc_sample_rate = 100 Hz"):
        read(tmp_path / "x.h5")


def test_an_attribute_that_contradicts_a_clock_beside_the_dataset_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/acc"], file["g/time_s"] = NOISE, np.arange(500) / 200
        file["g/acc"].attrs["fs"] = 100.0
    with pytest.raises(DataError, match="as at 200 Hz, but the file says 100 Hz"):
        read(tmp_path / "x.h5")


def test_attributes_that_are_neither_numbers_nor_texts_are_ignored(tmp_path: Path) -> None:
    lists = np.empty(3, object)
    lists[:] = [np.arange(1), np.arange(2), np.arange(3)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs["sample_rate"] = file.ref
        file["acc"].attrs.create("channels", lists, dtype=h5py.vlen_dtype("i8"))
        file.attrs["fs"] = 100.0
    recording = read(tmp_path / "x.h5")
    assert (recording.rate_hz, recording.channels) == (100.0, ("ch1", "ch2", "ch3"))


def test_an_attribute_that_is_no_rate_by_its_value_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs["fs"] = 0.0
    with pytest.raises(DataError, match="acc_fs = 0 is no rate"):
        read(tmp_path / "x.h5")


def test_a_file_without_a_rate_asks_for_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs["fs"] = "unknown"
    with pytest.raises(DataError, match="give rate_hz="):
        read(tmp_path / "x.h5")


@pytest.mark.parametrize("value", [["x", "y", "z"], "x, y, z", np.array([b"x", b"y", b"z"])])
@pytest.mark.parametrize("name", ["channels", "channel_names", "columns", "Channel Names"])
@pytest.mark.parametrize("place", ["g/acc", "g", "/"])
def test_an_attribute_names_the_channels_if_it_fits(place: str, name: str, value: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/acc"] = NOISE.T
        file[place].attrs[name] = value
    assert read(tmp_path / "x.h5", rate_hz=100.0).channels == ("x", "y", "z")
    assert read(tmp_path / "x.h5", rate_hz=100.0, channels=("z",)).channels == ("z",)


@pytest.mark.parametrize("value", [["x", "y"], ["x", "x", "z"], ["x", "", "z"], 3, "x"])
def test_an_attribute_that_does_not_name_each_channel_is_ignored(value: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = NOISE
        file["acc"].attrs["channels"] = value
    assert read(tmp_path / "x.h5", rate_hz=100.0).channels == ("ch1", "ch2", "ch3")


def test_an_ecg_beside_the_signal_keeps_its_own_rate(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["drive/acc"], file["drive/ecg"] = NOISE, np.arange(250.0)
        file["drive/acc"].attrs["fs"], file["drive/ecg"].attrs["fs"] = 100.0, 50.0
    recording = read(tmp_path / "x.h5")
    assert (recording.rate_hz, recording.ecg_rate_hz) == (100.0, 50.0)
    assert recording.ecg is not None
    assert recording.ecg.tolist() == list(range(250))


def test_a_dataset_with_several_names_is_found_once(tmp_path: Path) -> None:
    """By hard links, soft links, and a group that holds itself."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/acc"] = NOISE
        file["again"] = file["g/acc"]
        file["soft"], file["gone"] = h5py.SoftLink("/g/acc"), h5py.SoftLink("/nowhere")
        file["g/self"], file["g/root"] = file["g"], file["/"]
    assert len(variables(tmp_path / "x.h5")) == 1
    np.testing.assert_allclose(read(tmp_path / "x.h5", rate_hz=100.0).signals, NOISE, rtol=1e-6)


def outer_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("g/leak", (500,), "u1", external=[(str(secret), 0, 500)])


def outer_link(file: h5py.File, secret: Path) -> None:
    file["g/leak"] = h5py.ExternalLink(str(secret), "/signal")


def outer_group(file: h5py.File, secret: Path) -> None:
    file["g/leak"] = h5py.ExternalLink(str(secret), "/")


def soft_link(file: h5py.File, secret: Path) -> None:
    outer_link(file, secret)
    file["soft"] = h5py.SoftLink("/g/leak")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((500,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "signal", (500,))
    file.create_virtual_dataset("leak", layout)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("make", [outer_storage, outer_link, outer_group, soft_link, virtual])
def test_a_file_that_takes_data_from_another_is_refused(
    make: Callable[[h5py.File, Path], None], beside: bool, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["signal"] = np.arange(500.0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file, tmp_path / "secret.h5")
        if beside:
            file["signal"] = np.arange(500.0)
    for action in (
        lambda: read(tmp_path / "x.h5", rate_hz=500.0),
        lambda: read(tmp_path / "x.h5", rate_hz=500.0, variable="soft"),
        lambda: variables(tmp_path / "x.h5"),
    ):
        with pytest.raises(DataError, match=r"leak .*must hold its own data") as got:
            action()
        assert "\n" not in str(got.value)


def test_a_dataset_that_claims_more_than_the_memory_is_refused_if_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("huge", (10**13,), "f8", chunks=(10**6,))
        file["acc"] = NOISE
    assert read(tmp_path / "x.h5", rate_hz=100.0, variable="acc").signals.shape == (3, 500)
    with pytest.raises(DataError, match="GB of memory here"):
        read(tmp_path / "x.h5", rate_hz=100.0, variable="huge")


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a\x1b[2Jb"], file["other"] = NOISE, NOISE
        file["other"].attrs["channels"] = ["a\x1b[2Jb", "y", "z"]
    with pytest.raises(DataError, match="more than one variable") as got:
        read(tmp_path / "x.h5", rate_hz=100.0)
    assert "\x1b" not in str(got.value)
    assert read(tmp_path / "x.h5", rate_hz=100.0, variable="other").channels == (r"a\x1b[2Jb", "y", "z")


def test_both_values_that_stand_for_missing_samples_are_missing(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    values[3], values[7] = -9999.0, 1e20
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"] = values
        file["acc"].attrs.update({"fs": 500.0, "_FillValue": np.float32(-9999), "missing_value": np.float32(1e20)})
    recording = read(tmp_path / "x.h5")
    np.testing.assert_array_equal(recording.signals[0], np.delete(values, [3, 7]))
    assert "acc: samples of -9999, 1e+20 are missing, as its attributes say" in recording.notes


@pytest.mark.parametrize("options", [{}, {"variable": "other"}, {"variable": "g/*_fs"}, {"variables": ("g/*_fs",)}])
def test_attributes_are_not_offered_as_datasets(options: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/acc"], file["g/belt"] = np.arange(50.0) ** 2 % 7, np.arange(50.0) ** 3 % 7
        file["g/acc"].attrs["fs"] = 500.0
    with pytest.raises(DataError) as raised:
        read(tmp_path / "x.h5", **options)
    assert "g/acc" in str(raised.value) and "acc_fs" not in str(raised.value).replace("g/*_fs", "")
    assert not any("acc_fs" in note for note in read(tmp_path / "x.h5", variable="g/ac*").notes)


@pytest.mark.parametrize("kind", ["h5", "mat"])
def test_columns_of_a_compressed_matrix_are_read_together(kind: str, tmp_path: Path, mat73: Any) -> None:
    """Each reading of a column decompresses all of them; clocks are looked for in one reading, and signals in one."""
    noise = np.random.default_rng(0).standard_normal((300, 40))
    if kind == "mat":
        mat73(tmp_path / "x.mat", {"acc": noise.T, "fs": np.array([[500.0]])})
    else:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("acc", data=noise, compression="gzip")
            file["acc"].attrs["fs"] = 500.0
    read_at_once: list[tuple[int, ...]] = []
    load = h5py.Dataset.__getitem__

    def counted(dataset: Any, index: Any, **more: Any) -> Any:
        found = load(dataset, index, **more)
        if dataset.name == "/acc":
            read_at_once.append(np.shape(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h5py.Dataset, "__getitem__", counted)
        recording = read(tmp_path / f"x.{kind}")
    np.testing.assert_array_equal(recording.signals, noise.T.astype(np.float32))
    assert read_at_once == [(300, 40)] * 2


@pytest.mark.parametrize("indices", [range(40), [3], [3, 39, 5, 5, 0], []])
@pytest.mark.parametrize("line_bytes", [1, BLOCK_BYTES // 3, BLOCK_BYTES * 2])
def test_lines_that_are_read_in_blocks_are_those_asked_for(indices: Sequence[int], line_bytes: int) -> None:
    matrix = np.arange(80).reshape(40, 2)
    found = [line.tolist() for line in lines_of(lambda at: matrix[at], indices, line_bytes)]
    assert found == matrix[[*indices]].tolist()
