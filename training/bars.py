"""Progress bars, which vanish where the output is not a terminal, and what a quiet command still says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]


@contextmanager
def bar(console: Console, description: str, total: int | None) -> Iterator[Advance]:
    """A bar that is gone after the block; what it yields takes how much is done and what is being done.

    total: None where it is not known. Nothing is written where `console` is no terminal, or is quiet.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal and not console.quiet
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(description, total=total)

        def advance(completed: int, doing: str) -> None:
            progress.update(task, completed=completed, description=doing)

        yield advance


def warn(console: Console, line: str) -> None:
    """Say a warning: on the console, or, where that is quiet, on standard error."""
    to = Console(stderr=True) if console.quiet else console
    to.print(f"warning: {line}", soft_wrap=True, highlight=False, markup=False)
