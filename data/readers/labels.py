"""Recognise times and counters of samples by the names of columns and variables: "Time (s)", "t_ms", "Sample no."."""

import re
from dataclasses import dataclass
from types import MappingProxyType

SCALES = MappingProxyType(
    {
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden"), 1.0),
        **dict.fromkeys(("ms", "msec", "msecs", "millis", "milli", "millisecond", "milliseconds"), 1e-3),
        **dict.fromkeys(("us", "µs", "μs", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
        **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
        **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
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
NO_UNIT = frozenset(("", "-", "utc", "gmt", "local", "unix", "epoch"))
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
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.strip()).lower()
    base, unit = text, ""
    for pattern in (_BRACKET, _SLASH):
        if match := pattern.fullmatch(text):
            base, unit = match[1], match[2]
            break
    below = unit_below.strip().strip("[](){}").strip().lower()
    words = [word for word in re.split(r"[\s_\-.:]+", base) if word]
    named = [word for word in words if word in SCALES]
    rest = [word for word in words if word not in SCALES]
    is_clock = bool(words) and set(rest) <= TIMES | ABOUT_TIMES and (bool(TIMES & set(rest)) or bool(named))
    if is_clock and not rest and (len(words) > 1 or words[0] in ALONE):
        is_clock = False
    is_counter = bool(words) and set(words) <= COUNTERS | ABOUT_COUNTERS and bool(COUNTERS & set(words))
    if (is_clock or is_counter) and ({unit, below} & COUNTERS):
        return Role(is_counter=True)
    if not is_clock:
        return Role(is_counter=is_counter)
    stated = [u for u in (unit, below) if u not in NO_UNIT and not re.fullmatch(r"h+\W?m+(\W?s+)?\W?[sf0]*", u)]
    unknown = next((u for u in stated if u not in SCALES), "")
    scales = {SCALES[u] for u in [*named, *stated] if u in SCALES}
    if unknown and (base in ("t", *SCALES)):
        return Role()  # "T (degC)"
    if len(scales) > 1:
        return Role(True, unit=" and ".join(dict.fromkeys([*named, *stated])))
    return Role(True, scale=next(iter(scales), None), unit=unknown)
