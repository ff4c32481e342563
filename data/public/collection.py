"""What a converter of a public collection gives: a list of recordings that are loaded one by one."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from data.errors import DataError
from data.readers.contents import listing
from data.readers.names import natural
from data.recording import Recording

Kind = Literal["microphone", "accelerometer", "vehicle"]
AXES = ("x", "y", "z")
SOUND = "pcg"  # the channel of every microphone, whatever the collection calls it


@dataclass(frozen=True, slots=True)
class Terms:
    """What the authors of recordings allow.

    licence: its name.
    shippable: whether weights that were trained on the recordings may be passed on.
    """

    licence: str
    shippable: bool


@dataclass(frozen=True, slots=True)
class Item:
    """A recording of a collection, not loaded yet.

    name: of its file, without a suffix; no other recording of the collection has it.
    group: the person or the vehicle; where people are not told apart, all of their recordings.
    source: where it lies in the collection, for people.
    label: the authors' class of it; "" without any.
    load: returns it at its own rate. A heart has the channel `pcg`, or axes of which the authors' best comes first; a
        vehicle has the vertical axis as `z`, then the others as `x` and `y`. Raises DataError.
    ranked: whether the first channel is the best by the authors; otherwise the axes are to be compared.
    """

    name: str
    kind: Kind
    group: str
    source: str
    terms: Terms
    load: Callable[[], Recording]
    label: str = ""
    ranked: bool = True


@dataclass(frozen=True, slots=True)
class Collection:
    """A public collection.

    title: what it is, in a few words.
    looked_for: the files by which a folder is recognised, for the error.
    items: lists the recordings in a folder as the authors publish it, in the order of their names; empty for a folder
        of another kind. Raises DataError for one that cannot be listed.
    """

    name: str
    title: str
    looked_for: str
    items: Callable[[Path], Sequence[Item]]


def items_of(collection: Collection, folder: Path) -> Sequence[Item]:
    """Return the recordings of a collection in `folder`. Raises DataError for another folder, or none."""
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder}: {problem}; give the folder of {collection.title} by --from")
    items = collection.items(folder)
    if not items:
        raise DataError(
            f"{folder}: is not {collection.title}: no {collection.looked_for} in it or below it; "
            "give the folder of the collection by --from"
        )
    return items


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files at any depth of a folder with one of `suffixes`, of any case, in the order of their paths.

    Hidden files, as some systems lay them beside others, are left out.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def in_order(items: Iterable[Item]) -> list[Item]:
    """Return items in the order of their names, numbers by their value. Raises DataError if two have one name."""
    ordered = sorted(items, key=lambda item: (natural(item.name), item.name))
    for one, two in pairwise(ordered):
        if one.name == two.name:
            raise DataError(f"{one.source} and {two.source} have one name, {one.name!r}; keep one of them")
    return ordered


def slug(text: str) -> str:
    """Return a text as the name of a file or group: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def named(recording: Recording, channels: Sequence[str]) -> Recording:
    """Return a recording with other names of its channels."""
    return replace(recording, channels=tuple(channels))


def only(names: Sequence[str], wanted: str, where: Path) -> str:
    """Return the one of `names` that is `wanted` in any case. Raises DataError, listing the names."""
    found = [name for name in names if name.strip().lower() == wanted.lower()]
    if len(found) != 1:
        raise DataError(f"{where}: {len(found) or 'no'} channels {wanted!r}; it has {listing(names)}")
    return found[0]


def below(path: Path, folder: Path) -> str:
    """Return a path as text from `folder` on, with / between its parts."""
    return path.relative_to(folder).as_posix()


def first_lines(path: Path, n: int = 1) -> Iterator[str]:
    """Yield the first lines of a text, whatever its encoding; none of a file that cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for _ in range(n):
                yield file.readline(10_000)
    except OSError:
        return
