"""Chained runs: start a run from the weights of another, and record the chain of runs in its config."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

from data.errors import is_unicode
from training.checkpoint import CHECKPOINT, WEIGHTS, file_sha256, weights_file
from training.config import RUN_FILE, Ancestor, InitConfig, RunConfig, read_run
from training.decode import decode
from training.device import arithmetic, resolve_device
from training.documents import read_document
from training.errors import CheckpointError, PluginError
from training.learner import document_text, initialise, read_progress, run_text
from training.pretrained import is_pretrained


def start_from(run: RunConfig, source: Path, *, partial: bool) -> RunConfig:
    """Return `run` with its section `init` set to the weights of `source` and their lineage.

    source: the folder of a run, or a weights file.
    partial: see training.config.InitConfig.

    Raises CheckpointError if the weights cannot be read.
    """
    return resolve_init(dataclasses.replace(run, init=InitConfig(str(source), partial=partial)))


def resolve_init(run: RunConfig) -> RunConfig:
    """Return `run` with the weights' file, SHA-256 and lineage filled into its section `init`.

    A section that has a SHA-256 already is left as it is; the file is checked against it when the weights are loaded.

    Raises CheckpointError if the weights cannot be read, and for a path that no document can hold.
    """
    init = run.init
    if not init.weights or init.sha256:
        return run
    path = weights_file(Path(init.weights))
    # the folder of a pretrained model is another on every machine
    named = init.weights if is_pretrained(path.parent) else str(path)
    if not is_unicode(str(path)):
        raise CheckpointError(f"{path}: a path that is not UTF-8 cannot stand in {RUN_FILE}; rename the folder or file")
    sha256 = file_sha256(path)
    lineage = _lineage(path, sha256)
    resolved = dataclasses.replace(init, weights=named, sha256=sha256, lineage=lineage)
    return dataclasses.replace(run, init=resolved)


def config_sha256(run: RunConfig) -> str:
    """Return the SHA-256 of `run`'s document in hexadecimal; equal runs have equal digests."""
    return hashlib.sha256(run_text(run).encode()).hexdigest()


def describe_start(run: RunConfig, n_channels: int) -> str:
    """Return one line about the weights that `run` starts from; "" for weights drawn at random.

    The weights are loaded into a model of `n_channels`, so that an error shows before anything is written.

    Raises CheckpointError if they cannot be loaded.
    """
    if not run.init.weights:
        return ""
    with arithmetic(run.fit.seed, resolve_device("cpu"), run.fit.threads):
        n_loaded, n_tensors = initialise(run.build_model(n_channels), run.init)
    chain = f", run {len(run.init.lineage) + 1} of a chain" if run.init.lineage else ""
    return f"starts from {run.init.weights}: {n_loaded} of {n_tensors} tensors{chain}"


def _lineage(weights: Path, sha256: str) -> tuple[Ancestor, ...]:
    """Return the runs that led to a weights file, oldest first, as far as the file's folder records them."""
    folder = weights.parent
    if weights.name != WEIGHTS or not (folder / RUN_FILE).exists():
        return (Ancestor(sha256),)
    sha256_of_config, init, score = _ancestor(folder / RUN_FILE)
    fingerprint, best = "", None
    if (folder / CHECKPOINT).exists():
        try:
            fingerprint, reports = read_progress(folder / CHECKPOINT)
            best = reports[-1].best_score
        except CheckpointError:  # a damaged checkpoint leaves fingerprint and score unknown; the weights are usable
            pass
    best = best if best is not None and math.isfinite(best) else None
    return (*init.lineage, Ancestor(sha256, sha256_of_config, fingerprint, score, best))


def _ancestor(path: Path) -> tuple[str, InitConfig, str]:
    """Return config_sha256, init and score of an earlier run. Its plug-ins may be untrusted, or another version.

    Raises ConfigError.
    """
    try:
        run = read_run(path)
    except PluginError:  # its weights are used, not its code
        document = read_document(path)
        text = document_text(document)  # equal to run_text, for a program has written the document
        init = decode(InitConfig, document.get("init", {}), f"{path}: init")
        fit = document.get("fit")
        score = fit.get("score", "") if isinstance(fit, Mapping) else ""
        return hashlib.sha256(text.encode()).hexdigest(), init, str(score)
    return config_sha256(run), run.init, run.fit.score
