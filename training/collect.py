"""Convert a public collection: read each recording, judge hearts, and write those that are good enough."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import DataError
from data.public.collection import Collection, Item, items_of
from data.public.store import COLUMNS, Row, digest_of, place, read_table, write, write_table
from data.quality import defects
from data.recording import Recording, check_varying
from training.hearts import GRADES, judge

UNREADABLE = "unreadable"
BELOW = "below grade"
COPIED = "copied"
# Rows between two writings of the table: a killed command repeats at most so many.
ROWS_BETWEEN = 200

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a command has done.

    table: the path of recordings.csv.
    rows: of the recordings in the source folder, in their order.
    n_written: of this command. n_existing: those that an earlier command had written.
    """

    table: Path
    rows: tuple[Row, ...]
    n_written: int
    n_existing: int

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the numbers of recordings by kind, and in it by grade: "A", "B", "refused", or "" of vehicles."""
        found: dict[str, Counter[str]] = {}
        for row in self.rows:
            found.setdefault(row.kind, Counter())["refused" if row.refused else row.grade] += 1
        return found

    @property
    def refused(self) -> Mapping[str, int]:
        """Return the numbers of refused recordings by reason in a few words, the most frequent first."""
        found = Counter(row.refused.partition(":")[0] for row in self.rows if row.refused)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def collect(
    collection: Collection,
    source: Path,
    folder: Path,
    least: str = GRADES[-1],
    progress: Progress | None = None,
) -> Collected:
    """Write the recordings of a collection that lies in `source` to `folder`, see data.public.store.

    Recordings that are there by the table of an earlier command are left as they are; so are those that it refused,
    unless they could not be read or have a grade that is now enough. Of recordings with the same samples the first is
    written, for a study takes each only once. One recording is in memory at a time. However the command ends, the table
    lists what it has done.

    least: "A" or "B", the lowest grade that is written.
    progress: called before each recording with its number, the number of all and its name.

    Raises DataError for a folder that is not the collection, or a table of another one; FileError if a file cannot be
    written. A recording that cannot be read is a refused one.
    """
    items = items_of(collection, source)
    table = dict(read_table(folder, collection.name))
    written = {row.digest: row.file for row in table.values() if not row.refused and (folder / row.file).is_file()}
    done: list[Row] = []
    n_written = n_existing = 0
    try:
        for i, item in enumerate(items):
            if progress is not None:
                progress(i, len(items), item.name)
            key = (item.kind, item.name)
            row = table.get(key)
            if row is not None and _stands(row, folder, least):
                n_existing += not row.refused
                row = _described(row, item)
            else:
                row = _converted(item, collection, folder, least, written)
                n_written += not row.refused
                if not row.refused:
                    written[row.digest] = row.file
            table[key] = row
            done.append(row)
            if i % ROWS_BETWEEN == ROWS_BETWEEN - 1:
                write_table(table.values(), folder)
    finally:
        path = write_table(table.values(), folder)
    return Collected(path, tuple(done), n_written, n_existing)


def _stands(row: Row, folder: Path, least: str) -> bool:
    """Return whether the row of an earlier command is still true."""
    if not row.refused:
        return (folder / row.file).is_file()
    if row.refused.startswith(BELOW):
        return not _is_enough(row.grade, least)
    return not row.refused.startswith(UNREADABLE)


def _described(row: Row, item: Item) -> Row:
    """Return the row with what the collection says of the recording, which an earlier command may not have found."""
    return replace(
        row,
        group=item.group,
        shippable="yes" if item.terms.shippable else "no",
        licence=item.terms.licence,
        label=item.label,
        source=item.source,
    )


def _is_enough(grade: str, least: str) -> bool:
    return GRADES.index(grade) <= GRADES.index(least)


def _converted(item: Item, collection: Collection, folder: Path, least: str, written: Mapping[str, str]) -> Row:
    """Read, judge and write a recording. written: files by digest. Raises FileError if it cannot be written."""
    empty = dict.fromkeys(COLUMNS, "")
    named_row = Row(
        **{**empty, "file": place(item.kind, "", item.name), "kind": item.kind, "collection": collection.name}
    )
    row = _described(named_row, item)
    try:
        recording = item.load()
        if item.kind == "vehicle":
            check_varying(recording)
    except DataError as error:
        return replace(row, refused=f"{UNREADABLE}: {error}")
    row = replace(
        row,
        seconds=_number(recording.duration_s, 2),
        rate_hz=repr(float(recording.rate_hz)),
        notes="; ".join(recording.notes),
    )
    if item.kind == "vehicle":
        row = replace(row, clipped=_number(defects(recording)[0].clipped, 6))
    else:
        heart = judge(recording, item.ranked)
        recording = heart.recording
        refused = heart.problem
        if not refused and not _is_enough(heart.grade, least):
            refused = f"{BELOW} {least}: {heart.grade}"
        row = replace(
            row,
            file=place(item.kind, heart.grade, item.name),
            grade=heart.grade,
            heart_rate_bpm=_number(heart.heart_rate_bpm, 1),
            periodicity=_number(heart.periodicity, 3),
            contrast_db=_number(heart.contrast_db, 1),
            clipped=_number(heart.clipped, 6),
            refused=refused,
        )
    row = replace(row, digest=digest_of(recording))
    if not row.refused and written.get(row.digest, row.file) != row.file:
        row = replace(row, refused=f"{COPIED}: the same samples as {written[row.digest]}")
    if not row.refused:
        write(_named(recording, collection, item), folder, row.file)
    return row


def _named(recording: Recording, collection: Collection, item: Item) -> Recording:
    """Return the recording with its place in the collection as source, which is the same on every machine."""
    return replace(recording, source=Path(collection.name, item.source))


def _number(value: float, n_digits: int) -> str:
    """Return a number as text; "" for one that could not be measured."""
    return f"{value:.{n_digits}f}" if math.isfinite(value) else ""
