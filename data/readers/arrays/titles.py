"""The names of channels in a file of named arrays: texts beside a matrix, one for each of its channels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import printable
from data.readers.arrays.archive import Archive
from data.readers.arrays.levels import field_of, level_of, levels
from data.readers.names import is_clock_name

NAMES = frozenset(
    [
        "channels",
        "channel",
        "channelnames",
        "channelname",
        "channellabels",
        "chnames",
        "chlabels",
        "columns",
        "columnnames",
        "labels",
        "label",
        "names",
        "signalnames",
        "signames",
        "signame",
        "titles",
        "axes",
    ]
)
PLACES = ("chanlocs", "channels", "chans")  # arrays of structs, one for each channel
PLACE_FIELDS = ("labels", "label", "name")
_ELEMENT = re.compile(r"(?P<base>.*?)(?:\{(?P<cell>\d+)\}|\((?P<struct>\d+)\)\.(?P<field>\w+))")


@dataclass(frozen=True, slots=True)
class Titles:
    """Names of channels as a variable of the file gives them.

    source: the variable.
    texts: () if it is named as one of names, but holds no texts that can be read.
    """

    source: str
    texts: tuple[str, ...]

    def of(self, n_channels: int) -> tuple[str, ...]:
        """Return the names of that many channels; () if they are others in number, or not distinct names.

        One text for several channels is divided at its commas. The names of clocks do not count if there are too many.
        """
        texts = self.texts
        if len(texts) == 1 != n_channels:
            texts = tuple(part.strip() for part in re.sub(r"\(.*?\)", "", texts[0]).split(",") if part.strip())
        if len(texts) > n_channels:  # names of all columns of a table, of which the times are not in the matrix
            texts = tuple(text for text in texts if not is_clock_name(text))
        fits = len(texts) == n_channels == len(set(texts)) and all(texts)
        return texts if fits else ()

    def __str__(self) -> str:
        shown = ", ".join(self.texts[:8]) + (" ..." if len(self.texts) > 8 else "")
        return f"{printable(self.source)} ({shown})"


def titles_beside(store: Archive, name: str) -> list[Titles]:
    """Return what may be the names of the channels of a variable, the nearest first."""
    cells: dict[str, dict[int, str]] = {}
    for v in store.variables:
        if match := _ELEMENT.fullmatch(v.name):
            base = match["base"]
            last = field_of(base)
            if match["cell"] is not None and _is_title(last, name):
                cells.setdefault(base, {})[int(match["cell"])] = v.name
            elif match["struct"] is not None and last.lower() in PLACES and match["field"].lower() in PLACE_FIELDS:
                cells.setdefault(base, {})[int(match["struct"])] = v.name
    found = []
    for level in levels([name]):
        for v in store.variables:
            if v.name == name or v.name in store.numeric or 0 in v.shape or level_of(v.name) != level:
                continue
            if _is_title(field_of(v.name), name) and v.name not in cells:
                found.append(Titles(v.name, _clean(store.texts(v.name))))
        for base, elements in cells.items():
            if level_of(base) == level:
                texts = [" ".join(store.texts(elements[i])) for i in sorted(elements)]
                found.append(Titles(base, _clean(texts)))
    return [titles for titles in found if titles.texts != ("",)]


def is_title_name(name: str) -> bool:
    """Return whether a name means the names of channels: "channel_names", "labels"."""
    return _letters(name) in NAMES


def _is_title(field: str, name: str) -> bool:
    """Return whether a field means names of channels, of all arrays beside it or of that variable alone."""
    return is_title_name(field) or _letters(field).removeprefix(_letters(field_of(name))) in NAMES


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _clean(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(printable(text.strip()) for text in texts)
