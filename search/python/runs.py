"""Train a run, and score a trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from search.commands import train as commands
from search.python.denoiser import Denoiser, load
from search.python.studies import plain
from search.storage.open import storage_url
from search.terminal.console import PlainConsole
from training.config import RunConfig, prepare_run, read_run_with_provenance
from training.pretrained import run_folder
from training.runs import evaluate_folder, evaluation_folder
from training.switches import read_switches
from training.trackers.build import tracking_of


def train(
    config: str | Path | Mapping[str, Any] | RunConfig,
    folder: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    as_trial: bool = False,
    quiet: bool = False,
) -> Denoiser:
    """Train a run into a folder and load its model.

    With the folder of an interrupted training, continue it. With the folder of the same run and more epochs, lengthen
    it.

    config: the path of a run file (`Study.export` writes one), a mapping with the same keys, or a RunConfig. Relative
        paths in a mapping start from the working directory.
    folder: gets run.yaml, the weights, the checkpoint and history.jsonl.
    epochs, device, threads: instead of those of the config.
    as_trial: repeat the trial that was exported, without the section `final` of its study.
    quiet: print warnings only.

    Raises ConfigError for a config that is not valid and a folder that holds another run, DataError for recordings that
    cannot be used, TrainingFailed, OutOfMemory. Ctrl-C raises KeyboardInterrupt; the same call continues the training.
    """
    provenance: Mapping[str, Any] = {}
    if isinstance(config, RunConfig):
        run = config
    elif isinstance(config, str | Path):
        run, provenance = read_run_with_provenance(Path(config))
    else:
        run, provenance = prepare_run(plain(config), Path("config"))
    switches, console, path = read_switches(), PlainConsole(lines=True, quiet=quiet), Path(folder)
    trackers = tracking_of(switches, storage_url(None), default=("jsonl",)).names
    own = {"epochs": epochs, "device": device, "threads": threads}
    try:
        commands.train(run, path, provenance, trackers, console, switches, print, as_trial=as_trial, **own)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{path}: the same call continues it after its last finished epoch") from None
    return load(path, device=device or run.fit.device, threads=threads)


def evaluate(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    output: str | Path | None = None,
    split: str = "test",
    threads: int | None = None,
    window_s: float | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Score the run in a folder and the classical methods on its held-out mixture; write table, figures and sounds.

    folder: of a trained run, or `pretrained`.
    data: a study or run file with another section `data`.
    output: folder of the files; None for "evaluation" in the run's folder, with `data` "evaluation-" and its name.
    split: "test" or "validation".
    threads: CPU threads; None leaves their number as it is.
    window_s: length of a window in seconds; None takes that of training.
    quiet: print nothing.

    Returns a row for each method and SNR: method, snr_db, and a column for each score. The SNR of the clean windows
    without noise is infinite; their scores in dB are at most 60, and NaN stands for a score that has no meaning there.

    Raises ConfigError for a folder without a run and data that do not fit the model, CheckpointError for weights that
    cannot be used, DataError for recordings that cannot be used, OutOfMemory.
    """
    run, other = run_folder(Path(folder)), None if data is None else Path(data)
    target = evaluation_folder(run, other) if output is None else Path(output)
    rows = evaluate_folder(run, other, target, split, threads, PlainConsole(lines=True, quiet=quiet), window_s)
    return pd.DataFrame([{"method": row.method, "snr_db": row.snr_db, **row.scores} for row in rows])
