"""Measure what more hearts, more vehicles and hearts of other sensors bring on recordings that nobody heard.

    python -m benchmarks.unseen.amounts RUN.yaml -o OUT [--hearts 5,20,100,500,all] [--vehicles 1,2,4,all] [--seeds 3]
        [--sensors microphone,accelerometer] [--steps 1500] [--unseen RECORDINGS.yaml] [--recordings 6]

RUN.yaml is trained on a part of its hearts and all of its vehicles, then on all hearts and a part of the vehicles, then
on hearts by one kind of sensor alone, each with the same number of steps and three seeds. A heart is the group of a
recording, or its file; so is a vehicle. A seed also draws which hearts and vehicles are taken, and fewer are always
part of more. Each training is judged by benchmarks.unseen. Trainings that are in OUT are not repeated. The table has
the mean over seeds and half their spread; OUT gets amounts.csv.
"""

import argparse
import csv
import dataclasses
import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.unseen.judge import RECORDINGS, SNRS_DB, Value, mean, mixtures
from benchmarks.unseen.trainings import shortened, values_of
from data.corpus import Corpus, Segment, Split, load
from data.files import atomic
from training.config import read_run

SCORE = "si_sdr_db"
SENSORS = ("microphone", "accelerometer")


@dataclass(frozen=True, slots=True)
class Amount:
    """A part of the recordings to learn from. hearts, vehicles: how many; 0: all. sensor: of the hearts; "": any."""

    name: str
    hearts: int = 0
    vehicles: int = 0
    sensor: str = ""


def main(arguments: list[str]) -> None:
    """Train, judge, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN.yaml")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--hearts", default="5,20,100,500,all")
    parser.add_argument("--vehicles", default="1,2,4,all")
    parser.add_argument("--sensors", default=",".join(SENSORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--unseen", type=Path, default=RECORDINGS)
    parser.add_argument("--recordings", type=int, default=6)
    o = parser.parse_args(arguments)
    run = read_run(o.run)
    corpus = load(run.data, needed=("train", "validation"))
    judge = lambda: mixtures(o.unseen, o.recordings, 0)  # noqa: E731
    rows: list[tuple[Amount, int, list[Value]]] = []
    for amount, seed in itertools.product(amounts(o.hearts, o.vehicles, o.sensors), range(o.seeds)):
        folder = o.out / f"{amount.name.replace(' ', '-')}-{seed}"
        part = part_of(corpus, amount, seed)
        values = values_of(shortened(run, o.steps, seed), part, amount.name, folder, judge)
        rows.append((amount, seed, values))
    with atomic(o.out / "amounts.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("amount", "seed", *(field.name for field in dataclasses.fields(Value))))
        writer.writerows((a.name, s, *dataclasses.astuple(value)) for a, s, found in rows for value in found)
    print("\n".join(table(rows)))


def amounts(hearts: str, vehicles: str, sensors: str) -> Iterator[Amount]:
    """Yield the parts to learn from."""
    for text in hearts.split(","):
        yield Amount(f"{text} hearts", hearts=0 if text == "all" else int(text))
    for text in vehicles.split(","):
        if text != "all":  # all of both is among the hearts
            yield Amount(f"{text} vehicles", vehicles=int(text))
    for sensor in sensors.split(","):
        yield Amount(f"{sensor} hearts alone", sensor=sensor)


def part_of(corpus: Corpus, amount: Amount, seed: int) -> Corpus:
    """Return the corpus with a part of what it trains on."""
    split = corpus.splits["train"]
    clean = [segment for segment in split.clean if not amount.sensor or sensor_of(segment) == amount.sensor]
    rng = np.random.default_rng(seed)
    part = Split(tuple(some(clean, amount.hearts, rng)), tuple(some(split.noise, amount.vehicles, rng)))
    name = f"{corpus.fingerprint}-{amount.name}-{seed}"
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": part}, fingerprint=name)


def some(segments: Sequence[Segment], n: int, rng: np.random.Generator) -> list[Segment]:
    """Return the segments of n groups, drawn; 0 takes all."""
    groups = sorted({str(segment.group or segment.source) for segment in segments})
    drawn = {groups[i] for i in rng.permutation(len(groups))[: n or len(groups)]}
    return [segment for segment in segments if str(segment.group or segment.source) in drawn]


def sensor_of(segment: Segment) -> str:
    """Return the kind of sensor by the folder that `drivebeat data get` writes to; other hearts are by microphone."""
    return SENSORS[1] if SENSORS[1] in segment.source.parts else SENSORS[0]


def table(rows: Sequence[tuple[Amount, int, list[Value]]]) -> list[str]:
    """Return the lines of a table in Markdown: SI-SDR by kind of heart, mean over seeds and half their spread."""
    kinds = list(dict.fromkeys(value.kind for _, _, values in rows for value in values))
    lines = [
        "| learned from | hearts of | " + " | ".join(f"{snr_db:+g} dB" for snr_db in SNRS_DB) + " |",
        "|" + "---|" * (len(SNRS_DB) + 2),
    ]
    for amount in dict.fromkeys(amount for amount, _, _ in rows):
        for kind in (*kinds, "all"):
            cells = []
            for snr_db in SNRS_DB:
                means = [
                    mean([v for v in values if v.snr_db == snr_db and kind in ("all", v.kind)], SCORE)
                    for own, _, values in rows
                    if own == amount
                ]
                cells.append(f"{statistics.fmean(means):.1f} ±{(max(means) - min(means)) / 2:.1f}")
            lines.append(f"| {amount.name} | {kind} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
