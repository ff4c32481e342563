"""What the names of variables, attributes and columns mean: a sampling rate, a sample interval, a clock.

Case, spaces, underscores and brackets are ignored: "Sample Rate (Hz)" is "samplerate" in Hz.
"""

import re

from data.readers.labels import SCALES, role_of

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
    """Return whether a variable's name means the times of samples: "time", "t", "Time (s)", "timestamps_ms".

    A bare unit does not: a variable "s" is as often the signal.
    """
    return name.strip().lower() not in SCALES and role_of(name, "").is_clock


def clock_unit_s(name: str) -> float | None:
    """Return the unit of a clock in s, if its name states it: 0.001 for "time_ms"; None for "time"."""
    return role_of(name, "").scale


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
    for unit, seconds in SCALES.items():
        if whole.endswith(unit) and whole.removesuffix(unit) in _INTERVALS:
            return seconds
    return None
