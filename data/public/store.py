"""The folder that a collection is written to: a file for each recording, and the table of all of them.

FOLDER/KIND/GRADE/NAME.npz for hearts, FOLDER/vehicle/NAME.npz, and FOLDER/recordings.csv with a row for each recording
of the collection, refused ones too.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from data.errors import DataError
from data.files import atomic, file_errors
from data.readers.arrays.npz import write_npz
from data.readers.contents import listing
from data.readers.names import natural
from data.recording import Recording

TABLE = "recordings.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of recordings.csv. Fields that do not apply, as the heart rate of a vehicle, are empty.

    file: from the folder of the table on.
    kind: microphone, accelerometer or vehicle.
    group: the person or the vehicle; where people are not told apart, all of their recordings.
    grade: A or B of a heart; empty for one that is refused.
    rate_hz: samples per second of the file, which are those of the collection.
    heart_rate_bpm, periodicity, contrast_db: of the heart's band, see training.hearts.
    clipped: share of samples that are clipped, of the first channel.
    shippable: yes if weights trained on the recording may be passed on, else no.
    label: the authors' class.
    refused: why it was not written; empty for a recording that is there.
    collection, source: its name, and where the recording lies in it.
    notes: what the reader assumed, corrected or left out.
    digest: of the first channel and the rate, by which copies are found.
    """

    file: str
    kind: str
    group: str
    grade: str
    seconds: str
    rate_hz: str
    heart_rate_bpm: str
    periodicity: str
    contrast_db: str
    clipped: str
    shippable: str
    licence: str
    label: str
    refused: str
    collection: str
    source: str
    notes: str
    digest: str


COLUMNS = tuple(field.name for field in fields(Row))


def place(kind: str, grade: str, name: str) -> str:
    """Return where a recording lies in the folder."""
    return "/".join(part for part in (kind, grade, f"{name}.npz") if part)


def write(recording: Recording, folder: Path, file: str) -> None:
    """Write a recording atomically, from which `data.readers.read.read` reads an equal one. Raises FileError."""
    write_npz(recording, folder / file)


def digest_of(recording: Recording) -> str:
    """Return a digest of the samples of the first channel and the rate."""
    found = hashlib.sha256(repr(float(recording.rate_hz)).encode())
    found.update(recording.signals[0].data)
    return found.hexdigest()[:16]


def write_table(rows: Iterable[Row], folder: Path) -> Path:
    """Write recordings.csv atomically, in the order of kinds and names, and return its path. Raises FileError."""
    path = folder / TABLE
    ordered = sorted(rows, key=lambda row: (row.kind, natural(Path(row.file).stem)))
    with (
        atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):  # names of files may be no UTF-8
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([getattr(row, name) for name in COLUMNS] for row in ordered)
    return path


def read_table(folder: Path, collection: str) -> Mapping[tuple[str, str], Row]:
    """Return the rows of an earlier command by kind and name; none without a table.

    Raises DataError for a table of another collection, or of another program.
    """
    path = folder / TABLE
    if not path.exists():
        return {}
    with file_errors(path, "read"), path.open(encoding="utf-8", errors="replace", newline="") as file:
        table = csv.DictReader(file, strict=True)
        try:
            if tuple(table.fieldnames or ()) != COLUMNS:
                raise DataError(
                    f"{path}: has the columns {listing(table.fieldnames or ())}, which this command does not write; "
                    "give another folder by -o"
                )
            rows = [Row(**{name: row[name] or "" for name in COLUMNS}) for row in table]
        except csv.Error as error:
            raise DataError(f"{path}: cannot be read as a table ({error}); give another folder by -o") from error
    other = next((row.collection for row in rows if row.collection != collection), None)
    if other is not None:
        raise DataError(f"{folder}: holds recordings of {other}, not of {collection}; give another folder by -o")
    return {(row.kind, Path(row.file).stem): row for row in rows}
