"""Continue the run in a folder: unchanged, or for more epochs than it was trained for."""

import dataclasses
import json
from pathlib import Path

import torch

from training.checkpoint import CHECKPOINT, WEIGHTS, damage, load_checkpoint, save_checkpoint
from training.config import RUN_FILE, RunConfig, read_run_with_provenance, to_document, write_run
from training.documents import flat
from training.errors import ConfigError
from training.learner import reports_in, run_text

LENGTHENED = "lengthened_from"  # in a run's provenance: the numbers of epochs that it was trained for before
MAX_SHOWN = 5


def epochs_before(run: RunConfig, folder: Path) -> int | None:
    """Return the epochs of the run in `folder` if `run` is the same for more epochs; None if it is the same run.

    Raises ConfigError, with the differences, if the folder holds another run.
    """
    stored, _ = read_run_with_provenance(folder / RUN_FILE)
    if stored == run:
        return None
    epochs = stored.fit.epochs
    if run.fit.epochs > epochs and with_epochs(run, epochs) == stored:
        return epochs
    raise ConfigError(f"{folder}: holds another run: {differences(stored, run)}")


def differences(stored: RunConfig, run: RunConfig) -> str:
    """Return in words how `run` differs from the run that is stored in a folder, and what to do."""
    if stored.fit.epochs > run.fit.epochs and with_epochs(run, stored.fit.epochs) == stored:
        longer = stored.fit.epochs
        return (
            f"fit.epochs is {longer} there, {run.fit.epochs} here; go on with --epochs {longer}, or choose another "
            "folder with -o"
        )
    old, new = flat(to_document(stored)), flat(to_document(run))
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key) and key != "data.base"]
    shown = "; ".join(
        f"{key} is {old.get(key, 'not set')} there, {new.get(key, 'not set')} here" for key in differing[:MAX_SHOWN]
    )
    more = f" and {len(differing) - MAX_SHOWN} more" if len(differing) > MAX_SHOWN else ""
    return f"{shown}{more}; choose another folder with -o, or remove it; more epochs alone would lengthen it"


def with_epochs(run: RunConfig, epochs: int) -> RunConfig:
    """Return `run` with another number of epochs."""
    return dataclasses.replace(run, fit=dataclasses.replace(run.fit, epochs=epochs))


def lengthen(run: RunConfig, folder: Path) -> str:
    """Make the run in `folder` one of run.fit.epochs epochs, to be continued; return a line about it.

    Learning rate, gain and loss weight follow the new number from the next epoch on. A run that ended by its patience
    goes on, and one of which no epoch has ended starts anew.

    Raises CheckpointError if the folder has no checkpoint that can be used.
    """
    stored, provenance = read_run_with_provenance(folder / RUN_FILE)
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists() and not (folder / WEIGHTS).exists():
        write_run(run, folder / RUN_FILE, provenance)
        return f"no epoch of the run of {stored.fit.epochs} epochs had ended; it starts anew, with {run.fit.epochs}"
    state = load_checkpoint(checkpoint, torch.device("cpu"))
    with damage(checkpoint):
        reports = [dataclasses.replace(r, n_epochs=run.fit.epochs, stopped="") for r in reports_in(state)]
    state |= {"run": run_text(run), "reports": json.dumps([dataclasses.asdict(report) for report in reports])}
    # The checkpoint first: interrupted between the two, the same command does both again.
    save_checkpoint(state, checkpoint)
    before = [*provenance.get(LENGTHENED, ()), stored.fit.epochs]
    write_run(run, folder / RUN_FILE, {**provenance, LENGTHENED: before})
    return (
        f"lengthened from {stored.fit.epochs} to {run.fit.epochs} epochs after epoch {len(reports)}: the schedules are "
        f"those of {run.fit.epochs} epochs from here on, so the result is not that of a run of {run.fit.epochs} epochs"
    )
