"""Errors that the user can fix, and the parts of their messages: suggestions, foreign names, shell commands.

The docstring of search.errors shows the whole tree. A command prints these errors as one line; any other error is
shown with its traceback.
"""

import errno
import re
import shlex
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
MAX_COMPARED = 200  # characters of a name; a longer one is no misspelling
# Control characters, separators of lines, marks that change the direction of text, and halves of surrogate pairs, which
# stand for bytes that are no UTF-8: a terminal obeys them, or cannot show them.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(ValueError):
    """An error that the user can fix; the message says in one line what is wrong and what to do."""


class DataError(UserError):
    """A recording that cannot be used as requested."""


class NoRecording(DataError):
    """A path or pattern that names no recording."""


class NoChannel(DataError):
    """A recording without a channel that was named."""


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
    if len(name) > MAX_COMPARED:
        return ""
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[match[0]]!r}?)" if match else ""


def printable(text: str) -> str:
    """Return `text` with escapes for the characters that a terminal obeys or cannot show ("\\x1b" for ESC)."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def is_unicode(text: str) -> bool:
    """Return whether `text` has no bytes that are no UTF-8, as the name of a file may have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shell_command(*words: object) -> str:
    """Return the command `drivebeat WORDS` for a message, with each word quoted for a shell where it needs quotes.

    A path that begins with "-" gets "./" before it, so that it is no option. A word with unprintable characters is
    written as $'...', which bash and zsh understand.
    """
    return " ".join(("drivebeat", *(_quoted(word) for word in words)))


def _quoted(word: object) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if _UNSHOWN.search(text) is None:
        return shlex.quote(text)
    escaped = "".join(_escaped(c) if _UNSHOWN.match(c) or c in "\\'" else c for c in text)
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    """Return the UTF-8 bytes of a character as \\xNN. The half of a surrogate pair is the byte that it stands for."""
    is_byte = "\udc80" <= character <= "\udcff"
    return "".join(f"\\x{b:02x}" for b in character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))
