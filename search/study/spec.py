"""StudySpec: the study file (TOML), in which a user describes a search."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.config import ADDED, DataConfig
from data.errors import shell_command
from models import DENOISERS
from objectives.losses import LOSSES
from search.sampling.pruners import PrunerSpec
from search.sampling.samplers import SAMPLERS, SamplerSpec, grid_axes
from search.study.names import check_name
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
from training.config import FinalConfig, RunConfig
from training.decode import changed, decode, encode, pick
from training.documents import read_document, with_base
from training.errors import ConfigError
from training.evaluation.scores import SCORES
from training.plugins.load import load_plugins
from training.plugins.plugin import PLUGINS, Plugin, embedded

SCHEMA_VERSIONS = (1, 2)


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """The budget of each family.

    trials: number of finished trials (complete, pruned or infeasible). hours: no trial starts later than this after the
    first one; None: no limit. trial_minutes: a trial that trains longer fails; None: no limit. A study with a finite
    space also ends when every point has been tried.
    """

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
    """Limits on the cost of a model.

    A trial over a limit is infeasible: it counts as finished, and is neither trained nor exported. memory: what happens
    to a trial that runs out of memory, on the device or the host. "fail": it fails, and does not count towards the
    budget. "learn": it is infeasible, and the sampler learns from this constraint which models fit.
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
    """Retention of artifacts.

    best, last: how many of the best and of the latest trials keep figures, sounds and configs. weights: how many of the
    best keep their weights.
    """

    best: int = 10
    last: int = 20
    weights: int = field(default=5, metadata={ADDED: True})

    def __post_init__(self) -> None:
        for name, least in (("best", 1), ("last", 1), ("weights", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; at least {least} is needed")


@dataclass(frozen=True, slots=True)
class StudySpec:
    """A study file: one study for each of `models`.

    search: names of the parameters to sample, besides those in `ranges`; empty: all with a declared range, except
    augmentation. fixed: name -> value, also for parameters without a range (batch_size, steps_per_epoch). ranges: see
    search.study.space.RangeSpec. enqueue: points to try first. A name that only some of the families have applies to
    those. deterministic: run trials in generations of `generation`, so that trials and export do not depend on the
    number of workers; see search.worker.generations. schema_version: with 2, relative paths of recordings start from
    the study file's folder; with 1, from the directory in which the study was created. final: how `train` trains the
    exported trial. plugins: what the other keys name may be theirs; a study file has the names of their files.
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
    schema_version: int = field(default=1, metadata={ADDED: True})
    final: FinalConfig = field(default_factory=FinalConfig, metadata={ADDED: True})
    plugins: tuple[Plugin, ...] = field(default=(), metadata={ADDED: True})

    def __post_init__(self) -> None:
        if self.schema_version not in SCHEMA_VERSIONS:
            newer = "; use a newer Drivebeat" if self.schema_version > max(SCHEMA_VERSIONS) else ""
            raise ValueError(f"schema_version is {self.schema_version}; 1 or 2 is needed{newer}")
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


@dataclass(frozen=True, slots=True)
class GivenSpec:
    """A study that a user asks for.

    spec: checked; its plug-ins are executed. path: of its document. named: the plug-ins whose files the document names.
    The others came with their sources inside the document, and need the trust file.
    """

    spec: StudySpec
    path: Path
    named: tuple[Plugin, ...] = ()


def read_spec(path: Path) -> StudySpec:
    """Read and check the study file at `path`, and execute its trusted plug-ins. Raises ConfigError, PluginError."""
    return prepare(read_document(path), path).spec


def prepare(document: object, path: Path, *, deterministic: bool = False, executing_named: bool = False) -> GivenSpec:
    """Check a study file's plain values, or a StudySpec, and execute the plug-ins. Raises ConfigError, PluginError.

    path: of the document, in whose folder its relative paths start; one in the working directory for values that come
        from no file.
    deterministic: True overrides the file's setting.
    executing_named: execute the plug-ins whose files the document names, though this machine does not trust them.
    """
    named: tuple[Plugin, ...] = ()
    if isinstance(document, StudySpec):
        spec = document
    else:
        if isinstance(document, Mapping) and isinstance(document.get("model"), Mapping) and "models" not in document:
            raise ConfigError(f"{path}: is a run, not a study file; train it: {shell_command('train', path)}")
        spec = decode(StudySpec, embedded(with_base(document, path), path), str(path))
        entries = document[PLUGINS] if isinstance(document, Mapping) and spec.plugins else ()
        named = tuple(plugin for plugin, entry in zip(spec.plugins, entries, strict=True) if isinstance(entry, str))
    if deterministic:
        spec = changed(spec, str(path), deterministic=True)
    # a command that is started elsewhere must find the recordings
    base = str((Path.cwd() / (spec.data.base or "")).absolute())
    spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, base=base))
    allowed = [plugin.sha256 for plugin in named] if executing_named else []
    load_plugins(spec.plugins, str(path), path, allowed=allowed)
    return GivenSpec(check(spec, str(path)), path, named)


def check(spec: StudySpec, where: str) -> StudySpec:
    """Check names, ranges, sampler and enqueued points of `spec`, and return it. Raises ConfigError.

    where: the file, for errors.
    """
    score = pick(SCORES, spec.metric, f"{where}: metric", "metric")
    pick(SAMPLERS, spec.sampler.name, f"{where}: sampler.name", "sampler")
    if spec.direction not in (None, score.direction):
        raise ConfigError(f"{where}: direction is {spec.direction!r}, but {spec.metric} is to {score.direction}")
    if score.silence_wins:
        allowed = ", ".join(name for name, other in SCORES.items() if not other.silence_wins)
        raise ConfigError(f"{where}: metric {spec.metric!r} is best for silence; choose one of {allowed}")
    owned = {"epochs": "epochs", "seed": "seed", "score": "metric"}
    for name in _named(spec):
        if name in owned:
            raise ConfigError(f"{where}: {name!r} is a setting of the study; write {owned[name]} = ... at the top")
    known = {name for model in spec.models for name in _parameters_of(spec, model, where)}
    families = f"model{'s' if len(spec.models) > 1 else ''} {', '.join(spec.models)} with loss {spec.loss}"
    check_names(_named(spec), known, where, families)
    for name in (spec.name, *study_names(spec).values()):
        check_name(name, where)
    for model in spec.models:
        space = space_of(spec, model, where)
        run_of(spec, space, feasible_example(space, where), where)
        for i, point in enumerate(spec.enqueue):
            _check_point(spec, space, point, f"{where}: enqueue[{i}]")
        if spec.sampler.name == "grid":
            grid_axes(space.sampled, where)
    return spec


def _named(spec: StudySpec) -> list[str]:
    """Return all names of parameters in `spec`."""
    return [*spec.search, *spec.fixed, *spec.ranges, *(name for point in spec.enqueue for name in point)]


def _parameters_of(spec: StudySpec, model: str, where: str) -> dict[str, Parameter]:
    return parameters(
        pick(DENOISERS, model, f"{where}: models", "model"), pick(LOSSES, spec.loss, f"{where}: loss", "loss")
    )


def _check_point(spec: StudySpec, space: Space, point: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError where a point is outside the space, or no run exists for it."""
    family = parameters(space.model, space.loss)
    for name, value in point.items():
        if name not in family:
            continue
        if name not in space.sampled:
            raise ConfigError(f"{where}: {name!r} is not searched; searched: {', '.join(sorted(space.sampled))}")
        if not contains(space.sampled[name], value):
            raise ConfigError(f"{where}: {name} = {value!r} lies outside its range, {describe(space.sampled[name])}")
    if point.keys() >= space.sampled.keys():  # for a partial point the sampler chooses the rest so that a run exists
        run_of(spec, space, part_of(point, space), where)


def part_of(point: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the parameters of an enqueued point that the family of `space` samples."""
    return {name: value for name, value in point.items() if name in space.sampled}


def space_of(spec: StudySpec, model: str, where: str = "study", *, check: bool = True) -> Space:
    """Build the search space of the family `model`. check: require that a model exists for some point."""
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
    """Build the run of a trial with `params`. Raises ConfigError for a combination that is not allowed."""
    own = {"epochs": spec.epochs, "seed": spec.seed, "score": spec.metric}
    with_own = Space(space.model, space.loss, space.sampled, {**space.fixed, **own})
    configs = sections(with_own, params, where)
    augment = dataclasses.replace(spec.data.augment, **configs.pop(AUGMENT))
    return RunConfig(data=dataclasses.replace(spec.data, augment=augment), plugins=spec.plugins, **configs)


def study_names(spec: StudySpec) -> dict[str, str]:
    """Return family -> name of its study: the spec's name for a single family, else NAME-FAMILY."""
    if len(spec.models) == 1:
        return {spec.models[0]: spec.name}
    return {model: f"{spec.name}-{model}" for model in spec.models}


def spec_document(spec: StudySpec) -> dict[str, Any]:
    """Return `spec` as plain values, the inverse of decode(StudySpec, ...)."""
    document: dict[str, Any] = encode(spec)
    return document
