"""Calibrate the beats of a trained run on its validation recordings."""

from pathlib import Path

from rich.console import Console
from torch import nn

from data.corpus import Corpus
from data.errors import FileError
from training.calibration import (
    BEATS_FILE,
    DEFAULT,
    Calibration,
    read_calibration,
    write_calibration,
)
from training.checkpoint import WEIGHTS, file_sha256
from training.config import RunConfig
from training.errors import ConfigError
from training.evaluation.whole import fitted, measure


def calibrated(
    run: RunConfig, model: nn.Module, folder: Path, corpus: Corpus, threads: int | None, console: Console
) -> Calibration:
    """Return the calibration in the folder of a run, or fit it on the validation split and write it there.

    One of other weights, or one that cannot be read, is replaced. If the recordings are too few, say so on the console
    and return DEFAULT; if the folder cannot be written, say so and return the calibration.

    model: with the weights in `folder`. corpus: of the run's data.
    """
    try:
        found = read_calibration(folder)
    except ConfigError:
        found = DEFAULT
    if found is not DEFAULT:
        return found
    plan = run.data.validation
    measured = measure(model, run, corpus.splits["validation"], run.data, plan, threads)
    try:
        made = fitted(measured, file_sha256(folder / WEIGHTS), corpus.fingerprint, plan)
    except ValueError as error:
        console.print(f"note: beats are not calibrated ({error})", soft_wrap=True, highlight=False)
        return DEFAULT
    try:
        write_calibration(made, folder)
    except FileError as error:
        console.print(
            f"note: {error}; the calibration is used here only", soft_wrap=True, highlight=False, markup=False
        )
    else:
        console.print(f"{folder / BEATS_FILE}: {made.described}", soft_wrap=True, highlight=False, markup=False)
    return made
