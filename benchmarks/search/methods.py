"""The search methods that `python -m benchmarks.search` compares."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from benchmarks.search.replay import Ask, Method, Space, StopAsking
from search.sampling.points import UntriedPoints, key_of, points_at_random, taken
from search.sampling.pruners import PrunerSpec, build_pruner
from search.sampling.samplers import SamplerSpec, build_sampler

Pruner = Callable[[Space], BasePruner]
OURS: tuple[Literal["none", "median", "leaders", "forecast"], ...] = ("none", "median", "leaders", "forecast")
MAIN = (
    "grid, unpruned",
    "random, unpruned",
    "Optuna TPE, unpruned",
    "Optuna defaults",
    "Ray Tune ASHA + Optuna",
    "Drivebeat TPE, forecast",
    "Drivebeat defaults",
)
"""What is also compared with several workers."""


def optunas(name: str, pruner: Pruner | None, sampler: Callable[[int], BaseSampler]) -> Method:
    """As a script of plain Optuna does it: one sampler, study.ask() and suggest."""

    def start(space: Space, seed: int) -> tuple[optuna.Study, Ask]:
        study = optuna.create_study(
            # Hyperband deals its brackets by the study's name
            study_name=f"{name} {seed}",
            direction="maximize",
            sampler=sampler(seed),
            pruner=None if pruner is None else pruner(space),
        )
        return study, lambda study, n: study.ask()

    return Method(name, start)


def grid(name: str, pruner: Pruner) -> Method:
    """Every point of the grid once, in random order."""

    def start(space: Space, seed: int) -> tuple[optuna.Study, Ask]:
        study = optuna.create_study(direction="maximize", pruner=pruner(space))
        points = points_at_random(space.distributions, seed)

        def ask(study: optuna.Study, n: int) -> optuna.Trial:
            point = next(points, None)
            if point is None:
                raise StopAsking
            study.enqueue_trial(point)
            return study.ask()

        return study, ask

    return Method(name, start)


def ours(name: str, sampler: SamplerSpec, pruner: PrunerSpec) -> Method:
    """As a worker of a study file does it: search.worker.assign.assign without its database."""

    def start(space: Space, seed: int) -> tuple[optuna.Study, Ask]:
        study = optuna.create_study(
            study_name=f"{name} {seed}", direction="maximize", pruner=build_pruner(pruner, space.n_epochs)
        )
        distributions = space.distributions

        def ask(study: optuna.Study, n: int) -> optuna.Trial:
            used = taken(study.get_trials(deepcopy=False), distributions)

            def accept(point: Mapping[str, Any]) -> bool:
                return key_of(point, distributions) not in used

            if len(used) >= space.n_points:
                raise StopAsking
            study.sampler = build_sampler(sampler, distributions, seed, n, accept)
            return study.ask()

        return study, ask

    return Method(name, start)


def unrepeated(name: str, sampler: Callable[[int], BaseSampler]) -> Method:
    """Optuna's defaults, but for points that were tried: these are drawn again."""

    def start(space: Space, seed: int) -> tuple[optuna.Study, Ask]:
        study, _ = optunas(name, None, sampler).start(space, seed)
        inner, distributions = study.sampler, space.distributions

        def ask(study: optuna.Study, n: int) -> optuna.Trial:
            used = taken(study.get_trials(deepcopy=False), distributions)
            if len(used) >= space.n_points:
                raise StopAsking
            study.sampler = UntriedPoints(
                inner, distributions, seed * 10_007 + n, lambda point: key_of(point, distributions) not in used
            )
            return study.ask()

        return study, ask

    return Method(name, start)


class AshaRule(BasePruner):
    """Ray Tune's AsyncHyperBandScheduler with its defaults (grace_period 1, reduction_factor 4, one bracket): at epochs
    1, 4, 16 ... a trial stops whose score is below the best quarter's of all that came so far, its own not among them
    (Li et al. 2020, arXiv:1810.05934, the stopping variant). One object serves the whole study, as in Ray."""

    def __init__(self, n_epochs: int, reduction_factor: int = 4) -> None:
        n_rungs = int(math.log(n_epochs, reduction_factor) + 1e-9) + 1
        self._rungs = {reduction_factor**rung for rung in range(n_rungs)}
        self._recorded: dict[int, list[float]] = defaultdict(list)
        self._share = 100 * (1 - 1 / reduction_factor)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step + 1 not in self._rungs:
            return False
        recorded, score = self._recorded[step + 1], trial.intermediate_values[step]
        stop = bool(recorded) and score < float(np.nanpercentile(recorded, self._share))
        recorded.append(score)
        return stop


def ray_asha(name: str) -> Method:
    """Ray Tune: ASHA and OptunaSearch with their defaults. To OptunaSearch a stopped trial is a complete one."""
    plain = optunas(name, lambda space: AshaRule(space.n_epochs), lambda seed: TPESampler(seed=seed))
    return Method(name, plain.start, stopped_counts=True)


def asha_rows() -> list[Method]:
    """Ray Tune's ASHA without what its Optuna search makes of stopped trials: random points, as Ray Tune has them
    without a search algorithm, and TPE to which stopped trials are pruned ones."""

    def rule(space: Space) -> BasePruner:
        return AshaRule(space.n_epochs)

    return [
        optunas("Ray Tune ASHA, random", rule, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
        optunas("Ray Tune ASHA + TPE, stopped as pruned", rule, lambda seed: TPESampler(seed=seed)),
    ]


def methods() -> dict[str, Method]:
    """By the name that stands in the tables, the comparisons first."""

    def tpe(seed: int) -> BaseSampler:
        return TPESampler(seed=seed)

    stock: dict[str, Pruner] = {
        "SuccessiveHalving": lambda space: optuna.pruners.SuccessiveHalvingPruner(),
        "Hyperband": lambda space: optuna.pruners.HyperbandPruner(max_resource=space.n_epochs),
        "Percentile 25": lambda space: optuna.pruners.PercentilePruner(25.0),
        "Patient 3 + Median": lambda space: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), patience=3),
    }

    def nothing(space: Space) -> BasePruner:
        return optuna.pruners.NopPruner()

    known = [
        grid("grid, unpruned", nothing),
        optunas("random, unpruned", nothing, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
        optunas("Optuna TPE, unpruned", nothing, tpe),
        # no pruner given: whatever create_study() itself takes
        optunas("Optuna defaults", None, tpe),
        *(optunas(f"Optuna TPE + {name}", pruner, tpe) for name, pruner in stock.items()),
        ray_asha("Ray Tune ASHA + Optuna"),
        *asha_rows(),
        unrepeated("Optuna TPE, no repeats", tpe),
        *(ours(f"Drivebeat TPE, {name}", SamplerSpec(name="tpe"), PrunerSpec(name=name)) for name in OURS),
        ours("Drivebeat defaults", SamplerSpec(), PrunerSpec()),
    ]
    return {method.name: method for method in known}
