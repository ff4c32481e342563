"""Warm start: enqueue the best runs of earlier studies as the first points of a new one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage

from search.study.confirm import finalists
from search.study.export import ENDINGS, run_of_trial
from search.study.space import AUGMENT, Space, contains, parameters
from search.study.spec import StudySpec, run_of, space_of, study_names
from search.study.study import load_studies
from training.config import RUN_FILE, RunConfig, read_run
from training.errors import ConfigError
from training.pretrained import run_folder


def runs_from(source: str, storage: BaseStorage, n_best: int) -> list[RunConfig]:
    """Return the run in the config file or run's folder `source`, or the `n_best` best trials' of the study `source`.

    The trials are in order, the best first. `pretrained` names a model that comes with Drivebeat.

    Raises ConfigError for a file that is not a run, and StudyError for a missing study or one without a complete trial.
    """
    if Path(source).suffix in (*ENDINGS, ".toml"):
        return [read_run(Path(source))]
    folder = run_folder(Path(source))
    if (folder / RUN_FILE).is_file():
        return [read_run(folder / RUN_FILE)]
    best = finalists(load_studies(source, storage), n_best)
    return [run_of_trial(trial, study.name, study.spec.plugins) for study, trial in best]


def warm_points(spec: StudySpec, runs: Sequence[RunConfig], source: str) -> dict[str, list[dict[str, Any]]]:
    """Return study -> the points nearest to `runs`, for each study of `spec`. Points without a run are left out.

    source: where the runs are from, for errors. Raises ConfigError where no run is of a family of `spec`, and where no
    point remains.
    """
    families = {run.model.name for run in runs}
    if not families & set(spec.models):
        raise ConfigError(
            f"--warm-start {source}: its model is {', '.join(sorted(families))}, and {spec.name} searches "
            f"{', '.join(spec.models)}; give a config or a study of one of these"
        )
    points = {name: _points(spec, space_of(spec, family), runs) for family, name in study_names(spec).items()}
    if not any(points.values()):
        raise ConfigError(
            f"--warm-start {source}: moved into the ranges of {spec.name}, its values are not a valid combination; "
            "widen the ranges or leave it out"
        )
    return points


def _points(spec: StudySpec, space: Space, runs: Sequence[RunConfig]) -> list[dict[str, Any]]:
    points = [point for run in runs if (point := point_like(run, space))]
    return [point for point in points if _has_run(spec, space, point)]


def _has_run(spec: StudySpec, space: Space, point: Mapping[str, Any]) -> bool:
    """Return whether a run exists for a point; True for a partial one."""
    if point.keys() < space.sampled.keys():
        return True  # the sampler chooses the rest so that a run exists
    try:
        run_of(spec, space, point)
    except ConfigError:
        return False
    return True


def point_like(run: RunConfig, space: Space) -> dict[str, Any]:
    """Return the point of `space` nearest to `run`; empty where the run is of another family.

    A number is clipped to its range and rounded to a step. A parameter whose value has no counterpart (a choice that
    is not offered, a parameter of another loss) is left to the sampler.
    """
    if type(run.model) is not space.model:
        return {}
    known = parameters(space.model, space.loss)
    point = {}
    for name, distribution in space.sampled.items():
        section = run.data.augment if known[name].section == AUGMENT else getattr(run, known[name].section)
        value = _nearest(distribution, getattr(section, name, None))
        if value is not None:
            point[name] = value
    return point


def _nearest(distribution: BaseDistribution, value: Any) -> Any:
    """Return the value of `distribution` nearest to `value`; None where none is comparable."""
    if contains(distribution, value):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match distribution:
        case IntDistribution() | FloatDistribution() if number:
            inside = min(max(value, distribution.low), distribution.high)
            if distribution.step is not None:
                n_steps = round((inside - distribution.low) / distribution.step)
                inside = min(distribution.low + n_steps * distribution.step, distribution.high)
            return int(inside) if isinstance(distribution, IntDistribution) else float(inside)
        case CategoricalDistribution() if number:
            numbers = [c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool)]
            return min(numbers, key=lambda choice: abs(choice - value), default=None)
    return None
