"""Compare search methods by replaying them over tables of real learning curves, in simulated time.

    python -m benchmarks.search [TABLE.toml ...] [--workers 1,4,16] [--seeds 30] [--methods "A;B"]
                                [-o FOLDER] [--png FILE]
    python -m benchmarks.search --quick

benchmarks/search_table.py makes the tables. Every replay is a line of
FOLDER/replays.jsonl, and one that stands there is not repeated: remove the file after a change to a method. Compute and
time are counted in trainings to the end, of the table's mean cost. A value counts when its trial is complete.
Printed are medians over the seeds with bootstrap intervals of 95 %; "never" is a median beyond the budget.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.search_curves import Table, read_table
from benchmarks.search_methods import MAIN, methods
from benchmarks.search_plot import draw
from benchmarks.search_replay import Method, Replay, replay
from benchmarks.search_summary import NEAR_DB, Outcomes, lines_of

TABLES = Path(__file__).parent / "tables"
BUDGET = 100.0  # trainings; samplers that keep no model of the trials may go through the whole table
PATIENT = ("grid, unpruned", "random, unpruned")
QUICK = ("grid, unpruned", "Optuna defaults", "Drivebeat defaults")


@dataclass(frozen=True, slots=True)
class Job:
    """One replay, and the key it is found by."""

    table: str
    method: str
    n_workers: int
    seed: int


def perform(table: Table, method: Method, job: Job) -> Replay:
    """The replay of `job`, which ends when the table's best value is found or its budget is spent."""
    budget = len(table.cells) if method.name in PATIENT else min(BUDGET, len(table.cells))
    best = float(table.values.max())
    return replay(table, method, job.seed, job.n_workers, budget * table.full_s, best)


def encode(job: Job, done: Replay, table: Table) -> dict[str, Any]:
    """A replay as a line: improvements only, in trainings."""
    risen = np.flatnonzero(np.diff(done.best, prepend=-1e9) > 0)
    unit = table.full_s
    return {
        "key": [job.table, job.method, job.n_workers, job.seed],
        "at": [round(float(done.at_s[i]) / unit, 3) for i in risen],
        "compute": [round(float(done.compute_s[i]) / unit, 3) for i in risen],
        "trials": [int(done.n_trials[i]) for i in risen],
        "best": [round(float(done.best[i]), 4) for i in risen],
        "spent": round(done.spent_s / unit, 2),
        "ended": done.n_ended,
    }


def known_replays(path: Path) -> dict[Job, dict[str, Any]]:
    """The replays of an earlier call."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {Job(*line["key"]): line for line in lines}


def run(
    tables: Mapping[str, Table],
    chosen: Mapping[int, Mapping[str, Method]],
    n_seeds: int,
    folder: Path | None,
) -> dict[Job, dict[str, Any]]:
    """All replays, seeds outermost, so that a comparison cut short still compares. chosen: number of workers ->
    methods."""
    path = None if folder is None else folder / "replays.jsonl"
    done = {} if path is None else known_replays(path)
    jobs = [Job(t, m, w, seed) for seed in range(n_seeds) for t in tables for w in chosen for m in chosen[w]]
    for job in jobs:
        if job in done:
            continue
        table = tables[job.table]
        done[job] = line = encode(job, perform(table, chosen[job.n_workers][job.method], job), table)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return {job: done[job] for job in jobs}


def outcomes(replays: Mapping[Job, dict[str, Any]], job: Job) -> Outcomes:
    """All seeds of the replays that are otherwise like `job`."""
    like = (job.table, job.method, job.n_workers)
    return Outcomes(tuple(line for one, line in replays.items() if (one.table, one.method, one.n_workers) == like))


def report(tables: Mapping[str, Table], replays: Mapping[Job, dict[str, Any]]) -> Iterable[str]:
    """One Markdown table for each table of curves and number of workers."""
    for name, table in tables.items():
        values = np.sort(table.values)[::-1]
        best = float(values[0])
        axes = ", ".join(f"{axis} {len(one)}" for axis, one in table.axes.items())
        yield f"## {name}: {len(values)} trainings of {table.n_epochs} epochs ({axes})"
        within = [int((values >= one).sum()) for one in (best - 0.01 * abs(best), best - NEAR_DB)]
        yield f"best {best:.2f} dB, median {np.median(values):.2f} dB;"
        yield f"{within[0]} within 1 % of the best, {within[1]} within {NEAR_DB} dB"
        for n_workers in sorted({job.n_workers for job in replays}):
            found = {
                job.method: outcomes(replays, job)
                for job in replays
                if (job.table, job.n_workers, job.seed) == (name, n_workers, 0)
            }
            yield ""
            yield f"{n_workers} worker{'s' if n_workers > 1 else ''}, {len(next(iter(found.values())).lines)} seeds"
            yield ""
            yield from lines_of(found, best, len(values))
        yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="their study files; all of benchmarks/tables by default")
    parser.add_argument("--workers", default="1,4,16")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument(
        "--methods",
        default="",
        help="names, separated by ';'; default: all, the main ones with several workers",
    )
    parser.add_argument("--quick", action="store_true", help="two seeds of three methods, one worker")
    parser.add_argument("-o", "--out", type=Path, help="folder of the replays")
    parser.add_argument("--png", type=Path, help="where the curves go")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = methods()
    names = QUICK if options.quick else tuple(filter(None, options.methods.split(";"))) or tuple(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no method {unknown[0]!r}; known: {'; '.join(known)}")
    paths = options.tables or sorted(path for path in TABLES.glob("*.toml") if path.with_suffix(".jsonl").exists())
    if not paths:
        parser.error(f"there is no table in {TABLES}; make one: python -m benchmarks.search_table STUDY.toml")
    tables = {path.stem: read_table(path) for path in paths}
    workers = [1] if options.quick else [int(one) for one in options.workers.split(",")]
    n_seeds = 2 if options.quick else options.seeds
    several = names if options.methods else [name for name in names if name in MAIN]
    chosen = {w: {name: known[name] for name in (names if w == 1 else several)} for w in workers}
    replays = run(tables, chosen, n_seeds, options.out)
    for line in report(tables, replays):
        print(line, flush=True)
    if options.png is not None:
        curves = {(job.table, job.n_workers, job.method): outcomes(replays, job) for job in replays}
        draw(curves, {name: float(table.values.max()) for name, table in tables.items()}, options.png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
