"""StudySpec: the TOML file in which a user says what to search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.config import DataConfig
from models import DENOISERS
from objectives.losses import LOSSES
from search.samplers import PrunerSpec, SamplerSpec, grid_axes
from search.space import RangeSpec, Space, build_space, sections
from training.config import RunConfig
from training.decode import ConfigError, decode, encode, pick
from training.documents import read_document
from training.scores import SCORES


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """trials: finished ones (complete or pruned), per family. hours: no trial starts after that long; None: no end."""

    trials: int = 50
    hours: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; at least 1 is needed")
        if self.hours is not None and self.hours <= 0:
            raise ValueError(f"hours is {self.hours}; a positive number is needed")


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """What a model may cost; a trial over it is infeasible, is not trained and is never exported."""

    max_parameters: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class StudySpec:
    """A search: one study for each of `models`.

    search: names of the parameters to sample; empty takes all that have a range. fixed, ranges: see search.space.
    enqueue: known good points, tried first. The rest of a run (batch_size, steps_per_epoch ...) goes under fixed.
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

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"name is {self.name!r}; a text without '/' is needed")
        if not self.models or len(set(self.models)) != len(self.models):
            raise ValueError(f"models is {list(self.models)}; at least one family, each once, is needed")


def read_spec(path: Path) -> StudySpec:
    """The study file at `path`, checked whole: names, ranges, samplers, enqueued points. Raises ConfigError."""
    return check(decode(StudySpec, read_document(path), str(path)), str(path))


def check(spec: StudySpec, where: str) -> StudySpec:
    """`spec` itself, or a ConfigError about what in it does not fit together."""
    score = pick(SCORES, spec.metric, f"{where}: metric", "metric")
    if spec.direction not in (None, score.direction):
        raise ConfigError(f"{where}: direction is {spec.direction!r}, but {spec.metric} is to {score.direction}")
    owned = {"epochs": "epochs", "seed": "seed", "score": "metric"}
    for name in (*spec.search, *spec.fixed, *spec.ranges):
        if name in owned:
            raise ConfigError(f"{where}: {name!r} is the study's own; say {owned[name]} = ... at the top")
    for model in spec.models:
        space = space_of(spec, model, where)
        run_of(spec, space, {}, where)
        for i, point in enumerate(spec.enqueue):
            _check_point(spec, space, point, f"{where}: enqueue[{i}]")
        if spec.sampler.name == "grid":
            grid_axes(space.sampled)
    return spec


def _check_point(spec: StudySpec, space: Space, point: Mapping[str, Any], where: str) -> None:
    for name, value in point.items():
        if name not in space.sampled:
            raise ConfigError(f"{where}: {name!r} is not searched; known: {', '.join(sorted(space.sampled))}")
        distribution = space.sampled[name]
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            raise ConfigError(f"{where}: {name} = {value!r} lies outside its range")
    run_of(spec, space, point, where)


def space_of(spec: StudySpec, model: str, where: str = "study") -> Space:
    """The search space of one family of `spec`."""
    return build_space(
        pick(DENOISERS, model, f"{where}: models", "model"),
        pick(LOSSES, spec.loss, f"{where}: loss", "loss"),
        search=spec.search,
        fixed=spec.fixed,
        ranges=spec.ranges,
        where=where,
    )


def run_of(spec: StudySpec, space: Space, params: Mapping[str, Any], where: str = "trial") -> RunConfig:
    """The whole run that `params` stand for. Raises ConfigError for a pair that cannot exist."""
    own = {"epochs": spec.epochs, "seed": spec.seed, "score": spec.metric}
    known = Space(space.model, space.loss, space.sampled, {**space.fixed, **own})
    return RunConfig(data=spec.data, **sections(known, params, where))


def study_names(spec: StudySpec) -> dict[str, str]:
    """Family -> the name of its study: the spec's own where there is one family, name-family where there are more."""
    if len(spec.models) == 1:
        return {spec.models[0]: spec.name}
    return {model: f"{spec.name}-{model}" for model in spec.models}


def spec_document(spec: StudySpec) -> dict[str, Any]:
    """`spec` as plain values; decode(StudySpec, ...) gives it back."""
    document: dict[str, Any] = encode(spec)
    return document
