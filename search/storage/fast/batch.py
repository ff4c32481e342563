"""Writes of the fast storage that wait for the end of a block, and the state of each thread."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Table

from search.storage.fast import writes
from search.storage.fast.tables import SYSTEM, USER


@dataclass(slots=True, eq=False)
class Batch:
    """Params and attributes that a block has set of one trial, and that are not written yet."""

    params: dict[str, writes.Param] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    @property
    def n_statements(self) -> int:
        """How many statements `write` executes: one a table."""
        return sum(map(bool, (self.params, self.user, self.system)))

    def set_attribute(self, table: Table, key: str, value: Any) -> None:
        """Set a user attribute (table USER) or a system attribute."""
        (self.user if table is USER else self.system)[key] = value

    def write(self, connection: Connection, trial_id: int) -> bool:
        """Write everything; return False where the trial is finished or missing."""
        attributes: tuple[tuple[Table, Mapping[str, Any]], ...] = ((USER, self.user), (SYSTEM, self.system))
        written = [writes.put_params(connection, trial_id, list(self.params.values()))] if self.params else []
        for table, values in attributes:
            written += [writes.put_attributes(connection, table, trial_id, values)] if values else []
        return all(written)

    def clear(self) -> None:
        """Forget everything that was set."""
        self.params, self.user, self.system = {}, {}, {}


class ThreadState(threading.local):
    """What each thread keeps between its calls of a FastStorage.

    created: the trial that its last call created. refreshed: the study whose changes its last call read, and when
    (time.monotonic). batches: open batches by trial_id.
    """

    created: FrozenTrial | None = None
    refreshed: tuple[int, float] | None = None
    batches: dict[int, Batch] | None = None
