"""Split lines of text tables into cells, and say what a cell holds: a number, a time, a date, nothing or a text."""

import csv
import re
from collections.abc import Sequence

SPACES = " "  # delimiter: any white space
SINGLE = ""  # delimiter: none, the line is the only cell
DELIMITERS = ("\t", ";", "|", ",", SPACES)
MISSING = (
    *("", "NaN", "nan", "NAN", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "#NV", "NaT", "null", "NULL", "None", "none"),
    *("--", "nan(ind)", "-nan(ind)", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND"),
)
NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|infinity)", re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d+")
TIME_OF_DAY = r"(?:\d{1,2}:\d{2}:\d{2}(?:[.,]\d+|:\d{3})?|\d{1,2}:\d{2}[.,]\d+)"
DATE = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}-[A-Za-z]{3}-\d{4})"
DURATION = r"([+-]?\d+(?:[.,]\d*)?(?:[eE][+-]?\d+)?)\s*(s|sec|seconds?|ms|msec|us|µs|usec|ns)"  # "0.002 sec"
_STAMP = re.compile(
    rf"(?:(?:{DATE}[T ]|\d+ days?)\s*)?{TIME_OF_DAY}\s*(?:[AaPp]\.?[Mm]\.?|Z|UTC|[+-]\d\d:?\d\d)?|{DURATION}"
)
_DATE = re.compile(DATE)
_NO_TEXT = re.compile(r"[+-]?[\d.,;|'’\s]*\d[\d.,;|'’\s]*")  # digits with marks that make no number, as 1.234,5


def split(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line without quotes and surrounding white space."""
    if delimiter == SINGLE:
        return [unquoted(line)]
    if '"' in line:
        if delimiter == SPACES:
            line = " ".join(line.split())
        line = line.strip() if delimiter != "\t" else line.strip(" \r")
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    else:
        cells = line.split() if delimiter == SPACES else line.split(delimiter)
    return [cell.strip(" \t\r\n'") for cell in cells]


def unquoted(cell: str) -> str:
    """Return a cell without surrounding white space and quotes."""
    return cell.strip().strip("\"'").strip()


def is_missing(cell: str) -> bool:
    """Return whether a cell holds no value: it is empty, NaN, NA, null, or what programs write for these."""
    return cell in MISSING or cell.lower() in ("nan", "-nan", "+nan", "null")


def kind_of(cell: str) -> str:
    """Return what a cell holds: "number", "stamp" (a time of day, perhaps with a date), "date", "missing" or "text"."""
    if is_missing(cell):
        return "missing"
    if NUMBER.fullmatch(cell):
        return "number"
    if _STAMP.fullmatch(cell):
        return "stamp"
    return "date" if _DATE.fullmatch(cell) else "text"


def kind_of_column(cells: Sequence[str]) -> str:
    """Return what a column holds: "number" if any cell is one or all are missing, else what most cells hold.

    Digits with marks that make no number are none of a label, but of a number that is written in another way.
    """
    kinds = [kind_of(cell) for cell in cells]
    known = [kind for kind in kinds if kind != "missing"]
    if not known or "number" in known:
        return "number"
    kind = max(("stamp", "date", "text"), key=known.count)
    return "number" if kind == "text" and any(map(_NO_TEXT.fullmatch, cells)) else kind


def value_of(cell: str, decimal: str) -> float | None:
    """Return the number in a cell, NaN for a missing one, or None for a text.

    decimal: the decimal mark, "." or ",".
    """
    if is_missing(cell):
        return float("nan")
    other = "." if decimal == "," else ","
    if not NUMBER.fullmatch(cell) or other in cell or not cell.isascii():
        return None
    return float(cell.replace(",", "."))


def decimal_of(cells: Sequence[str]) -> str:
    """Return the decimal mark of numbers, "" if they show none; the more frequent if both occur."""
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell)]
    commas, points = (sum(mark in cell for cell in numbers) for mark in ",.")
    if commas == points == 0:
        return ""
    return "," if commas > points else "."
