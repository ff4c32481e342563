"""MSCardio (Taebi and Rahman, Data in Brief 2025): the accelerometer of a phone on the chest.

As published: MSCardio/Subject_0001/Recording_001/scg.csv with the columns time (ns since 1970), seconds_elapsed, x, y
and z in m/s^2 without gravity, at about 100 Hz. Other folders and names are taken as long as one of them names the
subject: S12/rec3.csv, subject-12_rec3.csv.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from data.errors import DataError
from data.public.collection import AXES, Collection, Item, Terms, below, files_of, first_lines, in_order, named
from data.readers.contents import listing
from data.readers.read import read
from data.recording import Recording

TERMS = Terms("MIT", shippable=True)
SUBJECT = re.compile(r"(?<![a-z])(?:subject|subj|sub|s)[ _-]?(\d+)(?!\d)", re.IGNORECASE)
AXIS = re.compile(r"(?:(?:linear[ _-]?)?(?:acceleration|accel|acc|a)?[ _-]?)?([xyz])(?:[ _-]?(?:axis))?", re.IGNORECASE)
UNIT = re.compile(r"\s*[\[(].*[\])]\s*$")
# In the names of other tables of the app: the accelerometer with gravity, and other sensors with axes.
OTHERS = ("uncalibrated", "gyro", "gravity", "magnet", "orientation")


def _items(folder: Path) -> Sequence[Item]:
    paths = [path for path in files_of(folder, ".csv") if not _is_other(path) and _subject(path, folder)]
    if not any(_has_axes(path) for path in paths):
        return ()
    # Tables about the recordings name subjects too: only those with axes, or too short to tell, are recordings.
    return in_order(_item(path, folder) for path in paths if _has_axes(path) or not _heading(path))


def _is_other(path: Path) -> bool:
    return any(part in path.name.lower() for part in OTHERS)


def _item(path: Path, folder: Path) -> Item:
    parts = [*path.relative_to(folder).parent.parts, path.stem]
    if parts[-1].lower() == "scg" and len(parts) > 1:
        parts.pop()
    # Folders above that of the subject are those of the whole collection.
    start = next(i for i, part in enumerate(parts) if SUBJECT.search(part))
    return Item(
        name="_".join(re.sub(r"[^A-Za-z0-9-]+", "_", part) for part in parts[start:]),
        kind="accelerometer",
        group=f"mscardio-{_subject(path, folder)}",
        source=below(path, folder),
        terms=TERMS,
        load=lambda: _load(path),
        ranked=False,
    )


def _load(path: Path) -> Recording:
    recording = read(path, channels=lambda names: _axes(names, path))
    return named(recording, AXES)


def _axes(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Return the channels that are the axes x, y and z. Raises DataError unless each is there once."""
    by_axis = {axis: [name for name in names if _axis(name) == axis] for axis in AXES}
    if any(len(found) != 1 for found in by_axis.values()):
        raise DataError(f"{path}: no columns x, y and z of an accelerometer; it has {listing(names)}")
    return tuple(found[0] for found in by_axis.values())


def _axis(name: str) -> str | None:
    found = AXIS.fullmatch(UNIT.sub("", name).strip().strip('"'))
    return found[1].lower() if found else None


def _heading(path: Path) -> list[str]:
    line = next(first_lines(path), "").strip()
    return re.split(r"[,;\t]", line) if line else []


def _has_axes(path: Path) -> bool:
    return {_axis(name) for name in _heading(path)} >= set(AXES)


def _subject(path: Path, folder: Path) -> str | None:
    """Return the number of the subject in the parts of a path, from the folder on, four digits wide."""
    for part in (*path.relative_to(folder).parent.parts, path.stem):
        if found := SUBJECT.search(part):
            return f"{int(found[1]):04d}"
    return None


MSCARDIO = Collection(
    "mscardio",
    "MSCardio",
    "CSV file with the columns x, y and z whose path names a subject (Subject_0001/Recording_001/scg.csv)",
    _items,
)
