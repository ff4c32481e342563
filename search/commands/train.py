"""Train a run into a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from search.messages import run_failed
from training.config import RunConfig
from training.errors import TrainingFailed
from training.final import train_all, trainings
from training.report import EpochReport
from training.runs import override
from training.switches import Switches


def train(
    run: RunConfig,
    folder: Path,
    provenance: Mapping[str, Any],
    trackers: Sequence[str],
    console: Console,
    switches: Switches,
    log: Callable[[str], None],
    *,
    as_trial: bool = False,
    **fit: Any,
) -> EpochReport:
    """Train `run` into `folder` as its section `final` says, or as its trial was; return the last report of the best.

    log: gets the warnings, and what could not be sent about a failure.
    fit: values that replace those of the section `fit`, None leaves one as it is.

    Raises as training.final.train_all does.
    """
    if run.data.base is not None:  # run.yaml stands in another folder
        run = replace(run, data=replace(run.data, base=str(Path(run.data.base).absolute())))
    if switches.only_first_batch:
        run = override(run, steps_per_epoch=1)
        log("warning: ONLY_FIRST_BATCH is on: one training step per epoch, only for tests")
    chosen = trainings(run, only_trial=as_trial, **fit)
    if run.final is not None and not as_trial:
        n_seeds = f", {len(chosen)} seeds" if len(chosen) > 1 else ""
        console.print(
            f"final training: {chosen[0].fit.epochs} epochs{n_seeds}; the trial had {run.fit.epochs} epochs "
            "(--as-trial repeats it)",
            soft_wrap=True,
            highlight=False,
        )
    try:
        return train_all(chosen, folder, provenance, trackers, console, switches)
    except TrainingFailed as error:
        run_failed(str(folder), str(error), switches, log)
        raise
