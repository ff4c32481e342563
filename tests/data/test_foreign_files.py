"""Recordings from somebody else: they name no other file, claim no memory, and print nothing that a terminal obeys."""

import os
import shlex
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from data.cache import parts_of
from data.errors import DataError, printable, shell_command
from data.files import MAX_PART_BYTES, path_part
from data.readers.read import read, variables
from tests.support.program import environment

SECRET = b"a secret of the user " * 100


def one_line(error: pytest.ExceptionInfo[Exception], *named: str) -> str:
    """Check that an error is one line that names the given texts and tells nothing of the secret file."""
    text = str(error.value)
    assert "\n" not in text
    assert "secret of" not in text
    for name in named:
        assert name in text
    return text


def outer_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("leak", (500,), "u1", external=[(str(secret), 0, 500)])


def outer_link(file: h5py.File, secret: Path) -> None:
    file["leak"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/signal")


def soft_link(file: h5py.File, secret: Path) -> None:
    outer_link(file, secret)
    file["group/out"] = file.get("leak", getlink=True)
    del file["leak"]
    file["leak"] = h5py.SoftLink("/group/out")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((500,), "f8")
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "signal", (500,))
    file.create_virtual_dataset("leak", layout)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("make", [outer_storage, outer_link, soft_link, virtual])
def test_a_dataset_whose_data_another_file_holds_is_refused(
    make: Callable[[h5py.File, Path], None], beside: bool, tmp_path: Path
) -> None:
    """Also beside a recording that holds its own data: a report or a figure could show what was never meant for it."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["signal"] = np.arange(500.0)
    with h5py.File(tmp_path / "x.mat", "w") as file:
        make(file, secret)
        if beside:
            file["signal"] = np.arange(500.0)
    for action in (lambda: read(tmp_path / "x.mat", rate_hz=500.0), lambda: variables(tmp_path / "x.mat")):
        with pytest.raises(DataError, match="must hold its own data") as got:
            action()
        one_line(got, str(tmp_path / "x.mat"), "leak")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [0, 8, 10, 14, 47879, 2**32 - 1])
def test_a_type_that_matlab_does_not_have_is_refused(kind: int, compressed: bool, tmp_path: Path) -> None:
    """scipy takes it as an index into memory, so it is read in a process of its own."""
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"acc": np.arange(99.0), "Fs": 50.0})
    content = bytearray(path.read_bytes())
    at = content.index(b"acc") + 4  # the tag of the data follows the name
    assert content[at : at + 8] == struct.pack("<2I", 9, 99 * 8)
    content[at : at + 4] = struct.pack("<I", kind)
    if compressed:
        size = 8 + struct.unpack_from("<I", content, 132)[0]
        packed = zlib.compress(content[128 : 128 + size])
        content[128 : 128 + size] = struct.pack("<2I", 15, len(packed)) + packed
    path.write_bytes(content)
    code = f"from pathlib import Path; from data.readers.read import read; read(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1, "the process was ended by a signal"
    assert done.stderr.splitlines()[-1].startswith(f"data.errors.DataError: {path}: no variable holds a signal")


def test_complex_numbers_are_no_signal(tmp_path: Path) -> None:
    """Their imaginary parts would be lost without a word."""
    scipy.io.savemat(tmp_path / "x.mat", {"acc": np.arange(99.0) * 1j, "Fs": 50.0})
    with pytest.raises(DataError, match="'acc' is no array of two or more real numbers"):
        read(tmp_path / "x.mat", variable="acc")


def test_variables_of_all_numeric_types_are_read(tmp_path: Path) -> None:
    """In version 4 and 5 of the format, compressed and not; a short variable stands in the tag of its element."""
    values = np.arange(2, 99)
    for dtype in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        for options in ({}, {"do_compression": True}, {"format": "4"}):
            if options.get("format") and dtype in ("i1", "i8", "u8", "u4"):
                continue  # not in version 4
            scipy.io.savemat(tmp_path / "x.mat", {"acc": values.astype(dtype), "Fs": 50.0, "a": 1}, **options)
            assert read(tmp_path / "x.mat", variable="acc").signals.tolist() == [values.tolist()]


def write_record(folder: Path, signal: str, name: str = "x") -> Path:
    (folder / f"{name}.hea").write_text(f"{name} 1 100 200\n{signal} 16 100/mV 16 0 0 0 0 z\n")
    return folder / f"{name}.hea"


@pytest.mark.parametrize("signal", ["../secret", "{folder}/secret", "file:{folder}/secret"])
def test_a_header_that_names_a_file_elsewhere_is_refused(signal: str, tmp_path: Path) -> None:
    """A signal file of format 16 can be any file."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "records").mkdir()
    header = write_record(tmp_path / "records", signal.format(folder=tmp_path))
    for action in (lambda: read(header), lambda: variables(header)):
        with pytest.raises(DataError, match="invalid syntax in signal line") as got:
            action()
        one_line(got, "x.hea")
    assert parts_of(header) == (header,)


def test_a_header_whose_segment_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    write_record(tmp_path, "secret")
    header = tmp_path / "records" / "m.hea"
    header.write_text("m/1 1 100 200\n../x 200\n")
    with pytest.raises(DataError, match="invalid syntax in segment line") as got:
        read(header)
    one_line(got, "m.hea")


def test_a_segment_whose_signal_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    write_record(tmp_path / "records", "../secret")
    header = tmp_path / "records" / "m.hea"
    header.write_text("m/1 1 100 200\nx 200\n")
    with pytest.raises(DataError, match="invalid syntax in signal line"):
        read(header)


def huge_mat(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("signal", (10**13,), "f8", chunks=(10**6,))


def huge_npz(path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("signal.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def huge_record(path: Path) -> None:
    path.with_suffix(".dat").write_bytes(SECRET)
    path.write_text(f"{path.stem} 1 100 10000000000000\n{path.stem}.dat 16 100/mV 16 0 0 0 0 z\n")


@pytest.mark.parametrize(("name", "write"), [("x.mat", huge_mat), ("x.npz", huge_npz), ("x.hea", huge_record)])
def test_a_small_file_that_claims_more_than_the_memory_is_refused(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=r"takes .* GB, more than the .* GB of memory here; cut the recording"):
        read(tmp_path / name, rate_hz=100.0)


def test_a_table_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("seat,z\n1,2\n2,1\n3,5\n", encoding="utf-8-sig")
    assert read(tmp_path / "x.csv", rate_hz=100.0).channels == ("seat", "z")


def test_names_in_a_file_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Neither as a channel's name, nor in the list of variables that an error shows."""
    clear = "a\x1b[2Jb"
    np.savez(tmp_path / "x.npz", signals=np.eye(2, 9), rate_hz=9.0, channels=np.array([clear, "z"]))
    assert read(tmp_path / "x.npz").channels == (r"a\x1b[2Jb", "z")
    (tmp_path / "x.csv").write_text(f"{clear},z\n1,2\n2,1\n3,5\n")
    assert read(tmp_path / "x.csv", rate_hz=100.0).channels == (r"a\x1b[2Jb", "z")
    arrays: dict[str, Any] = {clear: np.arange(5.0), "other": np.arange(5.0)}
    np.savez(tmp_path / "y.npz", **arrays)
    with pytest.raises(DataError, match="more than one variable") as got:
        read(tmp_path / "y.npz", rate_hz=9.0)
    assert "\x1b" not in str(got.value)


@pytest.mark.parametrize("name", ["demo", "Übung 3", "a b", "x.y", "x" * 255, "...", "-x", ".hidden"])
def test_an_ordinary_name_is_its_own_folder(name: str) -> None:
    """Folders of earlier versions are found again."""
    assert path_part(name) == name


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_name_is_one_part_of_a_path(name: str) -> None:
    part = path_part(name)
    assert part not in ("", ".", "..")
    assert not set(part) & {"/", "\0"}
    assert len(os.fsencode(part)) <= MAX_PART_BYTES
    assert printable(part) == part


def test_different_names_have_different_folders() -> None:
    names = ["", ".", "..", "../x", "..-x", "/x", "x/", "a\nb", "a\tb", "\udc80", "\udc81"]
    names += ["é" * 200, "é" * 201, "a" * 300]
    assert len({path_part(name) for name in names}) == len(names)


WORDS = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20), max_size=4)


@given(WORDS)
def test_a_printed_command_is_what_the_shell_gets(words: list[str]) -> None:
    command = shell_command(*words)
    assert "\n" not in command
    assert printable(command) == command
    if "$'" not in command:
        assert shlex.split(command) == ["drivebeat", *words]


@pytest.mark.parametrize("word", ["a\nb", "it's\t\\n", "\x1b[2J", "x\udcffy", "é\u2028", "$(touch x)", "`ls`", "a  b"])
def test_a_printed_command_survives_bash(word: str) -> None:
    """Characters that a terminal obeys included, and the bytes of a name that is no UTF-8."""
    command = shell_command("show", word)
    shown = subprocess.run(
        ["bash", "-c", f"drivebeat() {{ printf '%s\\0' \"$@\"; }}; {command}"], capture_output=True, check=True
    )
    assert shown.stdout.split(b"\0") == [b"show", os.fsencode(word), b""]


def test_a_path_that_looks_like_an_option_is_printed_as_a_path() -> None:
    assert shell_command("evaluate", Path("-o")) == "drivebeat evaluate ./-o"
    assert shell_command("train", Path("my runs/a.yaml")) == "drivebeat train 'my runs/a.yaml'"


def test_numbers_of_any_size_stand_in_a_header(tmp_path: Path) -> None:
    """The product of a shape is not that of machine integers, which wrap around to a small one."""
    huge_header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("signal.npy", b"\x93NUMPY\x01\x00" + len(huge_header).to_bytes(2, "little") + huge_header)
    with pytest.raises(DataError, match="GB of memory here"):
        read(tmp_path / "x.npz", rate_hz=1.0)
