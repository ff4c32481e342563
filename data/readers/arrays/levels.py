"""Where a variable is in a file of named arrays: at the top, or in which struct, cell or group."""

import re
from collections.abc import Sequence

from data.readers.arrays.archive import Archive
from data.readers.contents import Variable


def is_vector(variable: Variable) -> bool:
    """Return whether at most one axis is longer than 1."""
    return sum(n > 1 for n in variable.shape) <= 1


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that are longer than 1."""
    return tuple(n for n in shape if n > 1)


def level_of(name: str) -> str:
    """Return the struct, cell or group that a variable is in: "runs{2}" for "runs{2}.acc", "" at the top."""
    last = re.search(r"([./][^./]*|\{\d+\}|\(\d+\))$", name)
    return name[: last.start()] if last else ""


def field_of(name: str) -> str:
    """Return the name of a variable within its struct."""
    return name.removeprefix(level_of(name)).lstrip("./")


def levels(names: Sequence[str]) -> list[str]:
    """Return the structs and cells that all these variables are in, the innermost first; the last is "", the top."""
    around: list[str] = []
    level = level_of(names[0])
    while level:
        if all(_is_within(name, level) for name in names):
            around.append(level)
        level = level_of(level)
    return [*around, ""]


def _is_within(name: str, level: str) -> bool:
    while name:
        name = level_of(name)
        if name == level:
            return True
    return False


def at(store: Archive, level: str) -> list[Variable]:
    """Return the variables that are directly in a struct or cell, or at the top."""
    return [v for v in store.variables if level_of(v.name) == level]
