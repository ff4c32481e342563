"""What can be searched: ranges are read off the config classes, a study fixes or narrows them, a trial samples them."""

import dataclasses
import typing
from collections.abc import Mapping
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

from models import DenoiserConfig
from objectives.losses import LossConfig
from training.config import FitConfig
from training.decode import ConfigError, decode, near
from training.optimiser import OptimiserConfig
from training.schedule import ScheduleConfig

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One hyperparameter: where it lives, what it is by default and where a search looks (None: nowhere)."""

    name: str
    section: str
    type: Any
    default: Any
    distribution: BaseDistribution | None


@dataclass(frozen=True, slots=True)
class RangeSpec:
    """A range in a study file: `low` and `high` (with `log` or `step`), or `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool | None = None
    step: float | None = None
    choices: tuple[bool | int | float | str, ...] | None = None

    def __post_init__(self) -> None:
        bounds = self.low is not None and self.high is not None
        if bounds == (self.choices is not None) or (self.choices is not None and not self.choices):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


@dataclass(frozen=True, slots=True)
class Space:
    """A study's parameters: those it samples (name -> distribution) and those it fixes (name -> value)."""

    model: type[DenoiserConfig]
    loss: type[LossConfig]
    sampled: Mapping[str, BaseDistribution]
    fixed: Mapping[str, Any]


def parameters(model: type[DenoiserConfig], loss: type[LossConfig]) -> dict[str, Parameter]:
    """Every hyperparameter of a run of `model` under `loss`, by name."""
    found: dict[str, Parameter] = {}
    for section, cls in _sections(model, loss).items():
        for name, parameter in _ranges(section, cls).items():
            assert name not in found, f"{name} stands in {found[name].section} and in {section}"
            found[name] = parameter
    return found


def _sections(model: type[DenoiserConfig], loss: type[LossConfig]) -> dict[str, type]:
    return {
        "model": model,
        "loss": loss,
        "optimiser": OptimiserConfig,
        "schedule": ScheduleConfig,
        "fit": FitConfig,
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
        result[field.name] = Parameter(field.name, section, hint, field.default, distribution)
    return result


def build_space(
    model: type[DenoiserConfig],
    loss: type[LossConfig],
    *,
    search: tuple[str, ...] = (),
    fixed: Mapping[str, Scalar] = MappingProxyType({}),
    ranges: Mapping[str, RangeSpec] = MappingProxyType({}),
    where: str = "study",
) -> Space:
    """The space of a study file. search: names to sample; empty takes all that have a range.

    A range may be narrowed, or given to a parameter that has none; a name may not be invented. Raises ConfigError.
    """
    known = parameters(model, loss)
    for key, names in (("search", search), ("fixed", tuple(fixed)), ("ranges", tuple(ranges))):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"{where}: {key}: model {model.name} with loss {loss.name} has no parameter {name!r}"
                    f"{near(name, known)}; known: {', '.join(sorted(known))}"
                )
    both = sorted(set(fixed) & (set(ranges) | set(search)))
    if both:
        raise ConfigError(f"{where}: {both[0]!r} is both fixed and searched; keep one")
    sampled: dict[str, BaseDistribution] = {}
    for name, parameter in known.items():
        wanted = name in ranges or (name in search if search else parameter.distribution is not None)
        if not wanted or name in fixed:
            continue
        if name in ranges:
            sampled[name] = _narrow(parameter, ranges[name], f"{where}: ranges.{name}")
        elif parameter.distribution is not None:
            sampled[name] = parameter.distribution
        else:
            raise ConfigError(f"{where}: search: {name!r} has no range of its own; give one under ranges.{name}")
    space = Space(model, loss, MappingProxyType(sampled), MappingProxyType(dict(fixed)))
    sections(space, {}, where)
    return space


def sample(trial: optuna.trial.BaseTrial, space: Space) -> dict[str, Any]:
    """One value for each sampled parameter, drawn through `trial`."""
    return {name: _suggest(trial, name, distribution) for name, distribution in space.sampled.items()}


def sections(space: Space, params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config sections (model, loss, optimiser, schedule, fit) that `params` and the fixed values make.

    Raises ConfigError where a value is of the wrong type or cannot exist.
    """
    known = parameters(space.model, space.loss)
    values: dict[str, dict[str, Any]] = {section: {} for section in _sections(space.model, space.loss)}
    for name, value in {**space.fixed, **params}.items():
        values[known[name].section][name] = value
    return {
        section: decode(cls, values[section], f"{where}: {section}")
        for section, cls in _sections(space.model, space.loss).items()
    }


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
    raise AssertionError(f"{name}: no way to sample {distribution}")


def _narrow(parameter: Parameter, spec: RangeSpec, where: str) -> BaseDistribution:
    declared = parameter.distribution
    if spec.choices is not None:
        outside = [c for c in spec.choices if declared is not None and not _contains(declared, c)]
        if outside:
            raise ConfigError(f"{where}: {outside[0]!r} lies outside the declared range, {describe(declared)}")
        return CategoricalDistribution(spec.choices)
    assert spec.low is not None and spec.high is not None
    if isinstance(declared, CategoricalDistribution):
        raise ConfigError(f"{where}: low and high do not fit {describe(declared)}; give choices")
    if declared is not None and not (_contains(declared, spec.low) and _contains(declared, spec.high)):
        raise ConfigError(
            f"{where}: {spec.low:g} .. {spec.high:g} lies outside the declared range, {describe(declared)}"
        )
    log = spec.log if spec.log is not None else bool(declared is not None and declared.log)  # type: ignore[attr-defined]
    is_int = isinstance(declared, IntDistribution) or (declared is None and parameter.type in (int, int | None))
    try:
        if not is_int:
            return FloatDistribution(spec.low, spec.high, log=log, step=spec.step)
        step = int(spec.step or (declared.step if isinstance(declared, IntDistribution) else 1))
        return IntDistribution(int(spec.low), int(spec.high), log=log, step=step)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def describe(distribution: BaseDistribution | None) -> str:
    """A range in words: "2 .. 8 step 2", "1e-4 .. 0.01 log", "one of 2, 4, 8"."""
    match distribution:
        case CategoricalDistribution():
            return "one of " + ", ".join(str(choice) for choice in distribution.choices)
        case IntDistribution() | FloatDistribution():
            step = f" step {distribution.step:g}" if distribution.step not in (None, 1) else ""
            return f"{distribution.low:g} .. {distribution.high:g}{step}{' log' if distribution.log else ''}"
    return "fixed"
