"""Every reader keeps the contract of data.readers.contract on a file of each layout, and each of its rules can fail."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data.readers.contract as contract
from data.errors import DataError
from data.readers.contents import Contents, Variable, Wanted, gather
from data.readers.contract import Example
from data.readers.read import READERS, Format, read, register_reader
from training.plugins.contract import Rule, problem

RATE_HZ, NAMES = 100.0, ("seat", "belt")


@pytest.mark.parametrize("rule", contract.RULES, ids=[rule[1].__name__ for rule in contract.RULES])
def test_every_reader_keeps_the_rule(layout: Any, rule: Rule, tmp_path: Path) -> None:
    assert problem(rule, Example(layout.make(tmp_path), layout.options)) == ""


def table_of(path: Path) -> Any:
    """Read two channels of float32 that are no longer than the file."""
    if path.stat().st_size % 8 or not path.stat().st_size:
        raise DataError(f"{path}: cut off; copy it again")
    table = np.fromfile(path, "<f4").reshape(-1, 2)
    if not np.isfinite(table).all() or np.abs(table).max() > 1:
        raise DataError(f"{path}: no such samples; is it the right file?")
    return table


def sound(path: Path, wanted: Wanted) -> Contents:
    table = table_of(path)
    return gather(list(NAMES), wanted.channels, path, lambda rows: (table[:, row] for row in rows), [RATE_HZ] * 2)


def same_names(path: Path, wanted: Wanted) -> Contents:
    return replace(sound(path, wanted), channels=("seat", "seat"))


def writing(path: Path, wanted: Wanted) -> Contents:
    contents = sound(path, wanted)
    path.write_bytes(path.read_bytes() + bytes(8))
    return contents


def deaf(path: Path, wanted: Wanted) -> Contents:
    return sound(path, Wanted())


def silent_about_names(path: Path, wanted: Wanted) -> Contents:
    if wanted.channels and not {*wanted.channels} <= {*NAMES}:
        raise DataError(f"{path}: no such channel")
    return sound(path, wanted)


def believing(path: Path, wanted: Wanted) -> Contents:
    """Fill what is cut off, and more, with zeros."""
    table = np.zeros((4000, 2), np.float32) if path.stat().st_size < 8000 else table_of(path)
    return gather(list(NAMES), wanted.channels, path, lambda rows: (table[:, row] for row in rows), [RATE_HZ] * 2)


def raising(path: Path, wanted: Wanted) -> Contents:
    table = np.fromfile(path, "<f4").reshape(-1, 2)
    return gather(list(NAMES), wanted.channels, path, lambda rows: (table[:, row] for row in rows), [RATE_HZ] * 2)


def credulous(path: Path, wanted: Wanted) -> Contents:
    values = np.frombuffer(path.read_bytes()[: path.stat().st_size // 8 * 8], "u1").astype(np.float32).reshape(-1, 8)
    return gather(list(NAMES), wanted.channels, path, lambda rows: (values[:, row] for row in rows), [RATE_HZ] * 2)


def beside(path: Path, wanted: Wanted) -> Contents:
    """Read a calibration whose name is not that of the file."""
    factor = path.with_name("factors.cal")
    if not factor.is_file():
        raise DataError(f"{path}: {factor.name} is not beside it; copy it there")
    return sound(path, wanted)


BROKEN: list[tuple[Callable[[Path, Wanted], Contents], Callable[..., str]]] = [
    (same_names, contract.reads_its_example),
    (writing, contract.repeats_itself),
    (beside, contract.names_its_files),
    (deaf, contract.chooses_channels),
    (silent_about_names, contract.names_its_channels),
    (believing, contract.refuses_cut_off_files),
    (raising, contract.refuses_cut_off_files),
    (credulous, contract.refuses_other_files),
]


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    """A file of the suffix .broken, which the given reader reads while the test runs."""
    path = tmp_path / "example.broken"
    np.random.default_rng(0).uniform(-0.9, 0.9, 2002).astype("<f4").tofile(path)
    path.with_name("factors.cal").write_text("2")
    register_reader(Format(request.param, lambda path: (Variable("a", (1000,), "float32"),)), ".broken")
    yield Example(path)
    del READERS[".broken"]


@pytest.mark.parametrize(
    ("example", "function"),
    BROKEN,
    ids=[reader.__name__ for reader, _ in BROKEN],
    indirect=["example"],
)
def test_a_broken_reader_breaks_its_rule(example: Example, function: Callable[..., str]) -> None:
    (rule,) = [rule for rule in contract.RULES if rule[1] is function]
    found = problem(rule, example)
    assert found
    assert "\n" not in found


@pytest.mark.parametrize("rule", contract.RULES, ids=[rule[1].__name__ for rule in contract.RULES])
@pytest.mark.parametrize("example", [sound], indirect=True)
def test_a_sound_reader_keeps_the_rule(example: Example, rule: Rule) -> None:
    assert problem(rule, example) == ""


def test_a_listing_of_nothing_is_a_problem(tmp_path: Path) -> None:
    register_reader(Format(sound, lambda path: ()), ".broken")
    try:
        path = tmp_path / "example.broken"
        np.zeros(2000, "<f4").tofile(path)
        (rule,) = [rule for rule in contract.RULES if rule[1] is contract.lists_its_variables]
        assert "at least one Variable is needed" in problem(rule, Example(path))
    finally:
        del READERS[".broken"]


@pytest.mark.parametrize(
    ("suffixes", "words"),
    [
        ((".wav",), "registered already, by data.readers.sound"),
        (("xyz",), "suffix in lower case"),
        ((".XYZ",), "suffix"),
    ],
)
def test_a_suffix_that_is_taken_or_none_is_refused(suffixes: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        register_reader(Format(sound, lambda path: ()), *suffixes)
    assert READERS.keys() & {"xyz", ".XYZ"} == set()


def test_a_reader_that_is_no_function_is_refused(tmp_path: Path) -> None:
    class Reader:
        def __call__(self, path: Path, wanted: Wanted) -> Contents:
            return sound(path, wanted)

    with pytest.raises(ValueError, match="a function is needed"):
        register_reader(Format(Reader(), lambda path: ()), ".broken")
    with pytest.raises(DataError, match="recordings end in"):
        read(tmp_path / "x.broken")
