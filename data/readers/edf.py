"""Read EDF and BDF files (.edf, .bdf) of biosignal recorders, EDF+ and BDF+ included."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from data.errors import DataError, printable
from data.readers.contents import Contents, Numbers, Variable, Wanted, gather, numbered, reading

if TYPE_CHECKING:
    from pyedflib import EdfReader

SAMPLE_BYTES = {b"0       ": 2, b"\xffBIOSEMI": 3}  # of EDF and BDF, by the first bytes
TRIGGERS = "status"  # the channel in which BioSemi's amplifiers write triggers and not a signal


def read_edf(path: Path, wanted: Wanted) -> Contents:
    """Read an EDF or BDF file in physical units, each channel at its own rate. Annotations are no signals.

    Raises DataError if the file is broken, truncated or discontinuous (EDF+D): pieces of a recording with gaps between
    them would be joined.
    """
    with reading(path, "an EDF or BDF file"), _opened(path) as file:
        names, notes = _channels(file, path), list[str]()
        rows = [i for i, name in enumerate(names) if not _is_trigger(name, path)]
        if not rows:
            raise DataError(f"{path}: holds triggers (Status) and no signals; name the file with the signals")
        if len(rows) < len(names):
            notes.append("channel Status is left out: it holds triggers")

        def lines(asked: list[int]) -> Iterator[Numbers]:
            for i in asked:
                _check_digital(file, rows[i], names[rows[i]], path)
                yield file.readSignal(rows[i])

        rates_hz = [float(file.getSampleFrequency(row)) for row in rows]
        contents = gather([names[row] for row in rows], wanted.channels, path, lines, rates_hz)
    return replace(contents, notes=(*notes, *contents.notes))


def edf_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and unit."""
    with reading(path, "an EDF or BDF file"), _opened(path) as file:
        lengths = [int(n) for n in file.getNSamples()]
        units = [file.getPhysicalDimension(i).strip() or "no unit" for i in range(len(lengths))]
        return tuple(
            Variable(name, (n,), unit) for name, n, unit in zip(_channels(file, path), lengths, units, strict=True)
        )


@contextmanager
def _opened(path: Path) -> Iterator["EdfReader"]:
    """Yield the open file. Raises DataError if it is truncated or discontinuous."""
    import pyedflib

    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that are not UTF-8
        _check_header(file, path)
        # pyedflib takes neither a name that is no UTF-8 nor a file that this process reads already. It is given the
        # number of the open file. The size is not left to it to check, as it prints the error.
        with pyedflib.EdfReader(
            f"/dev/fd/{file.fileno()}", pyedflib.DO_NOT_READ_ANNOTATIONS, pyedflib.DO_NOT_CHECK_FILE_SIZE
        ) as reader:
            if reader.signals_in_file == 0:
                raise DataError(f"{path}: holds annotations and no signals; name the file with the signals")
            yield reader


def _check_header(file: BinaryIO, path: Path) -> None:
    """Raise DataError unless the file is continuous and has the size that its header states."""
    header = file.read(256)
    sample_bytes = SAMPLE_BYTES.get(header[:8])
    if sample_bytes is None or len(header) < 256:
        raise DataError(f"{path}: does not begin as an EDF or BDF file; is it complete and really of that kind?")
    if header[192:197] in (b"EDF+D", b"BDF+D"):
        kind = header[192:197].decode()
        raise DataError(f"{path}: discontinuous ({kind}), with gaps; cut it into continuous files with EDFbrowser")
    n_signals, n_records = _whole(header[252:256], path), _whole(header[236:244], path)
    if n_records < 0:
        raise DataError(f"{path}: the recorder did not finish it (-1 data records); repair its header with EDFbrowser")
    if not _seconds(header[244:252]) > 0:
        raise DataError(
            f"{path}: its data records last {printable(header[244:252].decode('latin-1').strip())!r} s, which gives no "
            "sampling rate; repair the duration of a record in its header with EDFbrowser, as a number such as 1 or 0.5"
        )
    file.seek(256 + 216 * n_signals)
    per_record = sum(_whole(file.read(8), path) for _ in range(n_signals))
    stated = 256 * (n_signals + 1) + n_records * per_record * sample_bytes
    size = os.fstat(file.fileno()).st_size
    if size < stated:
        raise DataError(f"{path}: cut off: {size} of {stated} bytes are there; copy the file again")
    if size > stated:
        raise DataError(f"{path}: {size} bytes, but its header states {stated}; repair its header with EDFbrowser")


def _whole(text: bytes, path: Path) -> int:
    """Return the whole number in a field of the header. Raises DataError."""
    try:
        return int(text)
    except ValueError as error:
        raise DataError(
            f"{path}: its header holds {text!r} for a number; is it complete and really of that kind?"
        ) from error


def _seconds(text: bytes) -> float:
    """Return the number in a field of the header; NaN if it holds none in plain digits.

    EDFlib reads exponents, which the format does not have, as other digits.
    """
    return float(text) if re.fullmatch(rb"\s*\+?(\d+\.?\d*|\.\d+)\s*", text) else float("nan")


def _check_digital(file: "EdfReader", row: int, name: str, path: Path) -> None:
    """Raise DataError for a channel without a range of stored numbers: EDFlib does not scale those of a plain EDF."""
    lowest, highest = int(file.getDigitalMinimum(row)), int(file.getDigitalMaximum(row))
    if lowest >= highest:
        raise DataError(
            f"{path}: channel {name}: its digital minimum is {lowest} and its maximum {highest}, which gives no scale; "
            "repair them in its header with EDFbrowser, or name other channels with channels="
        )


def _channels(file: "EdfReader", path: Path) -> tuple[str, ...]:
    """Return the labels of the channels, each of them once: a repeated one gets a number."""
    labels = [printable(label) or f"ch{i + 1}" for i, label in enumerate(file.getSignalLabels())]
    return numbered(labels)


def _is_trigger(name: str, path: Path) -> bool:
    return path.suffix.lower() == ".bdf" and name.lower() == TRIGGERS
