"""Join columns that hold the parts of one time: year, month ... second, or the secs and nsecs of ROS."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.readers.labels import SCALES
from data.readers.tables.columns import Column, Floats

_DAYS = {"day": 86400.0, "days": 86400.0, "tag": 86400.0}
_LONGER = frozenset(["year", "month", "jahr", "monat"])  # whole numbers that change in no usual recording


@dataclass(frozen=True, slots=True)
class Parts:
    """Columns of one time: their indices, their joint name, the time in s, from the first row on."""

    indices: tuple[int, ...]
    name: str
    times: Floats


def parts_of(columns: Sequence[Column]) -> Parts | None:
    """Return the columns that hold the parts of a time, or None.

    The last word of their names is a unit of time, each of another length, and the words before it are equal. All but
    the finest hold whole numbers, and each but the longest stays below the next: nsecs below 1 s, minutes below 1 h.
    """
    groups: dict[tuple[str, ...], dict[int, float]] = {}
    longer: list[int] = []
    for i, column in enumerate(columns):
        if column.label is None or column.values is None or column.kind != "number" or column.asked:
            continue
        *before, word = [word for word in re.split(r"[\W_]+", column.label.lower()) if word] or [""]
        scale = SCALES.get(word, _DAYS.get(word))
        if word in _LONGER and _is_whole(column.values):
            longer.append(i)
        elif scale is not None and np.isfinite(column.values).all():
            groups.setdefault(tuple(before), {})[i] = scale
    return next((found for scales in groups.values() if (found := _joined(columns, scales, longer))), None)


def _joined(columns: Sequence[Column], scales: dict[int, float], longer: Sequence[int]) -> Parts | None:
    """Return the time whose parts are these columns, or None. scales: of each of them, in s."""
    order = sorted(scales, key=lambda i: -scales[i])
    if len(order) < 2 or len(set(scales.values())) < len(scales):
        return None
    for i, finer in pairwise(order):
        coarse, fine = _values(columns[i]), _values(columns[finer])
        ratio = scales[i] / scales[finer]
        if scales[i] > 1 and ratio > 60:
            return None  # hours and seconds, but no minutes: "hr" is a heart rate
        if not _is_whole(coarse) or fine.min() < 0 or fine.max() > ratio * (1.0 + 1e-9):
            return None
    parts = ((_values(columns[i]) - _values(columns[i])[0]) * scales[i] for i in order)
    times = np.round(sum(parts, np.zeros(1)), 9)
    if not (np.diff(times) >= 0).all() or times[-1] <= times[0]:
        return None
    name = " + ".join(columns[i].name for i in order)
    return Parts(tuple(sorted((*longer, *order))), name, times)


def _values(column: Column) -> Floats:
    assert column.values is not None
    return column.values


def _is_whole(values: Floats) -> bool:
    return bool(np.isfinite(values).all()) and bool((values == np.round(values)).all())
