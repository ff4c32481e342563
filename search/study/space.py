"""Search spaces: the config classes declare ranges, a study fixes or narrows them, and a trial samples from them.

Other programs may add trials of any kind to a study. Samplers, pruners and importances see usable trials only: a trial
is unusable if it lacks a parameter of the space, or has a value that the space does not have.
"""

import copy
import dataclasses
import itertools
import math
import typing
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from data.config import ADDED, AugmentConfig
from data.errors import near
from models import DenoiserConfig
from models.beats import BeatsConfig
from models.front import FrontConfig
from models.live import LiveConfig
from objectives.losses import LossConfig
from search.sampling.points import some_points
from training.config import FitConfig
from training.decode import decode
from training.errors import ConfigError
from training.schedule import OptimiserConfig, ScheduleConfig

Scalar = bool | int | float | str | None

N_EXAMPLES = 50
SHOWN_VALUE = 60  # characters of a value from outside that a message shows
AUGMENT = "augment"
"""The section of a run's data."""
NAMED_ONLY = (AUGMENT, "beats", "live")
"""Sections whose parameters are searched only where a study names them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyperparameter.

    section: of the config. distribution: its declared range; None: it has none. by_default: whether a study that names
    no parameters searches it, if it has a range. A field that was added later is not, so that studies keep their space.
    """

    name: str
    section: str
    type: Any
    default: Any
    distribution: BaseDistribution | None
    by_default: bool = True


@dataclass(frozen=True, slots=True)
class RangeSpec:
    """A range in a study file: `low` and `high` (with `log` or `step`), or `choices`.

    `log` and `step` default to those of the declared range; a step makes the scale linear.
    """

    low: float | None = None
    high: float | None = None
    log: bool | None = None
    step: float | None = None
    choices: tuple[bool | int | float | str, ...] | None = None

    def __post_init__(self) -> None:
        bounds = self.low is not None and self.high is not None
        if bounds == (self.choices is not None) or self.choices == ():
            raise ValueError("give either low and high, or choices")
        if self.choices is not None and (self.log is not None or self.step is not None):
            raise ValueError("log and step go with low and high, not with choices")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.choices is not None and len(set(map(repr, self.choices))) != len(self.choices):
            raise ValueError(f"choices are {list(self.choices)}; each may be given once")


@dataclass(frozen=True, slots=True)
class Space:
    """The search space of a family. sampled: name -> distribution. fixed: name -> value."""

    model: type[DenoiserConfig]
    loss: type[LossConfig]
    sampled: Mapping[str, BaseDistribution]
    fixed: Mapping[str, Any]


def parameters(model: type[DenoiserConfig], loss: type[LossConfig]) -> dict[str, Parameter]:
    """Return the hyperparameters of a run of `model` with `loss`, by name."""
    found: dict[str, Parameter] = {}
    for section, cls in _sections(model, loss).items():
        for name, parameter in _ranges(section, cls).items():
            assert name not in found, f"{name} is a parameter of {found[name].section} and of {section}"
            found[name] = parameter
    return found


def _sections(model: type[DenoiserConfig], loss: type[LossConfig]) -> dict[str, type]:
    return {
        "model": model,
        "loss": loss,
        "optimiser": OptimiserConfig,
        "schedule": ScheduleConfig,
        "fit": FitConfig,
        "front": FrontConfig,
        "beats": BeatsConfig,
        "live": LiveConfig,
        AUGMENT: AugmentConfig,
    }


def _ranges(section: str, cls: type) -> dict[str, Parameter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    result = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        distribution = None
        if typing.get_origin(hint) is typing.Annotated:
            hint, *notes = typing.get_args(hint)
            distribution = next((note for note in notes if isinstance(note, BaseDistribution)), None)
        by_default = section not in NAMED_ONLY and not field.metadata.get(ADDED, False)
        result[field.name] = Parameter(field.name, section, hint, field.default, distribution, by_default)
    return result


def build_space(
    model: type[DenoiserConfig],
    loss: type[LossConfig],
    *,
    search: tuple[str, ...] | None = None,
    fixed: Mapping[str, Scalar] = MappingProxyType({}),
    ranges: Mapping[str, RangeSpec] = MappingProxyType({}),
    where: str = "study",
    check: bool = True,
) -> Space:
    """Build the search space of a family.

    search: names of the parameters to sample, besides those in `ranges`; None: all with a declared range that are
    searched by default. fixed: name -> value. ranges: name -> a part of the declared range, or a range for a parameter
    without one. where: the file, for errors. check: require that the space has a point for which a model exists.

    Raises ConfigError.
    """
    known = parameters(model, loss)
    check_names((*(search or ()), *fixed, *ranges), known, where, f"model {model.name} with loss {loss.name}")
    both = sorted(set(fixed) & {*ranges, *(search or ())})
    if both:
        raise ConfigError(f"{where}: {both[0]!r} is both fixed and searched; keep one")
    sampled: dict[str, BaseDistribution] = {}
    for name, parameter in known.items():
        by_default = parameter.distribution is not None and parameter.by_default
        wanted = name in ranges or (by_default if search is None else name in search)
        if not wanted or name in fixed:
            continue
        if name in ranges:
            sampled[name] = _narrow(parameter, ranges[name], model, loss, f"{where}: ranges.{name}")
        elif parameter.distribution is not None:
            sampled[name] = parameter.distribution
        else:
            raise ConfigError(f"{where}: search: {name!r} has no declared range; give one under ranges.{name}")
    space = Space(model, loss, MappingProxyType(sampled), MappingProxyType(dict(fixed)))
    if check:
        feasible_example(space, where)
    return space


def feasible_example(space: Space, where: str) -> dict[str, Any]:
    """Return params for which a run exists: the defaults if possible, else one of N_EXAMPLES points of the space.

    Raises the ConfigError of the first candidate where there is none.
    """
    defaults = {
        name: parameter.default
        for name, parameter in parameters(space.model, space.loss).items()
        if name in space.sampled and contains(space.sampled[name], parameter.default)
    }
    refused: ConfigError | None = None
    others = (defaults | point for point in some_points(space.sampled, N_EXAMPLES))
    for params in itertools.chain([defaults], others):
        try:
            sections(space, params, where)
        except ConfigError as error:
            refused = refused or error
        else:
            return params
    assert refused is not None
    raise refused


def check_names(names: Iterable[str], known: Collection[str], where: str, owner: str) -> None:
    """Raise ConfigError, with the nearest name, for the first of `names` that is not in `known`."""
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where}: {owner} has no parameter {name!r}{near(name, known)}; known: {', '.join(sorted(known))}"
            )


def sample(trial: optuna.trial.BaseTrial, space: Space) -> dict[str, Any]:
    """Sample a value for each parameter with `trial`; return name -> value."""
    return {name: _suggest(trial, name, distribution) for name, distribution in space.sampled.items()}


def sections(space: Space, params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the config sections of `params` and the fixed values: model, loss, optimiser, schedule, fit, front, beats,
    live.

    augment: a dict of only the parameters that are sampled or fixed. Raises ConfigError for a value of the wrong type
    or a combination that is not allowed.
    """
    known = parameters(space.model, space.loss)
    values: dict[str, dict[str, Any]] = {section: {} for section in _sections(space.model, space.loss)}
    for name, value in {**space.fixed, **params}.items():
        values[known[name].section][name] = value
    configs: dict[str, Any] = {
        section: decode(cls, values[section], f"{where}: {section}")
        for section, cls in _sections(space.model, space.loss).items()
    }
    configs[AUGMENT] = {name: getattr(configs[AUGMENT], name) for name in values[AUGMENT]}
    return configs


def _suggest(trial: optuna.trial.BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case IntDistribution():
            return trial.suggest_int(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case FloatDistribution():
            return trial.suggest_float(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
    raise AssertionError(f"{name}: cannot sample {distribution}")


def _narrow(
    parameter: Parameter, spec: RangeSpec, model: type[DenoiserConfig], loss: type[LossConfig], where: str
) -> BaseDistribution:
    """Return the distribution of a range in a study file. Raises ConfigError where it leaves the declared range."""
    declared = parameter.distribution
    if isinstance(declared, CategoricalDistribution) and spec.choices is None:
        raise ConfigError(f"{where}: low and high do not fit {describe(declared)}; give choices")
    ends = spec.choices if spec.choices is not None else (spec.low, spec.high)
    for value in ends:
        if declared is not None and not contains(declared, value):
            raise ConfigError(f"{where}: {value!r} lies outside the declared range, {describe(declared)}")
        if declared is None:  # the config class checks the value
            decode(_sections(model, loss)[parameter.section], {parameter.name: value}, where)
    if spec.choices is not None:
        return CategoricalDistribution(spec.choices)
    assert spec.low is not None and spec.high is not None
    # Optuna allows a step on a linear scale only, so a step in the study file overrides a declared log scale.
    log = spec.log if spec.log is not None else spec.step is None and bool(getattr(declared, "log", False))
    try:
        if isinstance(declared, IntDistribution) or (declared is None and parameter.type in (int, int | None)):
            step = spec.step if spec.step is not None else getattr(declared, "step", 1)
            _check_whole(where, low=spec.low, high=spec.high, step=step)
            _check_steps(where, spec.low, spec.high, step)
            return IntDistribution(int(spec.low), int(spec.high), log=log, step=int(step))
        step = spec.step if spec.step is not None else getattr(declared, "step", None)
        if step is not None:
            _check_steps(where, spec.low, spec.high, step)
        return FloatDistribution(spec.low, spec.high, log=log, step=step)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_whole(where: str, **values: float) -> None:
    for name, value in values.items():
        if value != int(value):
            raise ConfigError(f"{where}: {name} is {value:g}; a whole number is needed")


def _check_steps(where: str, low: float, high: float, step: float) -> None:
    if step <= 0:
        raise ConfigError(f"{where}: step is {step:g}; a positive number is needed")
    n_steps = (high - low) / step
    if abs(n_steps - round(n_steps)) > 1e-8:
        raise ConfigError(f"{where}: steps of {step:g} from {low:g} do not meet high {high:g}")


def contains(distribution: BaseDistribution, value: object) -> bool:
    """Return whether `value` can be drawn from `distribution`: right type, within the bounds, on a step."""
    if isinstance(distribution, CategoricalDistribution):
        return any(type(value) is type(choice) and value == choice for choice in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(distribution, IntDistribution) and value != int(value):
        return False
    return distribution._contains(float(value))


def describe(distribution: BaseDistribution | None) -> str:
    """Return an unambiguous text for a range: "2 .. 8 step 2", "0.0001 .. 0.01 log", "one of 2, 4, 8"."""
    match distribution:
        case CategoricalDistribution():
            return "one of " + ", ".join(str(choice) for choice in distribution.choices)
        case IntDistribution(step=1) | FloatDistribution(step=None):
            step = ""
        case IntDistribution() | FloatDistribution():
            step = f" step {_exact(distribution.step)}"
        case _:
            return "fixed"
    return f"{_exact(distribution.low)} .. {_exact(distribution.high)}{step}{' log' if distribution.log else ''}"


def _exact(number: float | None) -> str:
    short = f"{number:g}"
    return short if number is not None and float(short) == number else str(number)


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
