"""How the fast storage inserts rows, or overwrites those that exist."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite


def upsert(
    dialect: str,
    table: Table,
    names: list[str],
    source: Any,
    unique: Sequence[str],
    changed: Sequence[str],
    *,
    rekey: bool = True,
) -> Any:
    """Insert the rows of `source`, or overwrite those with the same `unique` columns.

    names: columns of `source`. changed: columns to overwrite. rekey: give an overwritten row a new primary key, so that
    readers that ask for rows after the newest one they have read (search.storage.fast.reads) find it.
    """
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table).from_select(names, source)
    values: dict[str, Any] = {name: statement.excluded[name] for name in changed}
    if rekey:
        key = next(iter(table.primary_key.columns))
        next_key = select(func.max(key) + 1).scalar_subquery()
        values[key.name] = next_key if dialect == "sqlite" else statement.excluded[key.name]
    return with_rowcount(statement.on_conflict_do_update(index_elements=list(unique), set_=values))


def with_rowcount(statement: Any) -> Any:
    """Return the statement with the option without which SQLAlchemy has no rowcount of an INSERT."""
    return statement.execution_options(preserve_rowcount=True)
