"""Which trials and enqueued points of a study can be used, for other programs may add trials of any kind to it.

Samplers, pruners and importances see usable trials only. A trial of another program is unusable if it lacks a
parameter of the space, or has a value that the space does not have.
"""

import copy
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from data.errors import near
from search.study.space import Space, contains, describe

SHOWN_VALUE = 60  # characters of a value from outside that a message shows


class VisibleStudy(optuna.Study):
    """A study of which samplers and pruners see only the trials for which `visible` is true."""

    def __init__(self, study: optuna.Study, visible: Callable[[FrozenTrial], bool]) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._visible = visible

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
        visible = [trial for trial in trials if self._visible(trial)]
        return copy.deepcopy(visible) if deepcopy else visible


def usable_view(study: optuna.Study, space: Space) -> optuna.Study:
    """Return the study without its unusable trials; `study` itself where there are none."""
    if not unusable(study.get_trials(deepcopy=False), space):
        return study
    return VisibleStudy(study, lambda trial: not why_unusable(trial, space))


def unusable(trials: Sequence[FrozenTrial], space: Space) -> dict[int, str]:
    """Return number -> reason for the trials that samplers and pruners must not see."""
    reasons = ((trial.number, why_unusable(trial, space)) for trial in trials)
    return {number: reason for number, reason in reasons if reason}


def why_unusable(trial: FrozenTrial, space: Space) -> str:
    """Return why samplers and pruners must not see the trial; "" where they may.

    They see the complete and the pruned trials, and the running ones that have parameters.
    """
    if trial.state in (TrialState.FAIL, TrialState.WAITING):
        return ""
    if trial.state == TrialState.RUNNING and not trial.params:
        return ""
    for name, distribution in space.sampled.items():
        if name not in trial.params:
            return f"it has no {name}"
        if not contains(distribution, trial.params[name]):
            return _outside(name, trial.params[name], describe(distribution))
    values = trial.values or []
    if trial.state == TrialState.COMPLETE and (len(values) != 1 or math.isnan(values[0])):
        return f"it has the values {_shown(values)}, and one number is needed"
    return ""


def why_refused(point: object, space: Space) -> str:
    """Return why an enqueued point cannot run; "" where it can.

    A point may name some of the sampled parameters, each with a value of its range, and fixed parameters with their
    fixed value.
    """
    if not isinstance(point, Mapping):
        return f"its fixed parameters are {_shown(point)}, not a mapping"
    for name, value in point.items():
        if name in space.sampled:
            if not contains(space.sampled[name], value):
                return _outside(name, value, describe(space.sampled[name]))
        elif name not in space.fixed:
            known = sorted([*space.sampled, *space.fixed])
            return f"the study has no parameter {_shown(name)}{near(str(name), known)}; known: {', '.join(known)}"
        elif value != space.fixed[name]:
            return f"{name} is {_shown(value)}, but the study fixes it at {space.fixed[name]}"
    return ""


def fixed_params(trial: FrozenTrial) -> Any:
    """Return the point that a trial was enqueued with, as stored; an empty one where it was not enqueued."""
    return trial.system_attrs.get("fixed_params", {})


def _outside(name: str, value: object, allowed: str) -> str:
    return f"{name} is {_shown(value)}; {allowed} is allowed"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE else f"{text[:SHOWN_VALUE]}..."
