"""An open file of named arrays, whatever its format."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from data.readers.contents import Numbers, Variable


class Archive(Protocol):
    """An open file of named arrays. Arrays in structs and cells have their path in MATLAB as name: "runs{2}.acc"."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return every variable, in the file's order."""

    @property
    def numeric(self) -> frozenset[str]:
        """Return the names of the variables with real numbers."""

    def load(self, name: str) -> Numbers:
        """Return the whole variable."""

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        """Yield the 1-D slices of a 2-D variable at `indices` of `axis`."""


@dataclass(frozen=True, slots=True)
class WholeArrays:
    """An archive of a format of which an array is loaded whole. load_once: cached, for channels are columns of one."""

    load_once: Callable[[str], Numbers]
    variables: tuple[Variable, ...]
    numeric: frozenset[str]

    def load(self, name: str) -> Numbers:
        """Return the whole array."""
        return self.load_once(name)

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        """Yield the 1-D slices of a 2-D array at `indices` of `axis`."""
        matrix = self.load(name)
        for i in indices:
            yield matrix[i] if axis == 0 else matrix[:, i]


def arrays(store: Archive) -> dict[str, Variable]:
    """Return the numeric variables of at least two samples, by name."""
    return {v.name: v for v in store.variables if v.name in store.numeric and math.prod(v.shape) >= 2}
