"""How a trial ended, as a value that can be kept in the ledger until it is told."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """value: the study's metric, of a complete trial. An infeasible trial was not trained: it costs too much."""

    state: Literal["complete", "pruned", "infeasible", "failed"]
    value: float | None
    n_epochs: int
    reason: str = ""

    def encode(self) -> str:
        """As text; `decode` gives it back."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def decode(text: str) -> "TrialOutcome":
        """What `encode` wrote."""
        return TrialOutcome(**json.loads(text))
