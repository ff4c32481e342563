"""Find and write files: atomic writes, errors that name the file, and checks of names that become parts of paths."""

import glob
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError, FileError, NoRecording, printable

MAX_PART_BYTES = 255  # of a file's or folder's name, in all common file systems


@contextmanager
def file_errors(path: Path, verb: str = "written") -> Iterator[None]:
    """Raise FileError about `path` for any OSError in the block. verb: see FileError.of."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError.of(path, error, verb) from error


def make_folder(path: Path) -> None:
    """Create the folder and its parents if they do not exist. Raises FileError."""
    with file_errors(path, "made"):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with the same suffix; the block writes to it.

    After the block, the temporary file replaces `path`; if the block raises, it is removed. The folder is created if
    it does not exist.

    Raises FileError if the file cannot be written.
    """
    make_folder(path.parent)
    # Only named here and created by the writer, so that it gets the permissions of any new file.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
    with file_errors(path):
        try:
            yield temporary
            assert temporary.exists(), f"nothing was written for {path}"
            # Flushed to the disk before it is renamed, so that a power failure does not leave an empty file.
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def path_part(name: str) -> str:
    """Return `name` as a single part of a path, which cannot lead out of its folder.

    An ordinary name is returned unchanged. Another program can give a study any name: one that is empty, "." or "..",
    has a "/" or a control character, or is longer than MAX_PART_BYTES is replaced by its plain characters and a digest.
    Different names stay different.
    """
    is_ordinary = name not in ("", ".", "..") and "/" not in name and (name.isprintable() or printable(name) == name)
    if is_ordinary and len(name.encode()) <= MAX_PART_BYTES:
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{plain or 'name'}.{digest}"


def is_beside(name: str) -> bool:
    """Return whether `name`, as a file gives it, is that of another file in the same folder.

    A path or a URL instead could make a foreign file have any file of the user read.
    """
    return name not in ("", ".", "..") and not set(name) & set("/\\:")


def matching(pattern: str, start: Path = Path(), looked: str = "") -> list[Path]:
    """Return the files and folders that `pattern` names: a path, the name of a WFDB record, or a glob, sorted.

    "~" is the user's folder, "**" any number of folders.

    start: the folder that a relative pattern starts from. looked: where it was looked for, for the error.

    Raises NoRecording if there are none, DataError if they cannot be searched.
    """
    try:
        plain = start / Path(pattern).expanduser()
        if plain.exists() or recording_file(plain).exists():
            return [plain]
        paths = sorted(Path(name) for name in glob.glob(str(plain), recursive=True))  # noqa: PTH207
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~ of an unknown user
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"no recording can be found by {pattern[:200]!r} ({reason}); check the path") from error
    if not paths:
        where = looked or f"looked from {start.absolute()}"
        raise NoRecording(f"no recording matches {pattern!r} ({where}); check the path")
    return paths


def recording_file(path: Path) -> Path:
    """Return the file of a recording: for the name of a WFDB record its header, else `path`.

    WFDB names a record without a suffix, and the name may have a dot in it.
    """
    header = path.with_name(f"{path.name}.hea") if path.name else path
    return header if header.is_file() and not (path.suffix and path.is_file()) else path
