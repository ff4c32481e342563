"""PhysioNet/CinC Challenge 2016: heart sounds of six databases, some of them with an ECG.

As published: training-a/a0001.wav ... training-f/f0114.wav at 2 kHz, each with a header a0001.hea (those of training-a
name a0001.dat with the ECG too), REFERENCE.csv in each folder (a0001,1: 1 abnormal, -1 normal), and the folder
validation with copies of some. Recordings without headers, in any folders, are taken too.

The collection does not say which recordings are of one person, and it has about two of each (Liu et al., Physiol. Meas.
37, 2016). So a database is one group, or a model would be tested on people of its training.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.errors import DataError
from data.public.collection import SOUND, Collection, Item, Terms, below, files_of, first_lines, in_order, named, only
from data.readers.contents import is_ecg, reading
from data.readers.read import read
from data.recording import Recording

TERMS = Terms("ODC-BY 1.0", shippable=True)
NAME = re.compile(r"[a-f]\d{4,5}", re.IGNORECASE)
CLASSES = {"1": "abnormal", "-1": "normal", "0": "unsure"}
VALIDATION = "validation"  # a folder of copies


def _items(folder: Path) -> Sequence[Item]:
    paths = [path for path in files_of(folder, ".wav", ".hea") if NAME.fullmatch(path.stem)]
    chosen: dict[str, Path] = {}
    # Recordings before their copies, and headers before the sounds that they name.
    for path in sorted(paths, key=lambda path: (_is_copy(path, folder), path.suffix.lower() != ".hea", path)):
        chosen.setdefault(path.stem.lower(), path)
    labels = _labels(folder)
    return in_order(_item(name, path, folder, labels) for name, path in chosen.items())


def _is_copy(path: Path, folder: Path) -> bool:
    return any(part.lower() == VALIDATION for part in path.relative_to(folder).parent.parts)


def _item(name: str, path: Path, folder: Path, labels: Mapping[str, str]) -> Item:
    return Item(
        name=name,
        kind="microphone",
        group=f"cinc2016-{name[0]}",
        source=below(path, folder),
        terms=TERMS,
        load=lambda: _load(path),
        label=labels.get(name) or _comment(path),
    )


def _load(path: Path) -> Recording:
    if path.suffix.lower() == ".wav":
        recording = read(path)
        if len(recording.channels) > 1:
            raise DataError(f"{path}: {len(recording.channels)} channels; the sound of one microphone is needed")
        return named(recording, (SOUND,))
    recording = read(path, channels=lambda names: (_sound(names, path),))
    return named(recording, (SOUND,))


def _sound(names: tuple[str, ...], path: Path) -> str:
    """Return the channel of the microphone: the only one that is no ECG, else the one called PCG."""
    sounds = [name for name in names if not is_ecg(name)]
    return sounds[0] if len(sounds) == 1 else only(names, SOUND, path)


def _labels(folder: Path) -> dict[str, str]:
    """Return the class of each recording by the tables REFERENCE*.csv; those with signal quality come last."""
    found: dict[str, str] = {}
    for path in files_of(folder, ".csv"):
        if path.stem.lower().startswith("reference"):
            with reading(path, "a table"), path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                for row in csv.reader(file):
                    if len(row) > 1 and NAME.fullmatch(row[0].strip()):
                        found.setdefault(row[0].strip().lower(), CLASSES.get(row[1].strip(), row[1].strip()))
    return found


def _comment(path: Path) -> str:
    """Return the class in the comment of a header: "# Abnormal"."""
    if path.suffix.lower() != ".hea":
        return ""
    words = (line.lstrip("#").strip().lower() for line in first_lines(path, 20) if line.startswith("#"))
    return next((word for word in words if word in CLASSES.values()), "")


CINC2016 = Collection(
    "cinc2016",
    "PhysioNet/CinC 2016",
    "recording a0001 ... f0114 as .wav or .hea (training-a/a0001.wav)",
    _items,
)
