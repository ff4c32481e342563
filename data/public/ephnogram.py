"""EPHNOGRAM (PhysioNet): ECG and heart sound of healthy adults at rest and in exercise, at 8 kHz, up to 30 minutes.

As published: WFDB/ECGPCG0001.hea and .dat with the channels ECG and PCG, some with PCG2, AUX1 and AUX2 too, and
ECGPCGSpreadsheet.csv with the subject and the scenario of each record. Without that table all records are one group.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from data.public.collection import SOUND, Collection, Item, Terms, below, files_of, in_order, named, only
from data.readers.contents import reading
from data.readers.read import read
from data.recording import Recording

TERMS = Terms("ODC-BY 1.0", shippable=True)
NAME = re.compile(r"ECGPCG\d{4}", re.IGNORECASE)
RECORD, SUBJECT, SCENARIO = "record name", "subject id", "recording scenario"  # columns of the spreadsheet


def _items(folder: Path) -> Sequence[Item]:
    paths: dict[str, Path] = {}
    for path in files_of(folder, ".hea"):
        if NAME.fullmatch(path.stem):
            paths.setdefault(path.stem.upper(), path)
    about = _about(folder) if paths else {}
    return in_order(_item(name, path, folder, *about.get(name, ("", ""))) for name, path in paths.items())


def _item(name: str, path: Path, folder: Path, subject: str, scenario: str) -> Item:
    return Item(
        name=name,
        kind="microphone",
        group=f"ephnogram-{subject}" if subject else "ephnogram",
        source=below(path, folder),
        terms=TERMS,
        load=lambda: _load(path),
        label=scenario,
    )


def _load(path: Path) -> Recording:
    return named(read(path, channels=lambda names: (only(names, SOUND, path),)), (SOUND,))


def _about(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the subject and the scenario of each record, by the tables that list records and subjects."""
    found: dict[str, tuple[str, str]] = {}
    for path in files_of(folder, ".csv"):
        with reading(path, "a table"), path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            columns = {name.strip().lower(): name for name in rows.fieldnames or () if name}
            if not {RECORD, SUBJECT} <= set(columns):
                continue
            for row in rows:
                name = (row[columns[RECORD]] or "").strip().upper()
                scenario = (row.get(columns.get(SCENARIO, "")) or "").strip()
                found.setdefault(name, ((row[columns[SUBJECT]] or "").strip().upper(), scenario))
    return found


EPHNOGRAM = Collection(
    "ephnogram",
    "EPHNOGRAM",
    "WFDB record ECGPCG0001 ... ECGPCG0069 (WFDB/ECGPCG0001.hea)",
    _items,
)
