"""Chained runs: a run that starts from another one's weights, and the chain of runs that its config tells."""

import dataclasses
import hashlib
import math
from pathlib import Path

from training.checkpoint import CHECKPOINT, WEIGHTS, file_sha256, weights_file
from training.config import Ancestor, InitConfig, RunConfig, read_run
from training.device import arithmetic, resolve_device
from training.errors import CheckpointError
from training.learner import initialise, read_progress, run_text

RUN_FILE = "run.yaml"


def start_from(run: RunConfig, source: Path, *, partial: bool) -> RunConfig:
    """`run` with the weights of `source`, a run's folder or a weights file, to start from, and their lineage.

    Raises CheckpointError where there are no such weights.
    """
    return resolve_init(dataclasses.replace(run, init=InitConfig(str(source), partial=partial)))


def resolve_init(run: RunConfig) -> RunConfig:
    """`run` with the weights' file, SHA-256 and lineage written into its section `init`, where they are not yet.

    What stands there is left: the file is checked against it when the weights are loaded. Raises CheckpointError
    where there are no such weights.
    """
    init = run.init
    if not init.weights or init.sha256:
        return run
    path = weights_file(Path(init.weights))
    sha256 = file_sha256(path)
    lineage = _lineage(path, sha256)
    resolved = dataclasses.replace(init, weights=str(path), sha256=sha256, lineage=lineage)
    return dataclasses.replace(run, init=resolved)


def config_sha256(run: RunConfig) -> str:
    """The SHA-256 of `run`'s document, in hexadecimal: equal for equal runs."""
    return hashlib.sha256(run_text(run).encode()).hexdigest()


def describe_start(run: RunConfig, n_channels: int) -> str:
    """What `run` starts from, in one line; "" for weights drawn at random. Tries it, so that what cannot be loaded
    shows before anything is written. Raises CheckpointError."""
    if not run.init.weights:
        return ""
    with arithmetic(run.fit.seed, resolve_device("cpu"), run.fit.threads):
        n_loaded, n_tensors = initialise(run.build_model(n_channels), run.init)
    chain = f", run {len(run.init.lineage) + 1} of a chain" if run.init.lineage else ""
    return f"starts from {run.init.weights}: {n_loaded} of {n_tensors} tensors{chain}"


def _lineage(weights: Path, sha256: str) -> tuple[Ancestor, ...]:
    """The runs behind a weights file, oldest first, as far as the folder it lies in tells."""
    folder = weights.parent
    if weights.name != WEIGHTS or not (folder / RUN_FILE).exists():
        return (Ancestor(sha256),)
    run = read_run(folder / RUN_FILE)
    fingerprint, best = "", None
    if (folder / CHECKPOINT).exists():
        try:
            fingerprint, reports = read_progress(folder / CHECKPOINT)
            best = reports[-1].best_score
        except CheckpointError:  # a damaged one costs what it would have told, not the weights
            pass
    best = best if best is not None and math.isfinite(best) else None
    return (*run.init.lineage, Ancestor(sha256, config_sha256(run), fingerprint, run.fit.score, best))
