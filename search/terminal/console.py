"""The console of the commands."""

import contextlib
import os
from typing import Any

from rich.console import Console
from rich.text import Text

from data.errors import printable


class PlainConsole(Console):
    """A console that prints texts as they are.

    The names in files and databases of others are not markup or emoji of rich, and hold nothing that a terminal obeys.
    """

    def __init__(self, *, quiet: bool = False, lines: bool = False) -> None:
        """Make a console. lines: print plain lines on a terminal and in a notebook too, without a live view."""
        kind = False if lines else None
        super().__init__(quiet=quiet, markup=False, emoji=False, force_terminal=kind, force_jupyter=kind)

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal that can be redrawn. Overrides the property of rich.

        A pipe is none, though rich takes it for one where FORCE_COLOR or TTY_COMPATIBLE is set, as in many CI systems.
        """
        with contextlib.suppress(ValueError):  # the file is closed
            return os.environ.get("TERM") not in ("dumb", "unknown") and self.file.isatty() and super().is_terminal
        return False

    def render_str(self, text: str, **options: Any) -> Text:
        """Return `text`, a whole line or a cell of a table, for printing. Overrides the method of rich."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)
