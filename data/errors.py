"""Errors that tell the user what to mend, and the near miss that their messages name.

search.errors draws the whole tree; a command turns nothing else into one line.
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_HINTS: dict[int | None, str] = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room on its disk",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
}


class UserError(ValueError):
    """Something the user can mend; the message says what is wrong and what to do, in one line."""


class DataError(UserError):
    """A recording that cannot be used as asked."""


class FileError(UserError, OSError):
    """A file or folder that cannot be written or read: no space, no permission, not there."""

    @classmethod
    def of(cls, path: Path, error: OSError, verb: str = "written") -> "FileError":
        """The error about `path` that `error` stands for, with its errno. verb: what was tried, as a participle."""
        found = cls(
            f"{path}: cannot be {verb} ({error.strerror or error}); {_HINTS.get(error.errno, 'check the path')}"
        )
        found.errno, found.strerror = error.errno, error.strerror
        return found

    def __str__(self) -> str:
        return str(self.args[0])


def near(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest of `known`, whatever its case; "" where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[match[0]]!r}?)" if match else ""
