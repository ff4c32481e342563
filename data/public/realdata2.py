"""The packed recordings beside the checkout (../shared/realdata2): heart sounds, phones on chests, vehicles.

manifest.json lists the files with their SHA-256, licence and whether weights may be passed on. In heart_pcg a file has
many recordings (int16 `x` [recording, time], `n` samples of each, `gain`); in heart_scg one with three axes (`x`
[time, axis], `scale`, `best`), in vehicle one with three axes (`vertical`).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.public.collection import AXES, SOUND, Collection, Item, Terms, in_order, slug
from data.readers.contents import reading
from data.recording import Recording

MANIFEST = "manifest.json"
SOUNDS, CHESTS, VEHICLES = "heart_pcg", "heart_scg", "vehicle"


def _items(folder: Path) -> Sequence[Item]:
    if not (folder / MANIFEST).is_file():
        return ()
    found: list[Item] = []
    for entry in _manifest(folder / MANIFEST):
        kind, path = str(entry["file"]).partition("/")[0], folder / str(entry["file"])
        if kind == SOUNDS:
            found.extend(_sounds(path, entry))
        elif kind == CHESTS:
            found.append(_chest(path, entry))
        elif kind == VEHICLES:
            found.append(_vehicle(path, entry))
    return in_order(found)


def _manifest(path: Path) -> list[Mapping[str, Any]]:
    """Return the entries of the manifest; none of the manifest of something else. Raises DataError."""
    with reading(path, "JSON"):
        entries = json.loads(path.read_text(encoding="utf-8"))
    is_ours = isinstance(entries, list) and all(
        isinstance(entry, dict) and {"file", "sha256", "licence", "shippable"} <= set(entry) for entry in entries
    )
    return [entry for entry in entries if not _leaves(str(entry["file"]))] if is_ours else []


def _leaves(name: str) -> bool:
    """Return whether the name of a file leads out of the folder."""
    return name.startswith("/") or ".." in name.split("/")


def _terms(entry: Mapping[str, Any]) -> Terms:
    return Terms(str(entry["licence"]), bool(entry["shippable"]))


def _sounds(path: Path, entry: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the recordings of a file with many; a single one that cannot be loaded for a file that cannot be opened."""
    try:
        with _opened(path, str(entry["sha256"])) as archive:
            names = [str(name) for name in archive["name"]]
            labels = [str(label) for label in archive["label"]]
    except DataError:
        names, labels = [path.stem], [""]
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        yield Item(
            name=f"cinc2016-{slug(name)}",
            kind="microphone",
            group=f"cinc2016-{slug(name)[:1]}",  # a database, see data.public.cinc2016
            source=f"{entry['file']}: {name}",
            terms=_terms(entry),
            load=lambda i=i: _sound(path, str(entry["sha256"]), i),  # type: ignore[misc]
            label=label,
        )


@lru_cache(maxsize=1)
def _packed(path: Path, digest: str) -> tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.float32], float]:
    """Return the samples, lengths, gains and the rate of a file with many recordings, which follow each other."""
    with _opened(path, digest) as archive:
        return archive["x"], archive["n"], archive["gain"], float(archive["fs"])


def _sound(path: Path, digest: str, i: int) -> Recording:
    x, n, gain, rate_hz = _packed(path, digest)
    return Recording(x[i : i + 1, : int(n[i])].astype(np.float32) / gain[i], rate_hz, (SOUND,), path)


def _chest(path: Path, entry: Mapping[str, Any]) -> Item:
    subject = re.search(r"\d+", path.stem)
    return Item(
        name=f"mscardio-{slug(path.stem)}",
        kind="accelerometer",
        group=f"mscardio-{subject[0] if subject else slug(path.stem)}",
        source=str(entry["file"]),
        terms=_terms(entry),
        load=lambda: _axes(path, str(entry["sha256"]), "best"),
    )


def _vehicle(path: Path, entry: Mapping[str, Any]) -> Item:
    return Item(
        name=slug(path.stem),
        kind="vehicle",
        group=slug(str(entry.get("vehicle", path.stem))),
        source=str(entry["file"]),
        terms=_terms(entry),
        load=lambda: _axes(path, str(entry["sha256"]), "vertical"),
        label=str(entry.get("kind", "")),
    )


def _axes(path: Path, digest: str, first: str) -> Recording:
    """Return a recording of three axes, that of index `first` before the others. Raises DataError.

    The axes of a heart keep their names; the vertical axis of a vehicle is z, and the others are x and y.
    """
    with _opened(path, digest) as archive:
        signals = archive["x"].T.astype(np.float32) * np.float32(archive["scale"])
        rate_hz, index = float(archive["fs"]), int(archive[first])
    rows = [index, *(row for row in range(len(AXES)) if row != index)]
    names = ("z", "x", "y") if first == "vertical" else tuple(AXES[row] for row in rows)
    return Recording(np.ascontiguousarray(signals[rows]), rate_hz, names, path)


@contextmanager
def _opened(path: Path, digest: str) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a file with this SHA-256. Raises DataError for another file."""
    with reading(path, "an .npz archive"):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            raise DataError(f"{path}: damaged: its SHA-256 is not that in {MANIFEST}; copy it again")
        with np.load(path, allow_pickle=False) as archive:
            yield archive


REALDATA2 = Collection(
    "realdata2",
    "the packed recordings",
    f"{MANIFEST} with the files of {SOUNDS}, {CHESTS} and {VEHICLES}",
    _items,
)
