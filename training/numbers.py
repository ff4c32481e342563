"""Numbers as people and programs read them."""

import math
from collections.abc import Mapping
from typing import Any


def short(value: object, digits: int = 4) -> str:
    """A float to `digits` significant digits; anything else as it is."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def signed(value: float | None, decimals: int = 2) -> str:
    """A score with its sign; "" for None."""
    return "" if value is None else f"{value:+.{decimals}f}"


def decimal(value: float | None, decimals: int) -> str:
    """A number with so many decimals; "" for None."""
    return "" if value is None else f"{value:.{decimals}f}"


def rounded(value: Any, digits: int) -> Any:
    """Floats to `digits` significant digits, as numbers, in tables and lists too; anything else as it is."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    return [rounded(inner, digits) for inner in value] if isinstance(value, list | tuple) else value


def finite(value: Any) -> Any:
    """A plain value for JSON, which has no infinity and no NaN: null in their place, in tables and lists too."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
