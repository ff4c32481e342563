"""What the lean storage keeps for one thread between its calls."""

import threading
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from search.storage.fast.writes import Param

FRESH_S = 1.0  # what a report brought along is of now for so long


@dataclass(slots=True, eq=False)
class Held:
    """What a block of `together` has set of one trial and not written yet."""

    params: dict[str, Param] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)


class OfThread(threading.local):
    """made: the trial that this thread made with its last call. asked: the study whose changes its last call read, and
    when (time.monotonic). held: what it holds back, by trial_id.
    """

    made: FrozenTrial | None = None
    asked: tuple[int, float] | None = None
    held: dict[int, Held] | None = None
