"""A trial's result, kept in its slot until Optuna has it, and told to Optuna once, whichever worker comes to it."""

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.queue.slots import Claim
from search.storage.fast.storage import batch
from search.study.study import Study
from search.trials import FATE, REASON, Fate

MEMORY = "memory"  # the constraint's name; feasible <= 0
ON_DEVICE = (
    "cuda out of memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
ON_HOST = ("can't allocate memory", "cannot allocate memory", "std::bad_alloc")


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial ended.

    fate: RUNNING where another worker goes on with it. value: the study's metric, of a complete trial. An infeasible
    trial costs too much, and was not trained, or not to its end. recorded_before: by an earlier worker.
    """

    fate: Fate
    value: float | None
    n_epochs: int
    reason: str = ""
    out_of_memory: bool = False
    recorded_before: bool = False

    @property
    def fits(self) -> bool | None:
        """Whether it had memory enough; None where it ended before that could show."""
        return False if self.out_of_memory else True if self.fate in (Fate.COMPLETE, Fate.PRUNED) else None

    def encode(self) -> str:
        """As text; `decode` is the inverse."""
        values = dataclasses.asdict(self)
        del values["recorded_before"]
        return json.dumps({"state": values.pop("fate"), **values})

    @staticmethod
    def decode(text: str) -> "TrialResult":
        """The result that `encode` wrote."""
        values = json.loads(text)
        return TrialResult(Fate(values.pop("state")), **values)

    @staticmethod
    def recorded(claim: Claim) -> "TrialResult | None":
        """The result that an earlier worker recorded in the slot; None where there is none."""
        if claim.result is None:
            return None
        return dataclasses.replace(TrialResult.decode(claim.result), recorded_before=True)


def failure(error: BaseException) -> TrialResult:
    """The result of a trial that `error` ended, its reason in one line."""
    words = " ".join(str(error).split())[:300]
    place = _short_of_memory(error)
    reason = f"out of memory on the {place}: {words}" if place else f"{type(error).__name__}: {words}"
    return TrialResult(Fate.FAILED, None, 0, reason, out_of_memory=bool(place))


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


def as_judged(study: Study, result: TrialResult) -> TrialResult:
    """`result`; infeasible instead of failed where memory was short and the study is to learn from that."""
    if result.out_of_memory and _learns_memory(study):
        return dataclasses.replace(result, fate=Fate.INFEASIBLE)
    return result


def _learns_memory(study: Study) -> bool:
    return study.spec.constraints.memory == "learn"


def tell(study: Study, trial: optuna.Trial, result: TrialResult) -> None:
    """Tell Optuna the result, unless it was told before, with its fate, its reason and whether it fitted into memory,
    where the study is to learn that."""
    storage, trial_id = study.optuna._storage, trial._trial_id
    if storage.get_trial(trial_id).state.is_finished():
        return  # told before its worker died or lost the connection
    states = {Fate.COMPLETE: TrialState.COMPLETE, Fate.FAILED: TrialState.FAIL}
    state = states.get(result.fate, TrialState.PRUNED)
    try:
        with batch(storage, trial_id):
            if _learns_memory(study) and result.fits is not None:
                trial.set_constraint(MEMORY, -1.0 if result.fits else 1.0)
            storage.set_trial_user_attr(trial_id, FATE, str(result.fate))
            if result.reason:
                storage.set_trial_user_attr(trial_id, REASON, result.reason)
        study.optuna.tell(trial, result.value if state == TrialState.COMPLETE else None, state=state)
    except (ValueError, UpdateFinishedTrialError):
        # this worker slept past its lease after it recorded the result, and another one told it
        if not storage.get_trial(trial_id).state.is_finished():
            raise


def summary(number: int, result: TrialResult) -> str:
    """One line for the log."""
    value = f" {result.value:+.3f}" if result.value is not None else ""
    reason = f": {result.reason}" if result.reason else ""
    return f"trial {number} {result.fate}{value} ({result.n_epochs} epochs){reason}"
