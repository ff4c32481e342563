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
        "tickrate",
        "scanrate",
        "odr",
        "fe",
        "fa",
        "abtastrate",
        "abtastfrequenz",
    ]
)
_RATES_WITH_UNIT = frozenset(["freq"])  # "freq_hz"
_INTERVALS = frozenset(
    [
        "dt",
        "ts",
        "deltat",
        "interval",
        "period",
        "timestep",
        "tstep",
        "timeinterval",
        "sampleinterval",
        "samplinginterval",
        "sampleperiod",
        "samplingperiod",
        "sampletime",
        "tinterval",
    ]
)
_INTERVALS_WITH_UNIT = frozenset(["isi"])  # without one, it is as often the pause between two stimuli
_VAGUE = frozenset(["interval", "period", "timestep"])
_DOUBTFUL = frozenset(["freq", "frequency", "isi", "fps"])
_PER_SECOND = ("sps", "samples/s", "samples/sec", "s/s", "1/s", "hertz")
_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(\D*?)\s*", re.IGNORECASE)


def is_rate_name(name: str) -> bool:
    """Return whether a name means a sampling rate or a sample interval: "Fs", "SampleRate", "rate_hz", "dt"."""
    return _rate_scale(name) is not None or _interval_s(name) is not None


def is_doubtful_rate(name: str) -> bool:
    """Return whether a name may mean a sampling rate, and as often something else: "freq", "isi"."""
    return not is_rate_name(name) and _letters(name).removesuffix("hz") in _DOUBTFUL


def is_interval_name(name: str) -> bool:
    """Return whether a name means a sample interval, and no rate: "dt", "interval_ms"."""
    return _interval_s(name) is not None


def is_vague(name: str) -> bool:
    """Return whether a name means a sample interval or, as often with a text, any other: "interval", "period"."""
    return _letters(name) in _VAGUE


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
    return rate_name_for(name, other) is not None


def rate_name_for(name: str, other: str) -> str | None:
    """Return the name of a rate without the array that it is the rate of: "fs" for "ecg_fs" of "ecg".

    None if it is not the rate of that array.
    """
    whole, part = _letters(name), _letters(other)
    if not part or len(whole) <= len(part):
        return None
    ends = (whole.removeprefix(part), whole.removesuffix(part), re.sub(f"{re.escape(part)}(k?hz)$", r"\1", whole))
    return next((rest for rest in ends if rest != whole and is_rate_name(rest)), None)


def with_unit(name: str, unit: str) -> str | None:
    """Return the name with a unit that stands beside it: "isi ms"; None if the two together mean no rate.

    A unit that the name states already is not repeated.
    """
    plain = unit.strip().strip("[]()").strip()
    if not plain:
        return name
    if plain.lower() in _PER_SECOND:
        plain = "Hz"
    letters = _letters(plain)
    if letters not in ("hz", "khz") and plain.lower() not in SCALES:
        return None
    if is_rate_name(joined := f"{name} {plain}"):
        return joined
    whole = _letters(name)
    base = whole.removesuffix(letters)
    is_same = base != whole and base in ("", *_RATES, *_RATES_WITH_UNIT, *_INTERVALS)
    return name if is_same and is_rate_name(name) else None


def number_and_unit(text: str) -> tuple[float, str] | None:
    """Return the number that a text begins with, and the unit after it: (500.0, "Hz"); None for any other text."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    return None if match is None else (float(match[1]), match[2])


def is_unit_name_of(name: str, other: str) -> bool:
    """Return whether a name means the unit of the number `other`: "isi_units" of "isi"."""
    return _letters(name) in (f"{_letters(other)}unit", f"{_letters(other)}units")


def is_clock_name(name: str) -> bool:
    """Return whether a variable's name means the times of samples: "time", "t", "Time (s)", "timestamps_ms".

    A bare unit does not: a variable "s" is as often the signal.
    """
    return name.strip().lower() not in SCALES and role_of(name, "").is_clock


def clock_unit_s(name: str) -> float | None:
    """Return the unit of a clock in s, if its name states it: 0.001 for "time_ms"; None for "time"."""
    return role_of(name, "").scale


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("µ", "u").replace("μ", "u"))


def _rate_scale(name: str) -> float | None:
    """Return the Hz of one unit of a rate with this name; None if it is no rate."""
    whole = _letters(name)
    base, scale = (whole, 1.0)
    if whole.endswith("khz"):
        base, scale = whole.removesuffix("khz"), 1000.0
    elif whole.endswith("hz"):
        base = whole.removesuffix("hz")
    if base in _RATES or (base == "" and whole) or (base in _RATES_WITH_UNIT and base != whole):
        return scale
    return None


def _interval_s(name: str) -> float | None:
    """Return the unit in s of a sample interval with this name; None if it is none."""
    whole = _letters(name)
    if whole in _INTERVALS:
        return 1.0
    for unit, seconds in SCALES.items():
        base = whole.removesuffix(unit)
        if base == whole or base not in _INTERVALS | _INTERVALS_WITH_UNIT:
            continue
        is_plural = unit == "s" and len(base) > 2 and name.strip().lower() == whole  # "intervals", not "interval_s"
        return None if is_plural else seconds
    return None


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which names are sorted with numbers by their value: r2 before r10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
