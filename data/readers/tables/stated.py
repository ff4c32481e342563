"""Find the sampling rate that a text states in words: "Sampling rate: 1000 Hz", "fs = 500", "dt = 2 ms"."""

import re
from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError, printable

HERTZ = {"": 1.0, "hz": 1.0, "hertz": 1.0, "khz": 1e3, "mhz": 1e6, "sps": 1.0, "s/s": 1.0, "1/s": 1.0, "samples/s": 1.0}
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6}
TOLERANCE = 1e-3
_OF_BITS = re.compile(r"[kmg]?(?:bits?|bytes?|baud|bps)")
_NUMBER = r"(?P<number>\d[\d.,]*(?:e[+-]?\d+)?)"
_UNIT = r"\s*[\[(]?\s*(?P<unit>samples/s|s/s|1/s|[a-zµμ]*)"
_BRACKET = r"(?:[\s_]*[\[(]\s*(?P<inner>[a-z/1µμ]+)\s*[\])]|_(?P<suffix>k?hz|m?s|us))?"
_LINK = r"\"?\s*(?:[:=,;|\t]|\bis\b|\bof\b|\s)\s*\"?\s*"
_RATE = re.compile(
    r"(?<![a-z])(?:sampl(?:e|es|ing)?[\s_-]*(?:rate|freq(?:uency)?)|s(?:ample)?[\s_-]?(?:rate|freq)|data[\s_-]*rate|"
    r"abtast(?:rate|frequenz)|fs|f_s|sr|odr|(?<!.)rate(?=[\s_]*(?:[\[(:=,;\t]|k?hz)))"
    + _BRACKET
    + _LINK
    + _NUMBER
    + _UNIT,
    re.IGNORECASE,
)
_INTERVAL = re.compile(
    r"(?<![a-z])(?:sampl(?:e|ing)[\s_-]*(?:interval|period|time|step)|time[\s_-]*step|dt|delta[\s_-]*t)"
    + _BRACKET
    + _LINK
    + _NUMBER
    + _UNIT,
    re.IGNORECASE,
)


def stated_rate(lines: Iterable[str], where: Path) -> float | None:
    """Return the samples per second that comments or a preamble state, or None.

    Raises DataError if they state two rates, or one that can be read in two ways.
    """
    found: dict[float, str] = {}
    for line in lines:
        rate_hz = _rate_in(line, where)
        if rate_hz is not None and not any(abs(rate_hz - other) <= TOLERANCE * other for other in found):
            found[rate_hz] = printable(line.strip())[:80]
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise DataError(
            f"{where}: states two sampling rates, {one:g} Hz ({first!r}) and {other:g} Hz ({second!r}); keep the one "
            "of the signals"
        )
    return next(iter(found), None)


def is_statement(line: str) -> bool:
    """Return whether a line states a sampling rate or interval."""
    text = line.strip().lstrip("#%\"' ")
    return any(pattern.match(text) is not None for pattern in (_RATE, _INTERVAL))


def _rate_in(line: str, where: Path) -> float | None:
    text = line.strip().lstrip("#%\"' ")
    match = _RATE.search(text)
    units, is_interval = HERTZ, False
    if match is None:
        match, units, is_interval = _INTERVAL.search(text), SECONDS, True
    if match is None:
        return None
    unit = (match["unit"] or match["inner"] or match["suffix"] or "").lower()
    if not is_interval and unit in SECONDS:
        units, is_interval = SECONDS, True  # "Sampling rate: 2 ms"
    elif not is_interval and _OF_BITS.fullmatch(unit):
        return None
    elif unit not in units:  # the next word of a sentence
        unit = (match["inner"] or match["suffix"] or "").lower()
    value = _number(match["number"], line, where)
    if is_interval:
        if unit not in units:
            return None if value >= 1 or value <= 0 else 1.0 / value  # without a unit, only seconds are below 1
        value = units[unit] * value
        return 1.0 / value if value > 0 else None
    if unit not in units:
        return None
    rate_hz = units[unit] * value
    if rate_hz <= 0:
        raise DataError(f"{where}: states a sampling rate of {rate_hz:g} Hz; a positive number is needed")
    return rate_hz


def _number(text: str, line: str, where: Path) -> float:
    number = text.rstrip(".,")
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+|[1-9]\d{0,2}(\.\d{3}){2,}", number):
        raise DataError(
            f"{where}: states a sampling rate with {number!r} ({printable(line.strip())[:80]!r}), which can be read in "
            "two ways; write it without marks between its digits"
        )
    try:
        return float(number.replace(",", "."))
    except ValueError:
        raise DataError(
            f"{where}: states a sampling rate that is no number ({printable(line.strip())[:80]!r}); mend it, or "
            "remove that line and give rate_hz="
        ) from None
