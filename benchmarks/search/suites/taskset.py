"""Read tasks of TaskSet (Metz et al. 2020, arXiv:2002.11887) as the authors of DyHPO prepared them, or a user's own.

A file NAME.json or NAME.json.gz is a task: a list of configurations, each with `hp`, numbers by name, and
`valid.loss`, a list of losses of which the first is before training. Other keys are not read.
"""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.search.suites.pool import Half, Pool, failed_from, is_in
from data.errors import DataError


def read_taskset(folder: Path, half: Half = "all") -> list[Pool]:
    """Return the tasks of `half`, of the files in `folder` or in its folder `taskset`, numbered by their names' order.

    Raises DataError for a folder without files and for a file of another format.
    """
    inner = folder / "taskset"
    paths = sorted(
        path for ending in ("*.json", "*.json.gz") for path in (inner if inner.is_dir() else folder).glob(ending)
    )
    if not paths:
        raise DataError(f"{folder} has no *.json.gz of TaskSet; give --data the folder that has them")
    return [read_task(path, number) for number, path in enumerate(paths, 1) if is_in(number, half)]


def read_task(path: Path, number: int = 1) -> Pool:
    """Return one task. Raises DataError for a file of another format."""
    configurations = _listed(path)
    names = tuple(sorted(configurations[0]["hp"]))
    values, losses = [], []
    for i, one in enumerate(configurations):
        if tuple(sorted(one["hp"])) != names:
            raise DataError(
                f"{path.name}: configuration {i} has other hyperparameters than the first: {', '.join(names)}"
            )
        values.append([_number(one["hp"][name], f"{path.name}: hp.{name} of configuration {i}") for name in names])
        # the first loss is that of the weights before training
        losses.append([math.nan if loss is None else float(loss) for loss in one["valid"]["loss"][1:]])
    n_epochs = max(map(len, losses))
    if n_epochs < 1:
        raise DataError(f"{path.name}: valid.loss has no value after the first, which is before training")
    # a curve that ends early is one of a training that failed
    scores = -np.array([[*curve, *[math.nan] * (n_epochs - len(curve))] for curve in losses])
    name = path.name.removesuffix(".gz").removesuffix(".json")
    return Pool(name, number, names, in_cube(np.array(values)), failed_from(scores))


def in_cube(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[configuration, axis] in the unit cube: the ranks of the values on each axis.

    Pools are drawn at random, so ranks are uniform whatever the scale was (TaskSet: the logarithm, of 1 - beta for both
    betas).
    """
    ranks: NDArray[np.float64] = (rankdata(values, axis=0) - 0.5) / len(values)
    return ranks


def _listed(path: Path) -> list[dict[str, Any]]:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found = json.loads(raw)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path.name} is no JSON file: {error}") from None
    if not isinstance(found, list) or len(found) < 2:
        raise DataError(
            f"{path.name} is no list of two or more configurations; see benchmarks/search/suites/taskset.py"
        )
    for i, one in enumerate(found):
        if not _is_configuration(one):
            raise DataError(
                f"{path.name}: configuration {i} needs hp (numbers by name) and valid.loss (a list of numbers)"
            )
    return found


def _is_configuration(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("hp"), dict) or not isinstance(one.get("valid"), dict):
        return False
    loss = one["valid"].get("loss")
    return bool(one["hp"]) and isinstance(loss, list) and all(_is_number(value) or value is None for value in loss)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, where: str) -> float:
    if not _is_number(value) or not math.isfinite(value):
        raise DataError(f"{where} is {value!r}; a finite number is needed")
    return float(value)
