"""Make pools of LCBench (Zimmer et al. 2021, arXiv:2006.13799) by its surrogate of YAHPO Gym (arXiv:2109.03670).

The folder has `model.onnx`, `config_space.json` (ranges and scales) and `encoding.json` (numbers of the tasks). The
network takes a task and its hyperparameters as they are, and an epoch, and gives six measures, of which the second is
the validation accuracy in percent. It is smoother than real curves, and never diverges.
"""

import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.suites.pool import Half, Pool, is_in
from data.errors import DataError
from training.errors import ConfigError

TASK, EPOCH = "OpenML_task_id", "epoch"
COLUMNS = (EPOCH, "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""The order of the network's inputs and below of its outputs, from yahpo_gym/benchmarks/lcbench.py."""
ACCURACY = 1
FILES = ("model.onnx", "config_space.json", "encoding.json")
N_CONFIGURATIONS = 1000
N_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Range:
    """One hyperparameter of config_space.json."""

    lower: float
    upper: float
    log: bool
    whole: bool

    def at(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values at `shares` of the way from lower to upper."""
        if self.log:
            values = np.exp(math.log(self.lower) + shares * math.log(self.upper / self.lower))
        else:
            values = self.lower + shares * (self.upper - self.lower)
        values = np.clip(values, self.lower, self.upper)
        return np.rint(values) if self.whole else values

    def share_of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where `values` are between lower and upper: 0 ... 1."""
        if self.log:
            return np.log(values / self.lower) / math.log(self.upper / self.lower)
        return (values - self.lower) / (self.upper - self.lower)


def read_lcbench(folder: Path, half: Half = "all", n_configurations: int = N_CONFIGURATIONS) -> list[Pool]:
    """Return the tasks of `half`, in the order of config_space.json, each with the same random configurations.

    folder: has FILES, or a folder `lcbench` that has them. Raises DataError for missing or other files, and
    ConfigError where onnxruntime is not installed.
    """
    inner = folder / "lcbench"
    folder = inner if inner.is_dir() else folder
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} has no {missing[0]} of LCBench; give --data the folder that has {', '.join(FILES)}")
    tasks, ranges = read_space(folder / "config_space.json")
    codes = _read(folder / "encoding.json").get(TASK, {})
    uncoded = [task for task in tasks if not isinstance(codes.get(task), int)]
    if uncoded:
        raise DataError(f"encoding.json has no number of task {uncoded[0]}")
    session = _open(folder / "model.onnx")
    names = [name for name in COLUMNS if name != EPOCH]
    shares = np.random.default_rng(0).random((n_configurations, len(names)))
    values = np.stack([ranges[name].at(shares[:, i]) for i, name in enumerate(names)], axis=1)
    # where whole numbers lie, not where they were drawn
    places = np.stack([ranges[name].share_of(values[:, i]) for i, name in enumerate(names)], axis=1)
    n_epochs = int(ranges[EPOCH].upper)
    return [
        Pool(task, number, tuple(names), places, accuracies(session, codes[task], values, n_epochs))
        for number, task in enumerate(tasks, 1)
        if is_in(number, half)
    ]


def read_space(path: Path) -> tuple[list[str], dict[str, Range]]:
    """Return the tasks and the range of each hyperparameter and the epoch. Raises DataError for another file."""
    listed = _read(path).get("hyperparameters", [])
    found = {one["name"]: one for one in listed if isinstance(one, dict) and "name" in one}
    tasks = found.get(TASK, {}).get("choices", [])
    try:
        ranges = {
            name: Range(
                float(found[name]["lower"]),
                float(found[name]["upper"]),
                bool(found[name]["log"]),
                found[name]["type"] == "uniform_int",
            )
            for name in COLUMNS
        }
    except KeyError as error:
        raise DataError(f"{path.name} lacks {error.args[0]}; LCBench has {', '.join(COLUMNS)}") from None
    if not tasks:
        raise DataError(f"{path.name} lists no tasks: {TASK} needs choices")
    return list(tasks), ranges


def accuracies(session: Any, code: int, values: NDArray[np.float64], n_epochs: int) -> NDArray[np.float64]:
    """Return the validation accuracy in percent, float64[configuration, epoch].

    values: float64[configuration, COLUMNS without the epoch].
    """
    epochs = np.tile(np.arange(1.0, n_epochs + 1), len(values))
    rows = np.column_stack([epochs, np.repeat(values, n_epochs, axis=0)]).astype(np.float32)
    parts = [
        session.run(None, {"x_cat": np.full((len(part), 1), code, np.int32), "x_cont": part})[0][:, ACCURACY]
        for part in np.array_split(rows, math.ceil(len(rows) / N_ROWS))
    ]
    return np.clip(np.concatenate(parts).astype(np.float64), 0.0, 100.0).reshape(len(values), n_epochs)


def _open(path: Path) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise ConfigError("LCBench needs onnxruntime, which is not installed: pip install 'drivebeat[onnx]'") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception class for each of its own codes
        raise DataError(f"{path.name} is no network that onnxruntime reads: {str(error).splitlines()[0]}") from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} is no JSON file: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path.name} is no JSON object")
    return found
