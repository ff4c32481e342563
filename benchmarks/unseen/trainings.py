"""Short trainings that are judged by benchmarks.unseen. What is in a training's folder is not repeated."""

import csv
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.unseen.judge import Mixed, Value, judged, write
from data.corpus import Corpus
from training.config import RunConfig, read_run, write_run
from training.denoising.denoise import load_denoiser
from training.trainer import train

Judge = Callable[[], Iterator[Mixed]]
STEPS_IN_EPOCH = 300


def shortened(run: RunConfig, n_steps: int, seed: int) -> RunConfig:
    """Return `run` with about `n_steps` steps and a seed."""
    epochs = max(1, round(n_steps / STEPS_IN_EPOCH))
    return dataclasses.replace(
        run, fit=dataclasses.replace(run.fit, seed=seed, epochs=epochs, steps_per_epoch=n_steps // epochs)
    )


def values_of(
    run: RunConfig, corpus: Corpus, name: str, folder: Path, judge: Judge, adapt_steps: Sequence[int] = (0,)
) -> list[Value]:
    """Train `run` in `folder`, and return its scores.

    folder: kept between calls, in which `judge` must be the same.
    name: stands as the method of each score, with the number of steps if it was adapted.
    adapt_steps: steps of training on each mixture before it is estimated; each number has scores of its own.
    """
    values: list[Value] = []
    stored = folder / "run.yaml"
    if stored.exists() and read_run(stored) != run:
        raise SystemExit(f"{folder}: holds another training; choose another -o")
    for n_steps in adapt_steps:
        own = f"{name}, adapted by {n_steps} steps" if n_steps else name
        done = folder / (f"unseen_{n_steps}.csv" if n_steps else "unseen.csv")
        if not done.exists():
            write_run(run, stored)
            for _ in train(run, corpus, folder):
                pass
            denoisers = {own: load_denoiser(folder, threads=1)}
            found = [value for mixed in judge() for value in judged(mixed, denoisers, None, n_steps)]
            write([value for value in found if value.method == own], done)
        values += read_values(done)
    return values


def read_values(path: Path) -> list[Value]:
    """Return the values that benchmarks.unseen.write wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Value(**{**row, "snr_db": float(row["snr_db"]), "value": float(row["value"])})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]
