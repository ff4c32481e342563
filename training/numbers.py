"""Format numbers for people, and make plain values fit for JSON."""

import math
from collections.abc import Mapping
from typing import Any


def short(value: object, digits: int = 4) -> str:
    """Return a float with `digits` significant digits as text; any other value as `str` gives it."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def compact(value: float) -> str:
    """Return a number with three significant digits in few characters: 0.0003, 1e-5, 42, 1.5k, 300k, 2M."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if float(f"{abs(value):.3g}") >= size:
            return f"{float(f'{value:.3g}') / size:g}{suffix}"
    return f"{value:.3g}".replace("e-0", "e-")


def signed(value: float | None, decimals: int = 2) -> str:
    """Return a score with its sign as text; "" for None."""
    return "" if value is None else f"{value:+.{decimals}f}"


def decimal(value: float | None, decimals: int) -> str:
    """Return a number with `decimals` decimals as text; "" for None."""
    return "" if value is None else f"{value:.{decimals}f}"


def rounded(value: Any, digits: int) -> Any:
    """Round floats to `digits` significant digits, also inside dicts and lists. Other values are left unchanged."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    return [rounded(inner, digits) for inner in value] if isinstance(value, list | tuple) else value


def finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None, also inside dicts and lists."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
