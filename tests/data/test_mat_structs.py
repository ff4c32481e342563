"""Structs, cells, tables and objects in MATLAB files, v5 and v7.3."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.readers.read import read, variables
from tests.support.program import environment

NOISE = np.random.default_rng(1).standard_normal((4, 500)).astype(np.float32).astype(np.float64)
SIG, BELT, ECG = NOISE[:3]


@pytest.fixture(params=["v5.mat", "compressed.mat", "v73.mat"])
def save(
    request: pytest.FixtureRequest, tmp_path: Path, mat73: Callable[..., None]
) -> Callable[[dict[str, Any]], Path]:
    """Writes dicts as structs, lists of dicts as arrays of structs, other lists as cells, and returns the file."""
    path: Path = tmp_path / request.param

    def write(held: dict[str, Any]) -> Path:
        if path.name == "v73.mat":
            mat73(path, {name: _rows(value) for name, value in held.items()})
        else:
            done = {name: _matlab(value) for name, value in held.items()}
            scipy.io.savemat(path, done, do_compression=path.name.startswith("c"))
        return path

    return write


def _rows(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rows(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rows(one) for one in value]
    return value if isinstance(value, str) else np.atleast_2d(value)


def _matlab(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _matlab(one) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    if isinstance(value[0], dict):
        made = np.empty((1, len(value)), [(key, object) for key in value[0]])
        for i, one in enumerate(value):
            for key, inner in one.items():
                made[0, i][key] = _matlab(inner)
        return made
    cells = np.empty((1, len(value)), object)
    for i, one in enumerate(value):
        cells[0, i] = _matlab(one)
    return cells


def test_a_field_of_a_struct_is_read_at_its_own_rate_with_its_own_ecg_and_r_peaks(save: Callable[..., Path]) -> None:
    rec = {"sig": SIG, "fs": 2000.0, "ecg": ECG, "r_peaks_s": np.array([0.01, 0.2])}
    path = save({"rec": rec, "fs": 100.0, "ecg": BELT})
    recording = read(path, variable="rec.sig")
    np.testing.assert_array_equal(recording.signals, [SIG])
    assert recording.rate_hz == 2000.0
    assert recording.ecg is not None and recording.r_peaks_s is not None
    np.testing.assert_array_equal(recording.ecg, ECG)
    np.testing.assert_array_equal(recording.r_peaks_s, [0.01, 0.2])
    assert any("100 Hz" in note for note in recording.notes)


def test_a_rate_at_the_top_is_that_of_fields_without_one(save: Callable[..., Path]) -> None:
    assert read(save({"rec": {"inner": {"sig": SIG}}, "fs": 100.0}), variable="rec.inner.sig").rate_hz == 100.0


def test_fields_are_channels_under_their_paths(save: Callable[..., Path]) -> None:
    recording = read(save({"rec": {"seat": SIG, "belt": BELT, "fs": 2000.0}}), variables=("rec.belt", "rec.seat"))
    assert recording.channels == ("rec.belt", "rec.seat")
    np.testing.assert_array_equal(recording.signals, [BELT, SIG])


def test_elements_of_cells_and_of_arrays_of_structs_count_from_one(save: Callable[..., Path]) -> None:
    path = save({"runs": [SIG, BELT], "takes": [{"acc": SIG, "fs": 500.0}, {"acc": BELT, "fs": 2000.0}]})
    np.testing.assert_array_equal(read(path, variable="runs{2}", rate_hz=10.0).signals, [BELT])
    second = read(path, variable="takes(2).acc")
    np.testing.assert_array_equal(second.signals, [BELT])
    assert second.rate_hz == 2000.0
    with pytest.raises(DataError, match="differ in rate"):
        read(path, variable="takes(*).acc")


def test_structs_in_cells_are_reached(save: Callable[..., Path]) -> None:
    path = save({"runs": ["a word", {"acc": SIG, "fs": 500.0}, {"acc": BELT, "fs": 2000.0}]})
    recording = read(path, variable="runs{3}.acc")
    np.testing.assert_array_equal(recording.signals, [BELT])
    assert recording.rate_hz == 2000.0


def test_the_only_array_in_a_struct_is_the_signal(save: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(read(save({"rec": {"sig": SIG, "fs": 2000.0, "who": "me"}})).signals, [SIG])


def test_an_array_at_the_top_comes_before_those_in_structs(save: Callable[..., Path]) -> None:
    path = save({"filter": {"taps": np.arange(5.0), "gain": BELT}, "acc": SIG, "fs": 2000.0})
    np.testing.assert_array_equal(read(path).signals, [SIG])


def test_a_struct_is_no_array_and_its_fields_are_proposed(save: Callable[..., Path]) -> None:
    path = save({"rec": {"inner": {"sig": SIG}}})
    with pytest.raises(DataError, match=r"choose one in it: rec\.inner\.sig"):
        read(path, variable="rec.inner")
    with pytest.raises(DataError, match=r"did you mean 'rec\.inner\.sig'"):
        read(path, variable="rec.inner.sog")


def test_what_is_in_structs_and_cells_is_listed_with_shape_and_type(save: Callable[..., Path]) -> None:
    path = save(
        {"rec": {"sig": SIG.astype(np.float32), "word": "seat", "c": SIG[:9] * 1j}, "runs": [SIG, BELT[:9] > 0]}
    )
    listed = {v.name: (v.shape, v.dtype) for v in variables(path)}
    assert listed["rec"][1] == "struct" and listed["runs"] == ((1, 2), "cell")
    assert listed["rec.sig"] == ((1, 500), "single")
    assert listed["rec.word"] == ((1, 4), "char")
    assert listed["runs{1}"] == ((1, 500), "double")
    if path.name != "v73.mat":  # as MATLAB stores them; h5py has another form
        assert listed["rec.c"] == ((1, 9), "complex double")
    assert listed["runs{2}"][1] in ("logical", "uint8")


def opaque(name: bytes, kind: bytes) -> bytes:
    """An object as MATLAB stores it in version 5: name, type system, class, and a key to its workspace."""

    def element(code: int, content: bytes) -> bytes:
        return struct.pack("<2I", code, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")

    key = element(6, struct.pack("<2I", 13, 0)) + element(5, struct.pack("<2i", 6, 1)) + element(1, b"")
    key += element(6, struct.pack("<6I", 0xDD000000, 2, 1, 1, 1, 1))
    body = element(6, struct.pack("<2I", 17, 0)) + element(1, name) + element(1, b"MCOS") + element(1, kind)
    return element(14, body + element(14, key))


def save_table(path: Path, kind: str) -> None:
    scipy.io.savemat(path, {"fs": 2000.0})
    path.write_bytes(path.read_bytes() + opaque(b"T", kind.encode()))


def save_table_73(path: Path, kind: str) -> None:
    with h5py.File(path, "w") as file:
        file["T"] = np.array([[0xDD000000, 2, 1, 1, 1, 1]], np.uint32)
        file["T"].attrs["MATLAB_class"] = np.bytes_(kind)
        file["T"].attrs["MATLAB_object_decode"] = 3


@pytest.mark.parametrize("write", [save_table, save_table_73])
@pytest.mark.parametrize(
    ("kind", "advice"), [("table", "table2struct(T, 'ToScalar', true)"), ("timetable", "writetime")]
)
def test_a_table_is_refused_with_what_to_do_in_matlab(
    tmp_path: Path, write: Callable[[Path, str], None], kind: str, advice: str
) -> None:
    write(tmp_path / "x.mat", kind)
    assert ("T", kind) in [(v.name, v.dtype) for v in variables(tmp_path / "x.mat")]
    for name in (None, "T"):
        with pytest.raises(DataError) as raised:
            read(tmp_path / "x.mat", variable=name)
        assert advice in str(raised.value) and "'T'" in str(raised.value)


@pytest.mark.parametrize("write", [save_table, save_table_73])
def test_another_object_is_listed_by_its_class_and_is_no_signal(tmp_path: Path, write: Callable[..., None]) -> None:
    for kind in ("datetime", "double", "my.Class"):
        write(tmp_path / "x.mat", kind)
        assert ("T", kind) in [(v.name, v.dtype) for v in variables(tmp_path / "x.mat")]
        with pytest.raises(DataError, match="no array of two or more real numbers"):
            read(tmp_path / "x.mat", variable="T")


def test_sparse_matrices_are_listed_and_no_signals(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"s": scipy.sparse.eye(9).tocsc(), "acc": SIG, "fs": 2000.0})
    assert ("s", "sparse") in [(v.name, v.dtype) for v in variables(tmp_path / "x.mat")]
    np.testing.assert_array_equal(read(tmp_path / "x.mat").signals, [SIG])


def test_sparse_and_complex_matrices_of_v73_are_no_signals(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.mat", "w") as file:
        sparse = file.create_group("s")
        sparse.attrs["MATLAB_sparse"], sparse.attrs["MATLAB_class"] = 9, np.bytes_("double")
        sparse["data"] = np.ones(9)
        file["c"] = np.zeros((9, 1), [("real", "f8"), ("imag", "f8")])
        file["c"].attrs["MATLAB_class"] = np.bytes_("double")
    assert {v.name: v.dtype for v in variables(tmp_path / "x.mat")} == {"s": "sparse", "c": "complex double"}
    for name in "sc":
        with pytest.raises(DataError, match="no array of two or more real numbers"):
            read(tmp_path / "x.mat", variable=name)


@pytest.mark.parametrize("kind", [0, 8, 14, 47879, 2**32 - 1])
def test_a_damaged_type_within_a_struct_does_not_end_the_process(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"rec": {"acc": np.arange(99.0)}})
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<2I", 9, 99 * 8))
    content[at : at + 4] = struct.pack("<I", kind)
    path.write_bytes(content)
    code = (
        f"from pathlib import Path; from data.readers.read import read; read(Path({str(path)!r}), variable='rec.acc')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1, "the process was ended by a signal"
    assert done.stderr.splitlines()[-1].startswith("data.errors.DataError")


@pytest.mark.parametrize("compressed", [False, True])
def test_any_damaged_byte_is_refused_in_one_line_or_leaves_a_recording(tmp_path: Path, compressed: bool) -> None:
    path, whole = tmp_path / "x.mat", tmp_path / "whole.mat"
    held = {"rec": _matlab({"acc": SIG[:20], "runs": [BELT[:9], {"a": 1.0}], "w": "seat"})}
    scipy.io.savemat(whole, held, do_compression=compressed)
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(128, len(content), 3):
        shutil.copyfile(whole, path)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(rng.bytes(1))
        try:
            assert read(path, variable="rec.acc", rate_hz=10.0).signals.size >= 2
        except DataError as error:
            assert "\n" not in str(error)


def test_references_within_themselves_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.mat", "w") as file:
        cell = file.create_dataset("runs", (2, 1), h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        cell[...] = np.array([[cell.ref], [cell.ref]], h5py.ref_dtype)
    with pytest.raises(DataError, match="within itself"):
        variables(tmp_path / "x.mat")


@pytest.mark.parametrize("how", ["link", "storage"])
def test_a_field_whose_data_another_file_holds_is_refused(tmp_path: Path, how: str) -> None:
    (tmp_path / "secret").write_bytes(b"a secret of the user" * 99)
    with h5py.File(tmp_path / "x.mat", "w") as file:
        rec = file.create_group("rec")
        rec["acc"] = SIG
        if how == "link":
            rec["leak"] = h5py.ExternalLink(str(tmp_path / "secret"), "/signal")
        else:
            held = file.create_group("#refs#").create_dataset(
                "leak", (500,), "u1", external=[(str(tmp_path / "secret"), 0, 500)]
            )
            rec.create_dataset("cell", data=np.array([[held.ref]], h5py.ref_dtype), dtype=h5py.ref_dtype)
            rec["cell"].attrs["MATLAB_class"] = np.bytes_("cell")
    with pytest.raises(DataError, match=r"leak.*must hold its own data"):
        read(tmp_path / "x.mat", variable="rec.acc", rate_hz=100.0)
