"""Progress bars, shown on a terminal only, and warnings, which a quiet command prints too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]


@contextmanager
def bar(console: Console, description: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar during the block. The yielded function takes the amount done and a description.

    total: the amount of all work; None if it is not known.

    Nothing is written if `console` is quiet or is not a terminal.
    """
    if console.quiet or not console.is_terminal:
        yield lambda completed, doing: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)

        def advance(completed: int, doing: str) -> None:
            progress.update(task, completed=completed, description=doing)

        yield advance


def warn(console: Console, line: str) -> None:
    """Print a warning on the console, or on standard error if the console is quiet."""
    to = Console(stderr=True) if console.quiet else console
    to.print(f"warning: {line}", soft_wrap=True, highlight=False, markup=False)
