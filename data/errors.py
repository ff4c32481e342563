"""Errors that tell the user what to mend, and the near miss that their messages name.

search.errors draws the whole tree; a command turns nothing else into one line.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user can mend; the message says what is wrong and what to do, in one line."""


class DataError(UserError):
    """A recording that cannot be used as asked."""


class FileError(UserError, OSError):
    """A file or folder that cannot be written or read: no space, no permission, not there."""


def near(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest of `known`, whatever its case; "" where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[match[0]]!r}?)" if match else ""
