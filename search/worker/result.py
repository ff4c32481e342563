"""Telling Optuna how a trial ended: once, whoever of several workers comes to it."""

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.study.record import REASON
from search.study.study import SearchStudy

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


MEMORY = "memory"  # the constraint's name; feasible <= 0


def judged(search: SearchStudy, outcome: TrialOutcome) -> TrialOutcome:
    """`outcome`; infeasible instead of failed where memory was short and the study is to learn from that."""
    if outcome.out_of_memory and _learns_memory(search):
        return dataclasses.replace(outcome, state="infeasible")
    return outcome


def _learns_memory(search: SearchStudy) -> bool:
    return search.spec.constraints.memory == "learn"


def tell(search: SearchStudy, trial: optuna.Trial, outcome: TrialOutcome) -> None:
    """Tell it, unless it was told before; whether it fitted into memory, where the study is to learn that."""
    study = search.study
    storage = study._storage
    if storage.get_trial(trial._trial_id).state.is_finished():
        return  # told before its worker died or lost the connection
    state = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}.get(outcome.state, TrialState.PRUNED)
    try:
        if _learns_memory(search) and outcome.fits is not None:
            trial.set_constraint(MEMORY, -1.0 if outcome.fits else 1.0)
        if outcome.reason:
            storage.set_trial_user_attr(trial._trial_id, REASON, outcome.reason)
        study.tell(trial, outcome.value if state == TrialState.COMPLETE else None, state=state)
    except (ValueError, UpdateFinishedTrialError):
        # between settling and telling this worker slept past its lease, and another one told the same outcome
        if not storage.get_trial(trial._trial_id).state.is_finished():
            raise


def ending(number: int, outcome: TrialOutcome) -> str:
    """One line for the log."""
    value = f" {outcome.value:+.3f}" if outcome.value is not None else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"trial {number} {outcome.state}{value} ({outcome.n_epochs} epochs){reason}"
