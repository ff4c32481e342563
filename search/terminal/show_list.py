"""The list of studies in the terminal, and the table that all lists are drawn in."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from search.study.record import AnyStudy
from search.study.status import snapshot


def show_all(searches: Sequence[AnyStudy], engine: Engine, console: Console) -> None:
    """One line a study."""
    if not searches:
        console.print("no study yet; make one: drivebeat create STUDY.toml")
        return
    table = new_table("study", "model", right=("finished", "pruned", "failed", "metric", "best"))
    for search in searches:
        snap = snapshot(search, engine)
        table.add_row(
            snap.name,
            search.family,
            f"{snap.finished}/{snap.budget}",
            str(snap.pruned),
            str(snap.failed),
            snap.metric,
            snap.best,
        )
    console.print(table)


def new_table(*left: str, right: Sequence[str]) -> Table:
    """An empty table with these columns, aligned to their sides."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1), highlight=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
