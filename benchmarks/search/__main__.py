"""Compare search methods by replaying them over tables of real learning curves, in simulated time.

    python -m benchmarks.search [TABLE.toml ...] [--workers 1,4,16] [--seeds 30] [--methods "A;B"]
                                [-o FOLDER] [--png FILE]
    python -m benchmarks.search --quick
    python -m benchmarks.search --suite taskset|lcbench --data DIR [--half choosing|judging|all]
                                [--epochs 250,500,1000,2000] [--counted reported|complete] [--workers 1,4,16]
                                [--seeds 10] [--methods "A;B"] [-o FOLDER] [--png FILE]

benchmarks/search/table.py makes the tables. Every replay is a line of
FOLDER/replays.jsonl, and one that stands there is not repeated: remove the file after a change to a method. Compute and
time are counted in trainings to the end, of the table's mean cost. A value counts when its trial is complete.
Printed are medians over the seeds with bootstrap intervals of 95 %; "never" is a median beyond the budget.

Suites are tasks of other people (benchmarks/search/suites/), whose replays are in FOLDER/SUITE.jsonl. A budget is a
number of epochs of all trials. Tasks of odd numbers are for choosing defaults, even ones for judging. Printed are mean
normalised regrets and ranks at 1, 3 and 10 times the cost of a training and at --epochs.
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

from benchmarks.search.curves import Table, read_table
from benchmarks.search.methods import MAIN, methods
from benchmarks.search.plot import draw
from benchmarks.search.replay import Method, Replay, replay
from benchmarks.search.suites.methods import ROWS, suite_methods
from benchmarks.search.suites.run import EPOCHS, SUITES, SuiteOptions, compare
from benchmarks.search.summary import NEAR_DB, Outcomes, lines_of
from data.errors import UserError
from training.errors import ConfigError

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


def counts(words: str) -> tuple[int, ...]:
    """Numbers of at least 1, separated by commas."""
    numbers = tuple(int(word) for word in words.split(","))
    if min(numbers) < 1:
        raise ValueError
    return numbers


def at_least_one(word: str) -> int:
    (number,) = counts(word)
    return number


def parser_of_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path, help="their study files; all of search/tables by default")
    parser.add_argument("--workers", type=counts, default=(1, 4, 16))
    parser.add_argument("--seeds", type=at_least_one, help="30 by default, 10 of a suite")
    parser.add_argument(
        "--methods",
        default="",
        help="names, separated by ';'; default: all, the main ones with several workers; six of a suite",
    )
    parser.add_argument("--quick", action="store_true", help="two seeds of three methods, one worker")
    parser.add_argument("-o", "--out", type=Path, help="folder of the replays")
    parser.add_argument("--png", type=Path, help="where the curves go")
    parser.add_argument("--suite", choices=SUITES, default="own", help="own: the tables")
    parser.add_argument("--data", type=Path, help="folder of the suite's files")
    parser.add_argument("--half", choices=("choosing", "judging", "all"), default="all", help="tasks of a suite")
    parser.add_argument("--epochs", type=counts, default=EPOCHS, help="budgets that a suite is read at")
    parser.add_argument(
        "--counted",
        choices=("reported", "complete"),
        default="reported",
        help="the best value of a suite: of any report, or of trainings to the end",
    )
    return parser


def chosen_names(options: argparse.Namespace, known: Iterable[str], default: Sequence[str]) -> tuple[str, ...]:
    """The methods that are named, else `default`. Raises ConfigError for an unknown one."""
    names = tuple(filter(None, options.methods.split(";"))) or tuple(default)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no method {unknown[0]!r}; known: {'; '.join(known)}")
    return names


def print_suite(options: argparse.Namespace) -> None:
    """Compare methods on a suite. Raises ConfigError for options that do not fit, and DataError for other data."""
    if options.data is None:
        raise ConfigError(f"--suite {options.suite} needs --data, the folder of its files")
    if options.tables or options.quick:
        raise ConfigError(f"--suite {options.suite} takes no tables and no --quick; leave them out")
    chosen = SuiteOptions(
        suite=options.suite,
        data=options.data,
        half=options.half,
        methods=chosen_names(options, suite_methods(), ROWS),
        workers=options.workers,
        n_seeds=options.seeds or 10,
        epochs=options.epochs,
        counted=options.counted,
        folder=options.out,
        png=options.png,
    )
    for line in compare(chosen):
        print(line, flush=True)


def print_tables(options: argparse.Namespace) -> None:
    """Compare methods on our own tables. Raises ConfigError for unknown methods, and where there is no table."""
    known = methods()
    names = chosen_names(options, known, QUICK if options.quick else tuple(known))
    paths = options.tables or sorted(path for path in TABLES.glob("*.toml") if path.with_suffix(".jsonl").exists())
    if not paths:
        raise ConfigError(f"there is no table in {TABLES}; make one: python -m benchmarks.search.table STUDY.toml")
    tables = {path.stem: read_table(path) for path in paths}
    workers = (1,) if options.quick else options.workers
    n_seeds = options.seeds or (2 if options.quick else 30)
    several = names if options.methods else [name for name in names if name in MAIN]
    chosen = {w: {name: known[name] for name in (names if w == 1 else several)} for w in workers}
    replays = run(tables, chosen, n_seeds, options.out)
    for line in report(tables, replays):
        print(line, flush=True)
    if options.png is not None:
        curves = {(job.table, job.n_workers, job.method): outcomes(replays, job) for job in replays}
        draw(curves, {name: float(table.values.max()) for name, table in tables.items()}, options.png)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of_options()
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        print_tables(options) if options.suite == "own" else print_suite(options)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
