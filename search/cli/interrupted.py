"""The line that ends an interrupted command: the command that goes on.

Imports nothing slow: Ctrl-C may come while the libraries are imported.
"""

import re
import sys
from collections.abc import Sequence
from signal import Signals

from data.errors import shell_command

# Command -> the words before the command that goes on. Commands that are not here have nothing to continue.
GOES_ON = {
    "launch": "the same command continues the search",
    "work": "the same command starts the worker again",
    "watch": "the workers go on; the same command watches them again",
    "train": "the same command continues the training after its last finished epoch",
    "dashboard": "the same command serves the dashboard again",
    "export": "the same command continues",
    "data": "the same command converts the recordings that are missing",
}
# Passwords of a URL, also in its query; as masked() of search.storage.open finds them, whose import takes long.
_PASSWORD = re.compile(r"(://[^:/]*:)[^@]*(?=@)|([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def next_line(arguments: Sequence[str], number: int = Signals.SIGINT) -> str:
    """Return the line that says how to go on after the signal `number`; "" for a command with nothing to continue.

    arguments: of the interrupted command, without the program's name. Passwords in them are replaced by ***.
    """
    name = next((word for word in arguments if not word.startswith("-")), "")
    if name not in GOES_ON or (name == "export" and not any(word.startswith("--confirm") for word in arguments)):
        return ""
    if name == "data" and "get" not in arguments:
        return ""
    command = shell_command(*(_PASSWORD.sub(_without_password, word) for word in arguments))
    return f"stopped by {Signals(number).name}; {GOES_ON[name]}: {command}"


def print_next(arguments: Sequence[str], number: int = Signals.SIGINT) -> None:
    """Print that line, where there is one, on standard error."""
    if line := next_line(arguments, number):
        print(line, file=sys.stderr, flush=True)


def _without_password(found: re.Match[str]) -> str:
    return f"{found[1] or found[2]}***"
