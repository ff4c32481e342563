"""The contents of a file are cached only while the file is certainly unchanged."""

import time
from pathlib import Path

import pytest

from data.cache import digested, parts_of


def test_what_a_file_held_is_not_remembered_within_a_tick_of_its_clock(tmp_path: Path) -> None:
    """Such a file may change again and look the same; only a file left alone for 3 s gets a note."""
    file, memory = tmp_path / "a.bin", tmp_path / "memory"
    file.write_bytes(b"one")
    digested(file, memory)
    assert not memory.exists()


def test_what_a_settled_file_held_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = time.time() + 60
    monkeypatch.setattr("data.cache.time.time", lambda: late)
    file, memory = tmp_path / "a.bin", tmp_path / "memory"
    file.write_bytes(b"one")
    first = digested(file, memory)
    with monkeypatch.context() as blind:
        blind.setattr("data.cache.hashlib.file_digest", None)
        assert digested(file, memory) == first
    (note,) = memory.iterdir()
    note.write_text(note.read_text()[:-9])
    assert digested(file, memory) == first


def test_a_wfdb_record_is_told_by_its_signals_and_annotations_too(tmp_path: Path) -> None:
    for name in ("a.dat", "elsewhere.dat", "a.qrs", "seg1.hea", "seg1.dat", "b.dat"):
        (tmp_path / name).write_text("" if name != "seg1.hea" else "seg1 1 250 10\nseg1.dat 16\n")
    (tmp_path / "a.hea").write_text("# a comment\na/2 1 250 20\nelsewhere.dat 16\na.dat 16\nseg1 10\n~ 5\n")
    expected = {"a.hea", "a.qrs", "elsewhere.dat", "a.dat", "seg1.hea", "seg1.dat"}
    for named in ("a.hea", "a.dat"):
        assert {part.name for part in parts_of(tmp_path / named)} == expected
