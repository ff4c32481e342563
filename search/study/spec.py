"""StudySpec: the TOML file in which a user says what to search."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.config import DataConfig
from models import DENOISERS
from objectives.losses import LOSSES
from search.sampling.pruners import PrunerSpec
from search.sampling.samplers import SamplerSpec, grid_axes
from search.study.space import (
    AUGMENT,
    Parameter,
    RangeSpec,
    Space,
    build_space,
    check_names,
    contains,
    describe,
    feasible_example,
    parameters,
    sections,
)
from training.config import RunConfig
from training.decode import decode, encode, pick, read_document
from training.errors import ConfigError
from training.evaluation.scores import SCORES


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """trials: finished ones (complete, pruned or infeasible), per family. hours: no trial starts later than this after
    the first one; None: no end. trial_minutes: a trial that trains longer is failed. A search ends before its budget
    where every point of a finite space was tried."""

    trials: int = 50
    hours: float | None = None
    trial_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; at least 1 is needed")
        for name in ("hours", "trial_minutes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; a positive number is needed")


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """What a model may cost; a trial over it is infeasible: it counts as finished, is not trained, never exported.

    memory: a trial that runs out of memory, on the device or the host, fails ("fail"), so that the budget has its part
    back; or it is infeasible too ("learn"), a constraint from which the sampler learns what fits.
    """

    max_parameters: int | None = None
    max_latency_ms: float | None = None
    memory: Literal["fail", "learn"] = "fail"

    def __post_init__(self) -> None:
        for name in ("max_parameters", "max_latency_ms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; a positive number is needed")


@dataclass(frozen=True, slots=True)
class ArtifactSpec:
    """Whose figures, sounds and configs are kept: those of so many of the best trials, and of the latest ones."""

    best: int = 10
    last: int = 20

    def __post_init__(self) -> None:
        for name in ("best", "last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class StudySpec:
    """A search: one study for each of `models`.

    search: names of the parameters to sample, besides those under ranges; empty takes all that have a range,
    augmentation aside. fixed, ranges: see search.study.space. enqueue: known good points, tried first. A name that only
    some of the families have concerns those. The rest of a run (batch_size, steps_per_epoch ...) goes under fixed.
    deterministic: equal trials and an equal export whatever the number of workers, in generations of `generation`
    trials; see search.worker.generations.
    """

    name: str
    models: tuple[str, ...]
    data: DataConfig
    loss: str = "si_sdr"
    metric: str = "si_sdr_db"
    direction: Literal["maximize", "minimize"] | None = None
    epochs: int = 40
    seed: int = 0
    search: tuple[str, ...] = ()
    fixed: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    ranges: Mapping[str, RangeSpec] = field(default_factory=dict)
    enqueue: tuple[Mapping[str, bool | int | float | str], ...] = ()
    sampler: SamplerSpec = field(default_factory=SamplerSpec)
    pruner: PrunerSpec = field(default_factory=PrunerSpec)
    budget: BudgetSpec = field(default_factory=BudgetSpec)
    constraints: ConstraintSpec = field(default_factory=ConstraintSpec)
    artifacts: ArtifactSpec = field(default_factory=ArtifactSpec)
    deterministic: bool = False
    generation: int = 4

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"name is {self.name!r}; a text without '/' is needed")
        if len(self.name) > 150:  # the database's columns hold 200, the family's name included
            raise ValueError(f"name is {len(self.name)} characters long; at most 150 are allowed")
        if self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; at least 1 is needed")
        if self.generation < 1:
            raise ValueError(f"generation is {self.generation}; at least 1 is needed")
        timed = self.budget.hours or self.budget.trial_minutes or self.constraints.max_latency_ms
        if self.deterministic and timed:
            raise ValueError(
                "a deterministic study cannot depend on time; leave out hours, trial_minutes and max_latency_ms"
            )
        if not self.models or len(set(self.models)) != len(self.models):
            raise ValueError(f"models is {list(self.models)}; at least one family, each once, is needed")


def read_spec(path: Path, *, deterministic: bool = False) -> StudySpec:
    """The study file at `path`, checked whole: names, ranges, samplers, enqueued points. Raises ConfigError.

    deterministic: makes the study so, whatever its file says.
    """
    document = read_document(path)
    if deterministic and isinstance(document, dict):
        document = {**document, "deterministic": True}
    return check(decode(StudySpec, document, str(path)), str(path))


def check(spec: StudySpec, where: str) -> StudySpec:
    """`spec` itself, or a ConfigError about what in it does not fit together."""
    score = pick(SCORES, spec.metric, f"{where}: metric", "metric")
    if spec.direction not in (None, score.direction):
        raise ConfigError(f"{where}: direction is {spec.direction!r}, but {spec.metric} is to {score.direction}")
    if score.silence_wins:
        honest = ", ".join(name for name, known in SCORES.items() if not known.silence_wins)
        raise ConfigError(f"{where}: metric {spec.metric!r} is won by silence; choose one of {honest}")
    owned = {"epochs": "epochs", "seed": "seed", "score": "metric"}
    for name in _named(spec):
        if name in owned:
            raise ConfigError(f"{where}: {name!r} is the study's own; say {owned[name]} = ... at the top")
    known = {name for model in spec.models for name in _parameters_of(spec, model, where)}
    families = f"model{'s' if len(spec.models) > 1 else ''} {', '.join(spec.models)} with loss {spec.loss}"
    check_names(_named(spec), known, where, families)
    for model in spec.models:
        space = space_of(spec, model, where)
        run_of(spec, space, feasible_example(space, where), where)
        for i, point in enumerate(spec.enqueue):
            _check_point(spec, space, point, f"{where}: enqueue[{i}]")
        if spec.sampler.name == "grid":
            grid_axes(space.sampled, where)
    return spec


def _named(spec: StudySpec) -> list[str]:
    return [*spec.search, *spec.fixed, *spec.ranges, *(name for point in spec.enqueue for name in point)]


def _parameters_of(spec: StudySpec, model: str, where: str) -> dict[str, Parameter]:
    return parameters(
        pick(DENOISERS, model, f"{where}: models", "model"), pick(LOSSES, spec.loss, f"{where}: loss", "loss")
    )


def _check_point(spec: StudySpec, space: Space, point: Mapping[str, Any], where: str) -> None:
    family = parameters(space.model, space.loss)
    for name, value in point.items():
        if name not in family:
            continue
        if name not in space.sampled:
            raise ConfigError(f"{where}: {name!r} is not searched; searched: {', '.join(sorted(space.sampled))}")
        if not contains(space.sampled[name], value):
            raise ConfigError(f"{where}: {name} = {value!r} lies outside its range, {describe(space.sampled[name])}")
    if point.keys() >= space.sampled.keys():  # of a partial one the rest is sampled, to fit
        run_of(spec, space, part_of(point, space), where)


def part_of(point: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The part of an enqueued point that concerns the family of `space`."""
    return {name: value for name, value in point.items() if name in space.sampled}


def space_of(spec: StudySpec, model: str, where: str = "study", *, check: bool = True) -> Space:
    """The search space of one family of `spec`. check: whether a model exists for any point of it."""
    own = _parameters_of(spec, model, where)
    return build_space(
        DENOISERS[model],
        LOSSES[spec.loss],
        search=tuple(name for name in spec.search if name in own) if spec.search else None,
        fixed={name: value for name, value in spec.fixed.items() if name in own},
        ranges={name: value for name, value in spec.ranges.items() if name in own},
        where=where,
        check=check,
    )


def run_of(spec: StudySpec, space: Space, params: Mapping[str, Any], where: str = "trial") -> RunConfig:
    """The whole run that `params` stand for. Raises ConfigError for a pair that cannot exist."""
    own = {"epochs": spec.epochs, "seed": spec.seed, "score": spec.metric}
    known = Space(space.model, space.loss, space.sampled, {**space.fixed, **own})
    made = sections(known, params, where)
    augment = dataclasses.replace(spec.data.augment, **made.pop(AUGMENT))
    return RunConfig(data=dataclasses.replace(spec.data, augment=augment), **made)


def study_names(spec: StudySpec) -> dict[str, str]:
    """Family -> the name of its study: the spec's own where there is one family, name-family where there are more."""
    if len(spec.models) == 1:
        return {spec.models[0]: spec.name}
    return {model: f"{spec.name}-{model}" for model in spec.models}


def spec_document(spec: StudySpec) -> dict[str, Any]:
    """`spec` as plain values; decode(StudySpec, ...) gives it back."""
    document: dict[str, Any] = encode(spec)
    return document
