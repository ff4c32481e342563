"""Recognise times and counters of samples by the names of columns and variables: "Time (s)", "t_ms", "Sample no."."""

import re
import unicodedata
from dataclasses import dataclass
from types import MappingProxyType

SCALES = MappingProxyType(
    {
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunde", "sekunden", "秒", "с", "сек"), 1.0),
        **dict.fromkeys(
            ("ms", "msec", "msecs", "millis", "milli", "millisec", "millisecond", "milliseconds", "毫秒", "ミリ秒"),
            1e-3,
        ),
        **dict.fromkeys(("us", "µs", "μs", "usec", "usecs", "micros", "microsec", "microsecond", "microseconds"), 1e-6),
        **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosec", "nanosecond", "nanoseconds"), 1e-9),
        **dict.fromkeys(("min", "mins", "minute", "minutes", "minuten", "分", "мин"), 60.0),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "stunden"), 3600.0),
    }
)
TIMES = frozenset(
    [
        "t",
        "ts",
        "tvec",
        "tvector",
        "taxis",
        "time",
        "times",
        "timebase",
        "timeaxis",
        "timevec",
        "timevector",
        "timestamp",
        "timestamps",
        "tstamp",
        "timer",
        "date",
        "datetime",
        "clock",
        "elapsed",
        "epoch",
        "unixtime",
        "uptime",
        "zeit",
        "zeitstempel",
        "uhrzeit",
        "datum",
    ]
)
ABOUT_TIMES = frozenset(
    [
        "stamp",
        "relative",
        "rel",
        "absolute",
        "abs",
        "local",
        "utc",
        "gmt",
        "gps",
        "unix",
        "system",
        "sys",
        "device",
        "sensor",
        "sample",
        "sampling",
        "recording",
        "running",
        "total",
        "of",
        "day",
        "since",
        "start",
        "vec",
        "vector",
        "axis",
        "base",
        "in",
        "from",
    ]
)
COUNTERS = frozenset(
    [
        "sample",
        "samples",
        "index",
        "idx",
        "n",
        "no",
        "nr",
        "num",
        "number",
        "nummer",
        "frame",
        "frames",
        "row",
        "rows",
        "#",
        "count",
        "counter",
        "seq",
    ]
)
ABOUT_COUNTERS = frozenset(["of", "the", "data", "i", "id"])
# No time unless another word says so: "min" may be a minimum.
ALONE = frozenset(["min", "mins", "h", "hr", "minute", "hour"])
NO_UNIT = frozenset(("", "-", "utc", "gmt", "local", "unix", "epoch", "none", "n/a", "na"))
_BRACKET = re.compile(r"(.*?)\s*[\[({]\s*(.*?)\s*[\])}]\s*")
_SLASH = re.compile(r"(.*?[^\s/])\s*/\s*([a-zµμ]+)")


@dataclass(frozen=True, slots=True)
class Role:
    """What a column's name says.

    is_clock: it holds times.
    is_counter: it numbers the samples.
    scale: the unit of the times in s; None if it is not stated.
    unit: that is stated but unknown; "" if there is none.
    """

    is_clock: bool = False
    is_counter: bool = False
    scale: float | None = None
    unit: str = ""


def role_of(label: str, unit_below: str) -> Role:
    """Return what a name and the unit in the row below it say; units of both kinds that differ are unknown."""
    if re.fullmatch(r"unnamed: \d+", label.strip().lower()):
        return Role(is_counter=True)
    base, units = _parts(label, unit_below)
    words = _words(base)
    named = [word for word in words if word in SCALES]
    rest = [word for word in words if word not in SCALES]
    is_clock = bool(words) and set(rest) <= TIMES | ABOUT_TIMES and (bool(TIMES & set(rest)) or bool(named))
    if is_clock and not rest and (len(words) > 1 or words[0] in ALONE):
        is_clock = False
    is_counter = bool(words) and set(words) <= COUNTERS | ABOUT_COUNTERS and bool(COUNTERS & set(words))
    if (is_clock or is_counter) and (set(units) & COUNTERS):
        return Role(is_counter=True)
    if not is_clock:
        return Role(is_counter=is_counter)
    if any(u not in SCALES for u in _stated(units)) and (base in ("t", *SCALES)):
        return Role()  # "T (degC)"
    return _clock(named, units)


def rising_role(label: str, unit_below: str) -> Role:
    """Return the role of a column that rises as times do although its name is none of a clock: a clock.

    Its unit is that in brackets, that of the row of units, or the last word: "Laufzeit [min]", "min", "run_ms".
    """
    base, units = _parts(label, unit_below)
    return _clock([word for word in _words(base)[-1:] if word in SCALES], units)


def has_time_unit(label: str, unit_below: str) -> bool:
    """Return whether the brackets of a name or the row of units hold a unit of time, and no other: "PC uptime (s)"."""
    stated = _stated(_parts(label, unit_below)[1])
    return bool(stated) and all(unit in SCALES for unit in stated)


def _parts(label: str, unit_below: str) -> tuple[str, list[str]]:
    """Return a name in lower case without its unit, and the units in it and below it."""
    text = unicodedata.normalize("NFKC", label.strip())  # also brackets and letters of double width
    if text.lower() not in SCALES:
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    base, unit = text.lower(), ""
    for pattern in (_BRACKET, _SLASH):
        if match := pattern.fullmatch(base):
            base, unit = match[1], match[2]
            break
    below = unicodedata.normalize("NFKC", unit_below.strip()).strip("[](){}").strip().lower()
    return base, [u.removesuffix(".") for u in (unit, below)]


def _words(base: str) -> list[str]:
    return [word for word in re.split(r"[\s_\-.:]+", base) if word]


def _stated(units: list[str]) -> list[str]:
    return [u for u in units if u not in NO_UNIT and not re.fullmatch(r"h+\W?m+(\W?s+)?\W?[sf0]*", u)]


def _clock(named: list[str], units: list[str]) -> Role:
    """Return the role of a clock. named: units in its name."""
    stated = _stated(units)
    scales = {SCALES[u] for u in [*named, *stated] if u in SCALES}
    if len(scales) > 1:
        return Role(True, unit=" and ".join(dict.fromkeys([*named, *stated])))
    return Role(True, scale=next(iter(scales), None), unit=next((u for u in stated if u not in SCALES), ""))
