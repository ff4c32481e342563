"""Pools of known curves, and files in the format of TaskSet, for the tests of the suites."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.search.methods import optunas
from benchmarks.search.suites.methods import stopping
from benchmarks.search.suites.pool import Pool, failed_from
from benchmarks.search.suites.replay import SuiteMethod


def made(scores: Sequence[Sequence[float]], number: int = 1, name: str = "made") -> Pool:
    """A pool of one axis, on which the configurations lie in their order."""
    places = (np.arange(len(scores)) + 0.5)[:, None] / len(scores)
    return Pool(name, number, ("x",), places, failed_from(np.array(scores, dtype=np.float64)))


def rising(n: int, n_epochs: int) -> Pool:
    """Configuration i has the score i + epoch / 100."""
    return made([[i + epoch / 100 for epoch in range(1, n_epochs + 1)] for i in range(n)])


def proposed(*places: float) -> SuiteMethod:
    """A method that proposes these places and then nothing, and stops nothing."""
    return stopping(given_places(places))


def given_places(places: Sequence[float]) -> Any:
    class Given(optuna.samplers.RandomSampler):
        def sample_independent(self, study: optuna.Study, trial: Any, name: str, distribution: Any) -> float:
            number: int = trial.number
            return places[number % len(places)]

    return optunas("given", lambda space: optuna.pruners.NopPruner(), lambda seed: Given(seed=seed))


def configuration(rate: float, losses: Sequence[float | None]) -> dict[str, Any]:
    return {"hp": {"rate": rate, "decay": 1.0 - rate}, "valid": {"loss": [0.7, *losses]}, "test": {"loss": "not read"}}


CONFIGURATIONS = [
    configuration(1e-4, [0.6, 0.5, 0.4]),
    configuration(1e-3, [0.5, None, 0.1]),
    configuration(1e-2, [0.4, 1e30, 0.3]),
    configuration(1e-1, [0.65]),
]


def write(path: Path, document: Any) -> Path:
    text = json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path
