"""A trial's result: recorded in its slot first, then told to Optuna once, by this worker or the next."""

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.queue.slots import Claim
from search.storage.fast.storage import batch
from search.study.study import Study
from search.trials import FATE, REASON, Fate, fate_of

MEMORY = "memory"  # name of a constraint; feasible <= 0
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

    fate: RUNNING where another worker continues it. value: the study's metric, of a complete trial. n_epochs: epochs
    trained. reason: why it has this fate; "" where that needs no reason. out_of_memory: whether it failed for that.
    recorded_before: whether an earlier worker recorded it.
    """

    fate: Fate
    value: float | None
    n_epochs: int
    reason: str = ""
    out_of_memory: bool = False
    recorded_before: bool = False

    @property
    def fits(self) -> bool | None:
        """Whether it fits into memory; None where it ended before that is known."""
        return False if self.out_of_memory else True if self.fate in (Fate.COMPLETE, Fate.PRUNED) else None

    def encode(self) -> str:
        """Return the result as JSON, the inverse of `decode`."""
        values = dataclasses.asdict(self)
        del values["recorded_before"]
        return json.dumps({"state": values.pop("fate"), **values})

    @staticmethod
    def decode(text: str) -> "TrialResult":
        """Return the result that `encode` wrote."""
        values = json.loads(text)
        return TrialResult(Fate(values.pop("state")), **values)

    @staticmethod
    def recorded(claim: Claim) -> "TrialResult | None":
        """Return the result that an earlier worker recorded in the slot; None where there is none that can be read."""
        if claim.result is None:
            return None
        try:
            return dataclasses.replace(TrialResult.decode(claim.result), recorded_before=True)
        except (ValueError, TypeError, KeyError):  # changed by another program: the trial is trained again
            return None


def ended_elsewhere(trial: FrozenTrial) -> TrialResult:
    """Return the result of a trial that another program has ended: its state and value in Optuna."""
    fate = fate_of(trial)
    value = trial.value if fate == Fate.COMPLETE else None
    reason = trial.user_attrs.get(REASON)
    reason = f"ended by another program{f': {reason}' if isinstance(reason, str) else ''}"
    return TrialResult(fate, value, len(trial.intermediate_values), reason, recorded_before=True)


def failure(error: BaseException) -> TrialResult:
    """Return the result of a trial that raised `error`, with a reason of one line."""
    message = " ".join(str(error).split())[:300]
    place = _short_of_memory(error)
    reason = f"out of memory on the {place}: {message}" if place else f"{type(error).__name__}: {message}"
    return TrialResult(Fate.FAILED, None, 0, reason, out_of_memory=bool(place))


def _short_of_memory(error: BaseException) -> str:
    """Return whose memory was exhausted, "device" or "host"; "" for any other error."""
    message = str(error).lower()
    torch = sys.modules.get("torch")  # not imported here: only if something else did can it have raised the error
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "device"
    # CUDA's libraries raise a RuntimeError with a message of their own
    if isinstance(error, RuntimeError) and any(part in message for part in ON_DEVICE):
        return "device"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "host"
    return "host" if isinstance(error, RuntimeError) and any(part in message for part in ON_HOST) else ""


def memory_as_constraint(study: Study, result: TrialResult) -> TrialResult:
    """Return `result`, with INFEASIBLE in place of FAILED for a lack of memory if the study learns from that."""
    if result.out_of_memory and _learns_memory(study):
        return dataclasses.replace(result, fate=Fate.INFEASIBLE)
    return result


def _learns_memory(study: Study) -> bool:
    return study.spec.constraints.memory == "learn"


def tell(study: Study, trial: optuna.Trial, result: TrialResult) -> TrialResult:
    """Tell Optuna the result, and store its fate, its reason and the memory constraint with the trial.

    Returns the result that Optuna has: another one if another program has ended the trial. Does nothing where Optuna
    has a result already.
    """
    storage, trial_id = study.optuna._storage, trial._trial_id
    states = {Fate.COMPLETE: TrialState.COMPLETE, Fate.FAILED: TrialState.FAIL}
    state = states.get(result.fate, TrialState.PRUNED)
    stored = storage.get_trial(trial_id)
    if stored.state == TrialState.WAITING:  # another program has put it back
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    if stored.state.is_finished():  # an earlier call succeeded, and then its worker died or lost the connection
        return result if stored.state == state else ended_elsewhere(stored)
    try:
        with batch(storage, trial_id):
            if _learns_memory(study) and result.fits is not None:
                trial.set_constraint(MEMORY, -1.0 if result.fits else 1.0)
            storage.set_trial_user_attr(trial_id, FATE, str(result.fate))
            if result.reason:
                storage.set_trial_user_attr(trial_id, REASON, result.reason)
        study.optuna.tell(trial, result.value if state == TrialState.COMPLETE else None, state=state)
    except (ValueError, UpdateFinishedTrialError):
        # this process was suspended after record_result for longer than its lease, and another worker told the result
        stored = storage.get_trial(trial_id)
        if not stored.state.is_finished():
            raise
        return result if stored.state == state else ended_elsewhere(stored)
    return result


def summary(number: int, result: TrialResult) -> str:
    """Return the result of trial `number` as a line for the log."""
    value = f" {result.value:+.3f}" if result.value is not None else ""
    reason = f": {result.reason}" if result.reason else ""
    return f"trial {number} {result.fate}{value} ({result.n_epochs} epochs){reason}"
