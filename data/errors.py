"""Errors that the user can fix, and suggestions for misspelt names in their messages.

The docstring of search.errors shows the whole tree. A command prints these errors as one line; any other error is
shown with its traceback.
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
    """An error that the user can fix; the message says in one line what is wrong and what to do."""


class DataError(UserError):
    """A recording that cannot be used as requested."""


class FileError(UserError, OSError):
    """A file or folder that cannot be written or read: no space, no permission, or it does not exist."""

    @classmethod
    def of(cls, path: Path, error: OSError, verb: str = "written") -> "FileError":
        """Return the FileError about `path` for an OSError, with its errno.

        verb: what was tried, as a participle ("written").
        """
        found = cls(
            f"{path}: cannot be {verb} ({error.strerror or error}); {_HINTS.get(error.errno, 'check the path')}"
        )
        found.errno, found.strerror = error.errno, error.strerror
        return found

    def __str__(self) -> str:
        return str(self.args[0])


def near(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the most similar of `known`, ignoring case; "" if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[match[0]]!r}?)" if match else ""
