"""Writes of the fast storage that wait for the end of a block, and the state of each thread."""

import threading
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from search.storage.fast import writes


@dataclass(slots=True, eq=False)
class Batch:
    """Params and attributes that a block has set of one trial, and that are not written yet."""

    params: dict[str, writes.Param] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)


class ThreadState(threading.local):
    """What each thread keeps between its calls of a FastStorage.

    created: the trial that its last call created. refreshed: the study whose changes its last call read, and when
    (time.monotonic). batches: open batches by trial_id.
    """

    created: FrozenTrial | None = None
    refreshed: tuple[int, float] | None = None
    batches: dict[int, Batch] | None = None
