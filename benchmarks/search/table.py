"""Make the table that `python -m benchmarks.search` replays: train every point of a study's grid and store its curve.

    python -m benchmarks.search.table benchmarks/search/tables/NAME.toml [--limit N]

Writes NAME.jsonl beside the study file, a line a training, as they end: interrupted, it goes on where it stopped.
Scores are the same to the bit on every machine of one kind, times are of this one (CPU seconds of one thread, so that
other work on the machine counts little). Coarse grids come before the points between them: a table cut short is still
a table, of fewer values an axis.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.search.curves import Axes, axes_of, read_lines
from data.corpus import Corpus, load
from data.files import atomic
from search.study.spec import StudySpec, read_spec, run_of, space_of
from training.errors import TrainingFailed
from training.trainer import train


def coarse_first(axes: Axes) -> list[dict[str, Any]]:
    """Every point of the grid; those on each axis's ends before those between, then the middles, and so on."""
    stages = {name: _stages(len(values)) for name, values in axes.items()}
    points: list[tuple[list[int], dict[str, Any]]] = [([], {})]
    for name, values in axes.items():
        points = [
            ([*ranks, stages[name][i]], point | {name: value})
            for ranks, point in points
            for i, value in enumerate(values)
        ]
    return [point for ranks, point in sorted(points, key=lambda pair: (max(pair[0]), sum(pair[0]), pair[0]))]


def _stages(n: int) -> list[int]:
    """For each of n places of an axis when its turn comes: the ends 0, then halfway between what is there."""
    stage = {0: 0, n - 1: 0}
    known = sorted(stage)
    turn = 0
    while len(known) < n:
        turn += 1
        for low, high in itertools.pairwise(known):
            if high - low > 1:
                stage[(low + high) // 2] = turn
        known = sorted(stage)
    return [stage[i] for i in range(n)]


def curve(spec: StudySpec, corpus: Corpus, point: Mapping[str, Any]) -> dict[str, Any]:
    """One training: its score and CPU seconds after each epoch. A run that failed has the epochs before it failed."""
    run = run_of(spec, space_of(spec, spec.models[0]), point)
    scores, seconds, failed = [], [], ""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        try:
            for report in train(run, corpus, Path(folder)):
                now = time.process_time()
                scores.append(round(report.score, 4))
                seconds.append(round(now - began, 4))
                began = now
        except TrainingFailed as error:
            failed = str(error)
    return {"point": dict(point), "scores": scores, "seconds": seconds} | ({"failed": failed} if failed else {})


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--limit", type=int, help="train no more than so many points")
    options = parser.parse_args(arguments)
    spec = read_spec(options.study)
    path = options.study.with_suffix(".jsonl")
    lines = read_lines(path) if path.exists() else []
    with atomic(path) as temporary:  # without a line that was broken off, so that the next one does not continue it
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    done = {_key(line["point"]) for line in lines}
    left = [point for point in coarse_first(axes_of(spec, str(options.study))) if _key(point) not in done]
    print(f"{len(done)} points are there, {len(left)} are left", flush=True)
    corpus = load(spec.data)
    for n, point in enumerate(left[: options.limit], len(done) + 1):
        line = curve(spec, corpus, point)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(f"{n}: {line['scores'][-1:]} in {sum(line['seconds']):.1f} s, {point}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
