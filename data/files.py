"""Write files atomically, and raise errors that name the file."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import FileError


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
