"""How a trial ended, as a value that can be kept in the ledger until it is told."""

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass
from typing import Literal

ON_DEVICE = (
    "cuda out of memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
ON_HOST = ("can't allocate memory", "cannot allocate memory", "std::bad_alloc")


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """value: the study's metric, of a complete trial. An infeasible trial costs too much, and was not trained, or not
    to its end. fits: whether it had memory enough; None where it ended before that could show.
    """

    state: Literal["complete", "pruned", "infeasible", "failed"]
    value: float | None
    n_epochs: int
    reason: str = ""
    out_of_memory: bool = False

    @property
    def fits(self) -> bool | None:
        return False if self.out_of_memory else True if self.state in ("complete", "pruned") else None

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
    place = _short_of_memory(error)
    reason = f"out of memory on the {place}: {words}" if place else f"{type(error).__name__}: {words}"
    return TrialOutcome("failed", None, 0, reason, out_of_memory=bool(place))


def _short_of_memory(error: BaseException) -> str:
    """Whose memory was too small, "device" or "host"; "" where the error is another one."""
    words = str(error).lower()
    torch = sys.modules.get("torch")  # only where it is imported can it have raised this
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "device"
    # libraries below torch say it in a RuntimeError of their own words
    if isinstance(error, RuntimeError) and any(said in words for said in ON_DEVICE):
        return "device"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "host"
    return "host" if isinstance(error, RuntimeError) and any(said in words for said in ON_HOST) else ""
