"""How a trial ended, as a value that can be kept in the ledger until it is told."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import torch


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


def failure(error: BaseException) -> TrialOutcome:
    """The outcome of a trial that `error` ended, its reason in one line."""
    words = " ".join(str(error).split())[:300]
    if isinstance(error, torch.OutOfMemoryError):
        reason = f"out of memory on the device: {words}"
    # torch says this of the host's memory by a RuntimeError
    elif isinstance(error, MemoryError) or "can't allocate memory" in words:
        reason = f"out of memory on the host: {words}"
    else:
        reason = f"{type(error).__name__}: {words}"
    return TrialOutcome("failed", None, 0, reason)
