"""Write files that are either whole or not there, and say which file an error is about."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import FileError


@contextmanager
def file_errors(path: Path, verb: str = "written") -> Iterator[None]:
    """Raise FileError about `path` for any OSError in the block."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError.of(path, error, verb) from error


def make_folder(path: Path) -> None:
    """Make the folder and those above it, where they are missing. Raises FileError."""
    with file_errors(path, "made"):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` (same ending); on success it takes its place, on failure it goes.

    The folder is made where it is missing. Raises FileError where it cannot be written.
    """
    make_folder(path.parent)
    # Named here and made by the writer, so that it gets the permissions of any new file.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
    with file_errors(path):
        try:
            yield temporary
            assert temporary.exists(), f"nothing was written for {path}"
            # On the disk before it takes the name: after a power cut the name must not stand for an empty file.
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
