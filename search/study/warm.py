"""A new study that begins where earlier work ended: known good runs become its first points."""

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
from training.config import RunConfig, read_run
from training.errors import ConfigError


def runs_from(source: str, storage: BaseStorage, n_best: int) -> list[RunConfig]:
    """The runs that `source` stands for: a config file, or the `n_best` best trials of an earlier study, best first.

    Raises ConfigError for a file that is no run and for a study that is not there or has no complete trial.
    """
    if Path(source).suffix in (*ENDINGS, ".toml"):
        return [read_run(Path(source))]
    best = finalists(load_studies(source, storage), n_best)
    return [run_of_trial(trial, study.name) for study, trial in best]


def warm_points(spec: StudySpec, runs: Sequence[RunConfig], source: str) -> dict[str, list[dict[str, Any]]]:
    """What `runs` come to in each study of `spec`: study -> its points, those that cannot exist left out.

    Raises ConfigError where no run is of a family that the spec searches, and where none of the points can exist.
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
            f"--warm-start {source}: brought into the ranges of {spec.name}, its values do not go together; "
            "widen the ranges or leave it out"
        )
    return points


def _points(spec: StudySpec, space: Space, runs: Sequence[RunConfig]) -> list[dict[str, Any]]:
    points = [point for run in runs if (point := point_like(run, space))]
    return [point for point in points if _can_exist(spec, space, point)]


def _can_exist(spec: StudySpec, space: Space, point: Mapping[str, Any]) -> bool:
    """Whether the values of a whole point go together, each of them being within its range."""
    if point.keys() < space.sampled.keys():
        return True  # the rest is sampled, to fit
    try:
        run_of(spec, space, point)
    except ConfigError:
        return False
    return True


def point_like(run: RunConfig, space: Space) -> dict[str, Any]:
    """The point of `space` nearest to `run`, parameter by parameter; empty where the run is of another family.

    A number outside its range goes to the nearest end, one between two steps to the nearer one. What has no place in
    the range (a choice that is not among them, a loss's own parameter under another loss) is left to the sampler.
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
    """What `distribution` has nearest to `value`; None where it has nothing like it."""
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
