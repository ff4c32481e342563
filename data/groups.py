"""Find the group of each recording, a person or a car, by a pattern in its path or by a table of recordings."""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data.config import GroupTable
from data.errors import DataError, near
from data.files import file_errors
from data.readers.contents import listing
from data.readers.tables.text import encoding_of

SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*\n')  # the first line of some files of Excel
# What ends a word in the name of a folder or file: "s01_run2.wav" is of s01.
SEPARATORS = "/_\\-. "


def groups_of(paths: Sequence[Path], rule: str | GroupTable, start: Path = Path()) -> Mapping[Path, str | None]:
    """Return the group of each recording by the rule of its source.

    start: the folder that relative paths start from, also that of a table.

    Raises DataError for a recording whose group cannot be found, and as a table that cannot be read needs.
    """
    if isinstance(rule, str):
        return {path: group_in(path, rule, start) for path in paths}
    return _listed(paths, rule, start)


def group_in(path: Path, pattern: str, start: Path = Path()) -> str:
    """Return the part of a path that matches `pattern`.

    In the pattern, `*` stands for any characters but separators (/ _ - . space), and `?` for one of them. The pattern
    is matched against whole names of folders, from the deepest, then against the file's name without its suffix, where
    the match begins and ends at a separator.

    start: `start` itself and the folders above it are not matched, so that a group does not depend on where the study
        is or from which directory it is run. Of a path that leads out of `start`, folders that both share are not
        matched either.

    Raises DataError without a match.
    """
    wild = {"*": f"[^{SEPARATORS}]*", "?": f"[^{SEPARATORS}]"}
    body = "".join(wild.get(character) or re.escape(character) for character in pattern)
    below = Path(os.path.relpath(path, start)).parent.parts  # lexically, as links may lead anywhere
    for folder in reversed(below):
        if folder != os.pardir and re.fullmatch(body, folder):
            return folder
    for found in re.finditer(f"(?<![^{SEPARATORS}])(?:{body})(?![^{SEPARATORS}])", path.stem):
        if found[0]:
            return found[0]
    raise DataError(
        f"{path}: no folder, and no part of its name between separators (_ - . space), matches the group {pattern!r}; "
        "correct the pattern, rename the recording, or list it in a manifest"
    )


def _listed(paths: Sequence[Path], table: GroupTable, start: Path) -> dict[Path, str | None]:
    """Return the group of each recording as a table lists it. Raises DataError."""
    where = start / Path(table.manifest).expanduser()
    rows = _rows(where, table)
    by_end: dict[tuple[str, ...], list[int]] = {}
    for number, (name, _) in rows.items():
        by_end.setdefault(_parts(name), []).append(number)
    groups: dict[Path, str | None] = {}
    taken: dict[int, Path] = {}
    for path in paths:
        parts = path.absolute().parts
        found = [number for i in range(len(parts)) for number in by_end.get(parts[i:], ())]
        if len(found) != 1:
            several = f"rows {listing(sorted(found))} name" if found else "no row names"
            raise DataError(f"{where}: {several} the recording {path} under {table.file!r}; give it exactly one row")
        row = found[0]
        other = taken.setdefault(row, path)
        if other != path:
            raise DataError(
                f"{where}: row {row} ({rows[row][0]}) names {other} and {path}; give as many folders as tell them apart"
            )
        groups[path] = rows[row][1]
        if not rows[row][1]:
            raise DataError(f"{where}: row {row} has no {table.column!r} for {path}; fill it in")
    return groups


def _rows(where: Path, table: GroupTable) -> dict[int, tuple[str, str]]:
    """Return the number of each row with its recording and group; the heading is row 1. Raises DataError."""
    try:
        with file_errors(where, "read"):
            text = where.read_text(encoding=encoding_of(where))
        stated = SEPARATOR_LINE.match(text)
        text = text[stated.end() :] if stated else text
        heading = text.partition("\n")[0]
        # Spreadsheets separate by semicolons where the comma is the decimal sign.
        usual = "\t" if "\t" in heading else ";" if ";" in heading and "," not in heading else ","
        delimiter = stated[1] if stated else usual
        lines = list(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(f"{where}: cannot be read as a table ({error}); save it as CSV") from error
    columns = [name.strip() for name in lines[0]] if lines else []
    for name in (table.file, table.column):
        if columns.count(name) != 1:
            found = "two columns" if name in columns else "no column"
            raise DataError(
                f"{where}: {found} {name!r}{'' if name in columns else near(name, columns)}; it has {listing(columns)}"
            )
    at_file, at_column = columns.index(table.file), columns.index(table.column)
    padded = {i: [*line, *[""] * len(columns)] for i, line in enumerate(lines[1:], 2)}
    found_rows = {i: (cells[at_file].strip(), cells[at_column].strip()) for i, cells in padded.items()}
    return {i: (name, group) for i, (name, group) in found_rows.items() if name}


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path as a table has it, on whatever system it was written."""
    return PurePosixPath(name.replace("\\", "/")).parts
