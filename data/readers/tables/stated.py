"""Find the sampling rate that a text states in words: "Sampling rate: 1000 Hz", "fs = 500", "dt = 2 ms"."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, printable
from data.readers.clock import agree
from data.readers.labels import SCALES

# Words that may stand before a rate, as they say nothing else than that it is the recording's.
OWN = frozenset(
    re.findall(
        r"\w+",
        "the a an my our with at of is was and in on using to recorded measured acquired sampled recording "
        "measurement acquisition data file table signal signals all channel channels acc accel accelerometer "
        "acceleration accelerometers imu sensor sensors device logger daq system input output nominal actual "
        "effective true real mean average current info header settings setting config parameter parameters metadata "
        "meta ",
    )
)
_PREFIXES = {"": 1.0, "k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6}
_PER_S = {**{name: 1.0 / scale for name, scale in SCALES.items()}, "": 1.0}
_OF_BITS = re.compile(r"[kmg]?(?:bits?|bytes?|baud|bps)")
_RATE_UNIT = re.compile(r"(kilo|mega|k|m)?(hz|hertz|sps|sa|s|smpl|samples?|points?|pts|scans?|1)?")
_NUMBER = r"(?P<number>\d[\d.,]*(?:e[+-]?\d+)?)"
_UNIT = r"\s*[\[(]?\s*(?P<unit>1\s*/\s*s|(?:/|\bper\b)\s*[a-zµμ]+|[a-zµμ]+(?:\s*/\s*[a-zµμ]+|\s+per\s+[a-zµμ]+)?|)"
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
    r"(?<![a-z])(?:sampl(?:e|ing)[\s_-]*(?:interval|period|time|step)|time[\s_-]*step|dt|delta[\s_-]*t|"
    r"(?<!.)(?:delta_x|interval(?=[\s_]*(?:[\[(:=]))))" + _BRACKET + _LINK + _NUMBER + _UNIT,
    re.IGNORECASE,
)
# "2 msec/sample" and "0.5 samples/msec", lines of their own, as BIOPAC writes them
_PER_SAMPLE = re.compile(
    r"(?P<number>\d[\d.,]*(?:e[+-]?\d+)?)\s*(?P<unit>[a-zµμ]+)\s*(?:/|per)\s*sample", re.IGNORECASE
)
_SAMPLES_PER = re.compile(
    r"(?P<number>\d[\d.,]*(?:e[+-]?\d+)?)\s*(?P<unit>samples?\s*(?:/|per)\s*[a-zµμ]+)", re.IGNORECASE
)
_CHANGED = re.compile(r"decimat|down-?sampl|re-?sampl|under-?sampl|dezim", re.IGNORECASE)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}((,\d{3})+|(\.\d{3})+)")
_TWO_WAYS = re.compile(r"\s*[/x*]\s*\d")


@dataclass(frozen=True, slots=True)
class Stated:
    """The samples per second that a text states, None if it states none, and notes on rates that are not used."""

    rate_hz: float | None = None
    notes: tuple[str, ...] = ()


def stated_rate(lines: Iterable[str], where: Path, decimal: str) -> Stated:
    """Return the samples per second that comments or a preamble state.

    decimal: the decimal mark of the table, which tells whether 2.000 is two or two thousand; "" if it shows none.

    A rate is not used, and a note says so, if another word qualifies it ("GPS sampling rate"), or if the text says that
    the samples were decimated or resampled.

    Raises DataError if they state two rates, or one that can be read in two ways or has an unknown unit.
    """
    lines = list(lines)
    changed = next((line for line in lines if _CHANGED.search(line)), None)
    found: dict[float, str] = {}
    notes: list[str] = []
    for line in lines:
        match = _match(line)
        if match is None:
            continue
        shown = printable(line.strip())[:80]
        if (word := _foreign_word(line, match)) is not None:
            notes.append(f"the rate in {shown!r} is not used, as it may be that of {word!r}")
            continue
        rate_hz = _rate_in(match, line, where, decimal)
        if rate_hz is None or any(agree(rate_hz, other) for other in found):
            continue
        if changed is not None:
            notes.append(f"the rate in {shown!r} is not used, as {printable(changed.strip())[:60]!r} may change it")
        else:
            found[rate_hz] = shown
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise DataError(
            f"{where}: states two sampling rates, {one:g} Hz ({first!r}) and {other:g} Hz ({second!r}); keep the one "
            "of the signals"
        )
    return Stated(next(iter(found), None), tuple(notes))


def is_statement(line: str) -> bool:
    """Return whether a line states a sampling rate or interval, of the signals or of something else."""
    match = _match(line)
    return match is not None and not re.search(r"[,;|\t]", _bare(line)[: match.start()])


def _bare(line: str) -> str:
    return line.strip().lstrip("#%\"';{/ ").rstrip("\"' ")


def _match(line: str) -> re.Match[str] | None:
    text = _bare(line)
    for pattern in (_PER_SAMPLE, _SAMPLES_PER):
        if (match := pattern.fullmatch(text)) is not None:
            return match
    return _RATE.search(text) or _INTERVAL.search(text)


def _foreign_word(line: str, match: re.Match[str]) -> str | None:
    """Return the word that makes a rate that of something else: before it, or in brackets behind it."""
    before = re.split(r"[,;|\t.]", _bare(line)[: match.start()])[-1]
    words = re.findall(r"[^\W\d_]+", before.lower())
    inner = (match.groupdict().get("inner") or "").lower()
    if inner and _hertz(inner) is None and inner not in SCALES:
        words.append(inner)
    return next((word for word in words if word not in OWN), None)


def _hertz(unit: str) -> float | None:
    """Return the Hz of a unit of rates: "Hz", "kS/s", "samples/s", "points/min"; None if it is none."""
    if unit == "mHz":
        return 1e-3
    count, per, time = re.sub(r"\s*(?:/|\bper\b)\s*", "/", unit.lower()).partition("/")
    if time in ("ch", "chan", "channel", "sensor"):
        per = time = ""
    match = _RATE_UNIT.fullmatch(count)
    if match is None or time not in _PER_S:
        return None
    base, is_whole = match[2] or "", match[2] in ("hz", "hertz", "sps")
    if is_whole == bool(per) or (match[1] and not base):
        return None if count or per else 1.0
    return _PREFIXES[match[1] or ""] * (_PER_S[time] if per else 1.0)


def _rate_in(match: re.Match[str], line: str, where: Path, decimal: str) -> float | None:
    """Return the samples per second that a statement gives, None if it is one of something else."""
    groups = match.groupdict()
    unit = match["unit"] or groups.get("inner") or groups.get("suffix") or ""
    shown = printable(line.strip())[:80]
    if _OF_BITS.fullmatch(unit.lower().partition("/")[0]):
        return None
    value = _number(match["number"], line, where, decimal)
    others = match.string[match.end("number") :].split("\t")[1:]
    others = [other for other in others if re.fullmatch(r"\d[\d.,]*(?:[eE][+-]?\d+)?", other)]
    if any(_number(other, line, where, decimal) != value for other in others):
        raise DataError(
            f"{where}: states sampling rates or intervals that differ ({shown!r}); keep the columns of one rate"
        )
    if match.re is _PER_SAMPLE or match.re is _INTERVAL or (unit.lower() in SCALES and _hertz(unit) is None):
        scale = SCALES.get(unit.lower(), SCALES.get((groups.get("inner") or groups.get("suffix") or "").lower()))
        if scale is None:
            return None if value >= 1 or value <= 0 else 1.0 / value  # without a unit, only seconds are below 1
        return 1.0 / (scale * value) if value > 0 else None
    if _TWO_WAYS.match(match.string[match.end() :]):
        raise DataError(
            f"{where}: states a sampling rate that can be read in two ways ({shown!r}); write the rate of one channel, "
            "and nothing behind it"
        )
    scale = _hertz(unit)
    if scale is None and ("/" in unit or " per " in unit or _RATE_UNIT.fullmatch(unit.lower())):
        raise DataError(
            f"{where}: states a sampling rate in the unit {printable(unit)!r} ({shown!r}), which is unknown; write it "
            "in Hz, or remove that line and give rate_hz="
        )
    if scale is None:  # the next word of a sentence
        scale = _hertz(groups.get("inner") or groups.get("suffix") or "") or 1.0
    rate_hz = scale * value
    if rate_hz <= 0:
        raise DataError(f"{where}: states a sampling rate of {rate_hz:g} Hz; a positive number is needed")
    return rate_hz


def _number(text: str, line: str, where: Path, decimal: str) -> float:
    number = text.rstrip(".,")
    marks = re.findall("[.,]", number) if _THOUSANDS.fullmatch(number) else []  # or one with three decimal places
    if marks and (len(marks) > 1 or not decimal or (marks[0], decimal) == (",", ".")):
        raise DataError(
            f"{where}: states a sampling rate with {number!r} ({printable(line.strip())[:80]!r}), which can be read in "
            "two ways; write it without marks between its digits"
        )
    if marks and marks[0] != decimal:
        return float(number.replace(marks[0], ""))
    try:
        return float(number.replace(",", "."))
    except ValueError:
        raise DataError(
            f"{where}: states a sampling rate that is no number ({printable(line.strip())[:80]!r}); mend it, or "
            "remove that line and give rate_hz="
        ) from None
