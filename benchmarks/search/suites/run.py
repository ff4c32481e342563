"""Replay methods over the tasks of a suite, and keep every replay as a line of a file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search.suites.lcbench import read_lcbench
from benchmarks.search.suites.methods import suite_methods
from benchmarks.search.suites.plot import draw_suite
from benchmarks.search.suites.pool import Half, Pool
from benchmarks.search.suites.replay import Course, SuiteMethod, SuiteReplay, replay_pool
from benchmarks.search.suites.summary import Counted, judged, lines_of_suite
from benchmarks.search.suites.taskset import read_taskset
from training.errors import ConfigError

READERS = {"taskset": read_taskset, "lcbench": read_lcbench}
SUITES = ("own", *READERS)
FULL_TIMES = (1, 3, 10)
EPOCHS = (250, 500, 1000, 2000)


@dataclass(frozen=True, slots=True)
class SuiteJob:
    """One replay, and the key it is found by."""

    task: str
    method: str
    n_workers: int
    seed: int


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """What is compared. epochs: budgets beside FULL_TIMES the cost of a training. folder: of the replays."""

    suite: str
    data: Path
    half: Half
    methods: tuple[str, ...]
    workers: tuple[int, ...]
    n_seeds: int
    epochs: tuple[int, ...]
    counted: Counted
    folder: Path | None
    png: Path | None


def compare(options: SuiteOptions) -> Iterable[str]:
    """Replay what `options` name, and yield the lines of the tables. Raises DataError for data of another
    format and ConfigError for a half without tasks."""
    pools = READERS[options.suite](options.data, options.half)
    if not pools:
        raise ConfigError(f"{options.data} has no task of the half {options.half!r}; --half all takes every task")
    known = suite_methods()
    chosen = [known[name] for name in options.methods]
    n_epochs = max(pool.n_epochs for pool in pools)
    budgets = tuple(sorted({n * n_epochs for n in FULL_TIMES} | set(options.epochs)))
    path = None if options.folder is None else options.folder / f"{options.suite}.jsonl"
    replays = run_suite(pools, chosen, options.workers, options.n_seeds, budgets[-1], path)
    yield f"## {options.suite}, {options.half}: {len(pools)} tasks of {n_epochs} epochs"
    for n_workers in options.workers:
        outcome = judged(pools, budgets, options.methods, replays_of(replays, n_workers), options.counted)
        yield ""
        workers, seeds = ("" if n == 1 else "s" for n in (n_workers, options.n_seeds))
        yield f"{n_workers} worker{workers}, {options.n_seeds} seed{seeds}"
        yield ""
        yield from lines_of_suite(outcome)
    if options.png is not None:
        draw_suite(
            {
                n: judged(pools, range(1, budgets[-1] + 1), options.methods, replays_of(replays, n), options.counted)
                for n in options.workers
            },
            n_epochs,
            options.png,
        )


def run_suite(
    pools: Sequence[Pool],
    chosen: Sequence[SuiteMethod],
    workers: Sequence[int],
    n_seeds: int,
    budget: int,
    path: Path | None,
) -> dict[SuiteJob, dict[str, Any]]:
    """All replays of `budget` epochs, seeds outermost. Those in the file `path` are not repeated."""
    done = {} if path is None else known_replays(path)
    found: dict[SuiteJob, dict[str, Any]] = {}
    for seed in range(n_seeds):
        for pool in pools:
            for n_workers in workers:
                for method in chosen:
                    job = SuiteJob(pool.name, method.name, n_workers, seed)
                    line = done.get(job)
                    if line is None or line["budget"] < budget:
                        line = encode(job, budget, replay_pool(pool, method, seed, n_workers, budget))
                        if path is not None:
                            add(path, line)
                    found[job] = line
    return found


def encode(job: SuiteJob, budget: int, done: SuiteReplay) -> dict[str, Any]:
    """A replay as a line: improvements only, in epochs."""

    def course(one: Course) -> dict[str, Any]:
        return {"epochs": one.epochs, "best": [round(value, 6) for value in one.best]}

    return {
        "key": [job.task, job.method, job.n_workers, job.seed],
        "budget": budget,
        "reported": course(done.reported),
        "complete": course(done.complete),
        "spent": done.spent,
        "time": done.time,
        "trials": [done.n_trials, done.n_complete, done.n_failed],
    }


def known_replays(path: Path) -> dict[SuiteJob, dict[str, Any]]:
    """The replays of earlier calls; of equal ones the last, which has the largest budget."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {SuiteJob(*line["key"]): line for line in lines}


def add(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line to a file, which is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def replays_of(
    replays: Mapping[SuiteJob, dict[str, Any]], n_workers: int
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(task, method) -> a line for each seed, of one number of workers."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job, line in replays.items():
        if job.n_workers == n_workers:
            found.setdefault((job.task, job.method), []).append(line)
    return found
