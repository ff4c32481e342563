"""Read lines of text files whose encoding is unknown."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError

BLOCK = 1 << 18  # characters that are in memory at a time
MAX_LINE = 16 << 20
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
NAMES = {"utf-16": "UTF-16", "cp1252": "Windows-1252", "latin-1": "Latin-1"}
CONTROL = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f]")  # others may stand in a name, which is shown with escapes
_ERROR = re.compile(r"#(?:N/A|NA\b|NV\b|DIV/0!|VALUE!|WERT!|REF!|BEZUG!|NUM!|ZAHL!)")


def encoding_of(path: Path) -> str:
    """Return the encoding of a text file: of its byte order mark, else UTF-8, Windows-1252 or Latin-1.

    The whole file is decoded, as the first byte that is not UTF-8 may be its last.

    Raises DataError if the file is no text: it holds control characters.
    """
    with path.open("rb") as file:
        start = file.read(3)
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252", "latin-1"):
        try:
            with path.open(encoding=encoding) as text:
                while piece := text.read(BLOCK):
                    if (found := CONTROL.search(piece)) is not None:
                        raise DataError(
                            f"{path}: not a text table: it holds the control character 0x{ord(found[0]):02x}; is it "
                            "a binary file under a wrong name, or UTF-16 without its mark? Save it as UTF-8 text"
                        )
            return encoding
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: its byte order mark says {marked}, but it is not; is it complete? Save it as UTF-8 text")


def is_text(path: Path) -> bool:
    """Return whether the first bytes of a file are text."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = start[: len(start) // 2 * 2].decode("utf-16", "ignore")
    else:
        text = start.decode("latin-1")
    return CONTROL.search(text) is None


def encoding_notes(encoding: str) -> tuple[str, ...]:
    """Return a note that names the encoding if it is not UTF-8."""
    return (f"the text is not UTF-8 and is read as {NAMES[encoding]}",) if encoding in NAMES else ()


def blocks(path: Path, encoding: str, size: int = BLOCK) -> Iterator[list[str]]:
    """Yield the lines of a file, without their ends, in lists of about `size` characters in all."""
    rest = ""
    with path.open(encoding=encoding) as text:
        while piece := text.read(size):
            *lines, rest = (rest + piece).split("\n")
            if lines:
                yield lines
            if len(rest) > MAX_LINE:
                raise DataError(
                    f"{path}: a line of more than {MAX_LINE:,} characters; one column per channel and one row per "
                    "sample is needed, so exchange rows and columns"
                )
    if rest := rest.rstrip("\x1a"):  # the end of text files of DOS
        yield [rest]


def is_comment(line: str) -> bool:
    """Return whether a line is a comment: it begins with # or %, but not with an error of a spreadsheet."""
    text = line.lstrip()
    return text.startswith(("#", "%")) and _ERROR.match(text) is None
