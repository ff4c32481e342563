"""Note numbers of a text table that are likely no samples: error codes such as -9999, a line of calibration factors."""

from collections.abc import Mapping

import numpy as np

from data.readers.tables.columns import Floats

FAR = 20.0  # times the range of all other numbers
FAR_ROW = 5.0  # the same of a first row, all of whose numbers are far off
N_FEWEST = 20  # rows by which a range is judged
CODES = frozenset([-9999.0, 9999.0, -99999.0, 99999.0, -32768.0, 32767.0, 65535.0, -999.0, 1e31, -1e31, 1e30, 1e38])


def oddities(signals: Mapping[str, Floats]) -> tuple[str, ...]:
    """Return notes on numbers far from all others that repeat or are known codes, and on a first row that is far off.

    signals: the columns that are signals by their names.
    """
    notes = []
    for name, values in signals.items():
        for value, count in _far(values):
            if count > 1 or value in CODES:
                times = "once" if count == 1 else f"{count} times"
                notes.append(
                    f"column {name} holds {value:g} {times}, far outside all other samples; if that means no sample, "
                    "leave these cells empty"
                )
    if len(signals) > 1 and all(_is_far(values[0], values[1:], FAR_ROW) for values in signals.values()):
        shown = ", ".join(f"{values[0]:g}" for values in list(signals.values())[:4])
        notes.append(f"the first row ({shown}) is far outside all other samples; if it is a calibration, remove it")
    return tuple(notes)


def _far(values: Floats) -> list[tuple[float, int]]:
    """Return the lowest and highest numbers, as long as they lie far from the rest, and how often they occur."""
    found: list[tuple[float, int]] = []
    rest = values[np.isfinite(values)]
    for _ in range(4):
        if rest.size < N_FEWEST:
            break
        low, high = float(rest.min()), float(rest.max())
        middle = float(np.median(rest))
        extreme = low if middle - low > high - middle else high
        others = rest[rest != extreme]
        if not _is_far(extreme, others):
            # -9999 and 9999 hide each other
            inner = others[(others > low) & (others < high)] if others.size else others
            if not (_is_far(low, inner) and _is_far(high, inner)):
                break
        found.append((extreme, rest.size - others.size))
        rest = others
    return found


def _is_far(value: float, others: Floats, far: float = FAR) -> bool:
    known = others[np.isfinite(others)]
    if known.size < N_FEWEST:
        return False
    low, high = float(known.min()), float(known.max())
    apart = max(low - value, value - high)
    return high > low and apart > far * (high - low)
