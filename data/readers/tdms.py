"""Read LabVIEW's measurement files (.tdms). Needs the extra drivebeat[tdms]."""

import logging
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.archive import since_first
from data.readers.arrays.clocks import in_order, rate_of_clock, resolution, stated_unit_s
from data.readers.arrays.rates import SLOWEST_HZ
from data.readers.clock import is_even
from data.readers.contents import (
    Contents,
    Numbers,
    Variable,
    Wanted,
    check_memory,
    check_spans,
    gather,
    listing,
    pick_channels,
    reading,
)
from data.readers.names import (
    is_clock_name,
    is_interval_name,
    is_rate_name,
    number_and_unit,
    rate_from,
    with_unit,
)

LEAD_IN_BYTES = 28  # of each segment
BIG_ENDIAN = 1 << 6  # a flag of a segment
UNFINISHED = 2**64 - 1  # the size of a segment while it is written
NO_TIME = np.datetime64("1970-01-01", "us")  # LabVIEW counts from 1904, and writes that where no time is known
SECONDS = ("", "s", "sec", "second", "seconds")


def read_tdms(path: Path, wanted: Wanted) -> Contents:
    """Read the numeric channels of all groups of a TDMS file, each at its own rate.

    A channel is named as in the file, or GROUP/CHANNEL if groups share names. Its rate is that of its waveform
    (wf_increment), else that of a property such as "Sampling rate" of the channel, its group or the file, else that of
    a channel in its group with the times of its samples, which may be dates.

    Raises DataError if the file is broken or truncated, or if the channels differ in duration or in their start.
    """
    with reading(path, "a .tdms file"), _opened(path) as file:
        clocks, notes = _clocks(file), list[str]()
        channels = _channels(file, clocks)
        if not channels:
            raise DataError(f"{path}: no channel holds numbers; name the file with the signals")
        names = list(channels)
        rows, ecg_row = pick_channels(names, wanted.channels, path)
        rates_hz = _rates(file, channels, clocks, rows, ecg_row, wanted.rate_hz, path, notes)
        if rates_hz is not None:
            asked = rows if ecg_row is None else [*rows, ecg_row]
            slack_s = 1 / min(rates_hz[row] for row in asked)
            _check_starts({names[row]: channels[names[row]] for row in asked}, slack_s, path)

        def lines(asked: list[int]) -> Iterator[Numbers]:
            for i in asked:
                channel = channels[names[i]]
                check_memory(len(channel) * channel.dtype.itemsize, f"channel {names[i]}", path)
                yield channel[:]

        contents = gather(names, wanted.channels, path, lines, rates_hz)
        used = [note.split(" is a clock ")[0] for note in notes]
        left_out = [_name(channel) for channel in _all(file) if not _is_numeric(channel)]
        left_out = [name for name in left_out if name not in used]
    if left_out:
        notes.append(f"channels without numbers are left out: {listing(left_out)}")
    return replace(contents, notes=(*dict.fromkeys(notes), *contents.notes))


def tdms_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per numeric channel, with its length and type."""
    with reading(path, "a .tdms file"), _opened(path) as file:
        return tuple(
            Variable(name, (len(channel),), str(channel.dtype))
            for name, channel in _channels(file, _clocks(file)).items()
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the open nptdms.TdmsFile. Raises DataError if nptdms is missing or the file is truncated."""
    try:
        from nptdms import TdmsFile
        from nptdms.log import log_manager
    except ImportError as error:
        raise DataError(f"{path}: .tdms files need npTDMS; pip install 'drivebeat[tdms]'") from error
    log_manager.set_level(logging.ERROR)  # its warnings print what is in damaged files
    with path.open("rb") as file:
        _check_segments(file, path)
        file.seek(0)
        # An open file, or nptdms would read an index that lies beside the file and may be of another recording.
        with TdmsFile.open(file) as opened:
            yield opened


def _check_segments(file: BinaryIO, path: Path) -> None:
    """Raise DataError unless the last segment ends with the file: nptdms reads a truncated one as far as it goes."""
    size, at = os.fstat(file.fileno()).st_size, 0
    while at < size:
        file.seek(at)
        lead_in = file.read(LEAD_IN_BYTES)
        if lead_in[:4] != b"TDSm"[: len(lead_in)]:
            raise DataError(f"{path}: no segment of a TDMS file at byte {at}; is it complete and really of that kind?")
        if len(lead_in) < LEAD_IN_BYTES:
            raise DataError(f"{path}: cut off in its last segment; copy the file again")
        flags = struct.unpack_from("<I", lead_in, 4)[0]
        n_bytes = struct.unpack_from(">Q" if flags & BIG_ENDIAN else "<Q", lead_in, 12)[0]
        if n_bytes == UNFINISHED:
            raise DataError(f"{path}: its last segment was not finished; open and save it with LabVIEW or DIAdem")
        at += LEAD_IN_BYTES + n_bytes
    if at > size:
        raise DataError(f"{path}: cut off: {size} of {at} bytes are there; copy the file again")


def _all(file: Any) -> list[Any]:
    return [channel for group in file.groups() for channel in group.channels()]


def _channels(file: Any, clocks: Mapping[str, Numbers]) -> dict[str, Any]:
    """Return the numeric channels that hold samples and are no clocks, by name."""
    found = [channel for channel in _all(file) if _is_numeric(channel) and channel.path not in clocks]
    short = [_name(channel) for channel in found]
    if len(set(short)) < len(short):
        return {f"{printable(channel.group_name.strip())}/{_name(channel)}": channel for channel in found}
    return dict(zip(short, found, strict=True))


def _is_numeric(channel: Any) -> bool:
    return channel.dtype.kind in "iuf" and len(channel) > 0


def _is_dates(channel: Any) -> bool:
    return channel.dtype.kind == "M" and len(channel) > 1


def _clocks(file: Any) -> dict[str, Numbers]:
    """Return the numeric channels that hold the times of samples, by their names and values: path -> times."""
    named = (channel for channel in _all(file) if _is_numeric(channel) and is_clock_name(channel.name))
    return {channel.path: times for channel in named if is_even(in_order(times := channel[:]), resolution(times))}


def _name(channel: Any) -> str:
    return printable(channel.name.strip())


def _rates(
    file: Any,
    channels: Mapping[str, Any],
    clocks: Mapping[str, Numbers],
    rows: list[int],
    ecg_row: int | None,
    asked_hz: float | None,
    where: Path,
    notes: list[str],
) -> list[float] | None:
    """Return the rates of all channels in Hz; None if no channel that is asked for states its rate.

    An ECG without a rate that is as long as the first signal has its rate.

    Raises DataError if some of the channels that are asked for state no rate, or if they differ in duration.
    """
    names = list(channels)
    stated = [_rate(file, channel, clocks, asked_hz, where, notes) for channel in channels.values()]
    lengths = [len(channel) for channel in channels.values()]
    if ecg_row is not None and stated[ecg_row] is None and lengths[ecg_row] == lengths[rows[0]]:
        stated[ecg_row] = stated[rows[0]]
    asked = rows if ecg_row is None else [*rows, ecg_row]
    unknown = [names[row] for row in asked if stated[row] is None]
    if unknown and len(unknown) < len(asked):
        raise DataError(
            f"{where}: {listing(unknown)} states no rate, other channels do; name channels that agree with channels="
        )
    known = [1.0 if rate is None else rate for rate in stated]
    spans = {names[row]: lengths[row] / known[row] for row in asked}
    slack, unit = 1 / min(known[row] for row in asked), "samples" if unknown else "s"
    check_spans(spans, slack, where, "name those of one with channels=", unit)
    return None if unknown else known


def _rate(
    file: Any,
    channel: Any,
    clocks: Mapping[str, Numbers],
    asked_hz: float | None,
    where: Path,
    notes: list[str],
) -> float | None:
    """Return the rate of a channel in Hz; None if the file does not state it."""
    increment = channel.properties.get("wf_increment")
    unit = str(channel.properties.get("wf_xunit_string", "")).strip().lower()
    if isinstance(increment, float) and increment > 0 and unit in SECONDS:
        return float(f"{1 / increment:.9g}")  # the increment is a rounded number: 1 / 44100 is none of a double's
    group = file[channel.group_name]
    for properties in (channel.properties, group.properties, file.properties):
        for name, value in properties.items():
            rate_hz = _stated(name, value, notes)
            if rate_hz is not None:
                return rate_hz
    for beside in group.channels():
        if len(beside) != len(channel) or beside.path == channel.path:
            continue
        if _is_dates(beside):
            return rate_of_clock(since_first(beside[:]), beside.name, 1.0, None, where, notes)
        if beside.path in clocks:
            unit_s = stated_unit_s(beside.name, str(beside.properties.get("unit_string", "")), where)
            return rate_of_clock(clocks[beside.path], beside.name, unit_s, None, where, notes, asked_hz)
    return None


def _check_starts(channels: Mapping[str, Any], slack_s: float, where: Path) -> None:
    """Raise DataError if the waveforms of channels begin at times that differ by more than `slack_s`."""
    stated = {name: channel.properties.get("wf_start_time") for name, channel in channels.items()}
    times = {name: np.datetime64(time, "us") for name, time in stated.items() if time is not None}
    times = {name: time for name, time in times.items() if time > NO_TIME}
    first = min(times.values(), default=NO_TIME)
    starts_s = {
        name: (times.get(name, first) - first) / np.timedelta64(1, "s")
        + _number(channels[name].properties.get("wf_start_offset", 0.0))
        for name in times or channels  # offsets are from the time, so without any they are compared alone
    }
    if max(starts_s.values()) - min(starts_s.values()) > slack_s:
        shown = listing(f"{name} {start_s:g} s" for name, start_s in starts_s.items())
        raise DataError(
            f"{where}: channels begin at different times ({shown}); name those of one start with channels=, or cut "
            "them to one start with LabVIEW or DIAdem"
        )


def _stated(name: str, value: object, notes: list[str]) -> float | None:
    """Return the rate that a property states, as a number or a text with or without unit; None if it states none."""
    if not is_rate_name(name):
        return None
    found = number_and_unit(value) if isinstance(value, str) else (_number(value), "")
    named = None if found is None else with_unit(name, found[1])
    rate_hz = rate_from(named, found[0]) if found is not None and named is not None else None
    if rate_hz is None or not 0 < rate_hz < float("inf") or (is_interval_name(name) and rate_hz <= SLOWEST_HZ):
        notes.append(f"the property {printable(name)} = {printable(str(value))[:80]} is not used as the rate")
        return None
    return rate_hz


def _number(value: object) -> float:
    """Return the number that a property holds; NaN if it holds none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
