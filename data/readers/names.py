"""What the names of variables, attributes and columns mean: a sampling rate, a sample interval, a clock.

Case, spaces, underscores and brackets are ignored: "Sample Rate (Hz)" is "samplerate" in Hz.
"""

import re

# "freq" and "frequency" alone are left out: as often they are those of a stimulus or a filter.
_RATES = frozenset(
    [
        "fs",
        "sr",
        "rate",
        "srate",
        "sfreq",
        "sps",
        "fsample",
        "fsamp",
        "samplerate",
        "samplingrate",
        "samprate",
        "samplefrequency",
        "samplingfrequency",
        "samplefreq",
        "samplingfreq",
        "sampfreq",
        "samplespersecond",
        "acquisitionrate",
    ]
)
_INTERVALS = frozenset(
    [
        "dt",
        "ts",
        "deltat",
        "sampleinterval",
        "samplinginterval",
        "sampleperiod",
        "samplingperiod",
        "sampletime",
        "tinterval",
    ]
)
_CLOCKS = r"timestamps?|times?|timevector|timevec|timeaxis|timebase|tvec|tvector|taxis|ts?"
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
}
_UNIT = "|".join(sorted(_SECONDS, key=len, reverse=True))


def is_rate_name(name: str) -> bool:
    """Return whether a name means a sampling rate or a sample interval: "Fs", "SampleRate", "rate_hz", "dt"."""
    return _rate_scale(name) is not None or _interval_s(name) is not None


def rate_from(name: str, value: float) -> float | None:
    """Return the samples per second that a number with this name states; None if it is no rate by its name.

    The result is not positive or not finite if the number can be no rate.
    """
    scale, interval_s = _rate_scale(name), _interval_s(name)
    if scale is not None:
        return value * scale
    if interval_s is not None:
        return 1.0 / (value * interval_s) if value else float("inf")
    return None


def is_rate_name_of(name: str, other: str) -> bool:
    """Return whether a name means the rate of the array `other` alone: "ecg_fs" or "fs_ecg" of "ecg"."""
    whole, part = _letters(name), _letters(other)
    if not part or len(whole) <= len(part):
        return False
    ends = (whole.removeprefix(part), whole.removesuffix(part), re.sub(f"{re.escape(part)}(k?hz)$", r"\1", whole))
    return any(rest != whole and is_rate_name(rest) for rest in ends)


def rate_from_of(name: str, other: str, value: float) -> float | None:
    """Return the samples per second that a number states of the array `other` alone; None if it states none."""
    if not is_rate_name_of(name, other):
        return None
    return rate_from(_letters(name).replace(_letters(other), "", 1), value)


def is_clock_name(name: str) -> bool:
    """Return whether a name means the times of samples: "time", "t", "Time (s)", "timestamps_ms"."""
    return re.fullmatch(f"({_CLOCKS})({_UNIT})?", _letters(name)) is not None


def clock_unit_s(name: str) -> float | None:
    """Return the unit of a clock in s, if its name states it: 0.001 for "time_ms"; None for "time"."""
    match = re.fullmatch(rf"({_CLOCKS})[^a-z]+({_UNIT})[^a-z]*", name.strip().lower().replace("µ", "u"))
    return _SECONDS[match[2]] if match else None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("µ", "u"))


def _rate_scale(name: str) -> float | None:
    """Return the Hz of one unit of a rate with this name; None if it is no rate."""
    whole = _letters(name)
    base, scale = (whole, 1.0)
    if whole.endswith("khz"):
        base, scale = whole.removesuffix("khz"), 1000.0
    elif whole.endswith("hz"):
        base = whole.removesuffix("hz")
    return scale if base in _RATES or (base == "" and whole) else None


def _interval_s(name: str) -> float | None:
    """Return the unit in s of a sample interval with this name; None if it is none."""
    whole = _letters(name)
    if whole in _INTERVALS:
        return 1.0
    for unit, seconds in _SECONDS.items():
        if whole.endswith(unit) and whole.removesuffix(unit) in _INTERVALS:
            return seconds
    return None
