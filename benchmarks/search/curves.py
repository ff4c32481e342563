"""Read the learning curves of a whole grid that benchmarks/search/table.py stored."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from search.sampling.samplers import grid_axes
from search.study.spec import StudySpec, read_spec, run_of, space_of
from training.schedule import ramps_end

Axes = Mapping[str, tuple[Any, ...]]
Cell = tuple[int, ...]
FAILED_DB = -60.0


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The trainings of a grid, higher scores being better.

    axes: name -> values. cells: place on each axis -> row. scores float64[row, epoch]; seconds float64[row]: of one
    epoch. first_eligible: the first epoch after the ramps, from which a run's best is chosen.
    """

    name: str
    axes: Axes
    cells: Mapping[Cell, int]
    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    first_eligible: int

    @property
    def n_epochs(self) -> int:
        return int(self.scores.shape[1])

    @property
    def n_points(self) -> int:
        return len(self.cells)

    @property
    def values(self) -> NDArray[np.float64]:
        """float64[row]: the value of a trial trained to its end, the best score from the ramps' end on."""
        best: NDArray[np.float64] = self.scores[:, self.first_eligible :].max(axis=1)
        return best

    @property
    def full_s(self) -> float:
        """Seconds of a training to its end, mean over the grid: the unit of compute."""
        return float(self.seconds.mean()) * self.n_epochs

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The grid as a search space: places on axes of numbers, so that neighbours are neighbours, choices else."""
        return {
            name: IntDistribution(0, len(values) - 1)
            if _in_order(values)
            else CategoricalDistribution(tuple(range(len(values))))
            for name, values in self.axes.items()
        }


def axes_of(spec: StudySpec, where: str) -> Axes:
    """The values of each searched parameter of a study whose ranges are lists of choices."""
    sampled = space_of(spec, spec.models[0], where).sampled
    return {name: tuple(values) for name, values in grid_axes(sampled, where).items()}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a table file; one that was being written when the run was ended is left out."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def read_table(study: Path) -> Table:
    """The table beside a study file: NAME.toml and NAME.jsonl. A training that failed stays at FAILED_DB from there.

    Of a table that is not whole the largest whole grid is taken that leaves out values of axes. Raises ValueError
    where there is none.
    """
    spec = read_spec(study)
    run = run_of(spec, space_of(spec, spec.models[0]), {n: v[0] for n, v in axes_of(spec, str(study)).items()})
    lines = read_lines(study.with_suffix(".jsonl"))
    axes = _whole(axes_of(spec, str(study)), [line["point"] for line in lines])
    cells: dict[Cell, int] = {}
    scores: list[list[float]] = []
    seconds: list[list[float]] = []
    for line in lines:
        if any(value not in axes[name] for name, value in line["point"].items()):
            continue
        cells[tuple(values.index(line["point"][name]) for name, values in axes.items())] = len(scores)
        scores.append([*line["scores"], *[FAILED_DB] * (spec.epochs - len(line["scores"]))])
        seconds.append(line["seconds"] or [math.nan])
    return Table(
        study.stem,
        axes,
        cells,
        np.asarray(scores, dtype=np.float64),
        _smoothed(axes, cells, [float(np.median(one)) for one in seconds]),
        ramps_end(run.schedule, spec.epochs),
    )


def _smoothed(axes: Axes, cells: Mapping[Cell, int], measured: Sequence[float]) -> NDArray[np.float64]:
    """Seconds of an epoch, float64[row]: the median over all points of equal whole-number axes.

    What an epoch costs depends on the model's shape alone; the rest of the spread is the machine's other work.
    """
    shape = [i for i, values in enumerate(axes.values()) if all(type(value) is int for value in values)]
    groups: dict[Cell, list[float]] = defaultdict(list)
    for cell, row in cells.items():
        groups[tuple(cell[i] for i in shape)].append(measured[row])
    result = np.empty(len(measured))
    for cell, row in cells.items():
        result[row] = float(np.nanmedian(groups[tuple(cell[i] for i in shape)]))
    return result


def _whole(axes: Axes, points: Sequence[Mapping[str, Any]]) -> Axes:
    """`axes`, or as many of their values as have all their points."""
    there = {tuple(point[name] for name in axes) for point in points}
    kept = {name: list(values) for name, values in axes.items()}
    while True:
        size = math.prod(map(len, kept.values()))
        inside = [p for p in there if all(v in values for v, values in zip(p, kept.values(), strict=True))]
        if size and len(inside) == size:
            return {name: tuple(values) for name, values in kept.items()}
        if size <= 1:
            raise ValueError("the table has no whole grid yet; go on with benchmarks.search.table")
        # the value goes that has the smallest share of its points
        shares = [
            (sum(p[i] == value for p in inside) * len(values) / size, i, name, value)
            for i, (name, values) in enumerate(kept.items())
            for value in values
        ]
        _, _, name, value = min(shares, key=lambda share: share[:2])
        kept[name].remove(value)


def _in_order(values: Sequence[Any]) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and list(values) == sorted(values)
