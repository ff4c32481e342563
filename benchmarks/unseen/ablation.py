"""Measure what the parts of a run bring on recordings that nobody heard, each part alone and each taken away.

    python -m benchmarks.unseen.ablation RUN.yaml -o OUT [--more realdata2] [--steps 1500] [--seeds 1] [--adapt 100]
        [--unseen RECORDINGS.yaml] [--recordings 6]

The parts: recordings (those with --more in their path, of hearts and of vehicles), references (the reference channels
and the filters for them), beats (the network for beats) and second pass (with that network, which it needs). RUN.yaml
has all of them. It is trained with all, without each, with each alone and with none, for the same number of steps; the
whole run and the bare run are also adapted to each mixture. Each training is judged by benchmarks.unseen, and stays in
OUT.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.unseen.judge import RECORDINGS, Value, mean, mixtures
from benchmarks.unseen.trainings import shortened, values_of
from data.config import Source
from data.corpus import load
from training.config import RunConfig, read_run
from training.report import snr_heading

ALL, NONE = "all parts", "no part"
SCORES = (("si_sdr_db", ".1f"), ("hr_within_5_bpm", ".2f"), ("event_f1", ".2f"))


def main(arguments: list[str]) -> None:
    """Train, judge, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN.yaml")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--more", default="realdata2", help="part of the path of the recordings that are a part")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--adapt", type=int, default=100)
    parser.add_argument("--unseen", type=Path, default=RECORDINGS)
    parser.add_argument("--recordings", type=int, default=6)
    o = parser.parse_args(arguments)
    judge = lambda: mixtures(o.unseen, o.recordings, 0)  # noqa: E731
    values: list[Value] = []
    for (name, run), seed in itertools.product(variants(read_run(o.run), o.more).items(), range(o.seeds)):
        own = shortened(run, o.steps, seed)
        folder = o.out / f"{name.replace(' ', '-')}-{seed}"
        steps = (0, o.adapt) if o.adapt and name in (ALL, NONE) else (0,)
        values += values_of(own, load(own.data, needed=("train", "validation")), name, folder, judge, steps)
    print("\n".join(table(values)))


def variants(run: RunConfig, more: str) -> Mapping[str, RunConfig]:
    """Return the runs to compare, by name. more: see the module."""
    removals: dict[str, Callable[[RunConfig], RunConfig]] = {
        "recordings": lambda run: without_recordings(run, more),
        "references": without_references,
        "second pass": lambda run: replace(run, beats=replace(run.beats, beats_passes=1)),
        "beats": lambda run: replace(run, beats=replace(run.beats, beats_passes=1, beats_weight=0.0)),
    }

    def less(names: Sequence[str]) -> RunConfig:
        found = run
        for name in names:
            found = removals[name](found)
        return found

    # A second pass needs the network for beats, so "second pass alone" has both; "beats alone" has the network only.
    alone = {"recordings": (), "references": (), "beats": ("second pass",), "second pass": ()}
    kept = {name: {name, "beats"} if name == "second pass" else {name} for name in removals}
    return {
        ALL: run,
        **{f"without {name}": removals[name](run) for name in removals},
        **{f"{name} alone": less([*alone[name], *(o for o in removals if o not in kept[name])]) for name in removals},
        NONE: less(tuple(removals)),
    }


def without_recordings(run: RunConfig, more: str) -> RunConfig:
    """Return the run without the training recordings that have `more` in their path."""

    def kept(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        return tuple(s for s in sources if s.use != "train" or not any(more in file for file in s.files))

    return replace(run, data=replace(run.data, clean=kept(run.data.clean), noise=kept(run.data.noise)))


def without_references(run: RunConfig) -> RunConfig:
    """Return the run with the channel to denoise alone."""
    noise = tuple(replace(source, channels=source.channels[:1]) for source in run.data.noise)
    return replace(run, data=replace(run.data, noise=noise), front=replace(run.front, filter_taps=0))


def table(values: Sequence[Value]) -> list[str]:
    """Return the lines of a table in Markdown: the mean of each score by training and SNR."""
    snrs_db = list(dict.fromkeys(value.snr_db for value in values))
    lines = [
        "| parts | " + " | ".join(map(snr_heading, snrs_db)) + " |",
        "|" + "---|" * (len(snrs_db) + 1),
    ]
    for method in dict.fromkeys(value.method for value in values):
        cells = []
        for snr_db in snrs_db:
            of = [v for v in values if v.method == method and v.snr_db == snr_db]
            cells.append(" / ".join(f"{mean(of, score):{form}}" for score, form in SCORES))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
