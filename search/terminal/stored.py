"""Print a study from what its database says of it, without decoding it: for an installation that does not train."""

from collections.abc import Mapping

from rich.console import Console
from sqlalchemy import Engine

from search.study.record import StudyLike
from search.study.status import snapshot
from search.terminal.status import new_table, plain_line
from search.trials import SPACE, best_trial
from training.extras import INSTALL, absent_packages
from training.numbers import short


def show_stored(record: StudyLike, engine: Engine, console: Console) -> None:
    """Print the progress of a study, its space and its best trial, and how to see the rest of what `show` prints."""
    console.print(plain_line(snapshot(record, engine)), soft_wrap=True, highlight=False, markup=False)
    best = best_trial(record.optuna)
    table = new_table("parameter", "range", right=("best",))
    space = record.optuna.user_attrs.get(SPACE)
    for name, text in space.items() if isinstance(space, Mapping) else ():
        value = short(best.params[name]) if best is not None and name in best.params else ""
        table.add_row(
            str(name), str(text).replace("= ", "fixed ", 1) if str(text).startswith("= ") else str(text), value
        )
    console.print(table)
    console.print(
        f"types, defaults and weights of the parameters are not shown; not installed: {', '.join(absent_packages())}; "
        f"to see them: {INSTALL}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
