"""An open file of named arrays, whatever its format."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data.readers.contents import Numbers, Variable

BLOCK_BYTES = 1 << 26
ATTRIBUTE = "attribute"  # the type of a variable that is a property of another one: never a signal


class Archive(Protocol):
    """An open file of named arrays. Arrays in structs and cells have their path in MATLAB as name: "runs{2}.acc"."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return every variable, in the file's order."""

    @property
    def numeric(self) -> frozenset[str]:
        """Return the names of the variables with real numbers."""

    @property
    def times(self) -> frozenset[str]:
        """Return the names of the variables with dates, which load as seconds since the first: float64."""

    def load(self, name: str) -> Numbers:
        """Return the whole variable."""

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        """Yield the 1-D slices of a 2-D variable at `indices` of `axis`."""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts in a variable: the rows of a matrix of characters, the elements of an array of strings.

        () if it holds none that can be read.
        """


def _none(name: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class WholeArrays:
    """An archive of a format of which an array is loaded whole. load_once: cached, for channels are columns of one."""

    load_once: Callable[[str], Numbers]
    variables: tuple[Variable, ...]
    numeric: frozenset[str]
    times: frozenset[str] = frozenset()
    texts_of: Callable[[str], tuple[str, ...]] = _none

    def load(self, name: str) -> Numbers:
        """Return the whole array."""
        return self.load_once(name)

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        """Yield the 1-D slices of a 2-D array at `indices` of `axis`."""
        matrix = self.load(name)
        for i in indices:
            yield matrix[i] if axis == 0 else matrix[:, i]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts in an array."""
        return self.texts_of(name)


def arrays(store: Archive) -> dict[str, Variable]:
    """Return the numeric variables of at least two samples, by name."""
    found = (v for v in store.variables if v.name in store.numeric and v.dtype != ATTRIBUTE)
    return {v.name: v for v in found if math.prod(v.shape) >= 2}


def lines_of(read: Callable[[slice], Numbers], indices: Iterable[int], line_bytes: int) -> Iterator[Numbers]:
    """Yield lines of a stored matrix one by one, but read several at once: a compressed chunk holds parts of many.

    read: returns the lines of a slice, [line, time]. line_bytes: size of a line; at most BLOCK_BYTES are read at once.
    """
    left = list(indices)
    at_once = max(1, BLOCK_BYTES // max(1, line_bytes))
    while left:
        first = left[0]
        n = next((k for k, i in enumerate(left) if not first <= i < first + at_once), len(left))
        block, left = left[:n], left[n:]
        lines = read(slice(first, max(block) + 1))
        for i in block:
            yield lines[i - first]


def since_first(dates: Numbers) -> Numbers:
    """Return dates (datetime64) as seconds since the first, float64; NaN for those that are missing."""
    stamps: Any = dates
    seconds: Numbers = (stamps - np.ravel(stamps)[:1]) / np.timedelta64(1, "s")
    return seconds


def array_texts(array: Numbers) -> tuple[str, ...]:
    """Return the texts in an array of strings or bytes."""
    items = (item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in np.ravel(array).tolist())
    return tuple(item for item in items if isinstance(item, str))
