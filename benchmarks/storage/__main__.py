"""Measure the cost of a storage per trial.

    python -m benchmarks.storage [--quick] [--only TABLE] [--database ...] [--minutes M]

Ours (search.storage.fast.storage) against Optuna's: RDBStorage behind its cache as create_study makes it, the gRPC
proxy in front of that, and a journal file. A trial has 6 params and 10 reports and trains nothing. Counts are exact;
times are medians over rounds in which the kinds take turns, all in one run, and are to be read by their ratios. A cell
that the minutes did not suffice for says "-". docs/measurements/storage.md has the results.
"""

import argparse
import dataclasses
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.storage.site import Site, kinds_here, statements_of
from benchmarks.storage.worker import Costs, Task, measure
from tests.support.postgres import private_postgres

SEARCHES = (
    ("random", "median"),
    ("tpe", "median"),
    ("random", "forecast"),
    ("random", "halving"),
    ("random", "hyperband"),
)
PATIENCE_S = 600.0
BEFORE = 20  # finished trials beside those that run
N_TRIALS = 8  # over all workers of a cell, two each at least; ours take N_MORE times as many, to last as long
N_MORE = 6


@dataclass(frozen=True, slots=True)
class Cell:
    """A study with so many trials finished and running before, and workers side by side in it."""

    n_finished: int
    n_running: int
    n_workers: int

    @property
    def dear(self) -> bool:
        """Whether Optuna's storages take minutes in it: measured once, and of theirs the stock one only."""
        return self.n_finished * self.n_workers > 20_000 or self.n_running > 100


Measured = dict[tuple[Cell, str], list[Costs]]
Row = Sequence[str]


def cells(quick: bool) -> list[Cell]:
    """What is measured, the dearest last."""
    finished, workers, running = (
        ((0, 20), (1, 2), (0, 4)) if quick else ((0, 1_000, 10_000), (1, 4, 16), (0, 16, 64, 256))
    )
    found = [Cell(n, 0, w) for n in finished for w in workers] + [Cell(BEFORE, n, 1) for n in running]
    return sorted(dict.fromkeys(found), key=lambda cell: (cell.dear, cell.n_finished * cell.n_workers))


def measured(site: Site, wanted: Sequence[Cell], n_rounds: int, until_s: float) -> Measured:
    """Costs by cell and kind: rounds over all cells, in each of which the kinds take turns, until time.monotonic() is
    until_s."""
    found: Measured = {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.storage.worker"])
    with ExitStack() as stack:
        made: dict[tuple[str, int, int], str] = {}
        for i in range(n_rounds):
            for cell in wanted:
                for kind in kinds_here(site):
                    if time.monotonic() > until_s or (cell.dear and (i > 0 or kind not in ("stock", "ours"))):
                        continue
                    which = (kind, cell.n_finished, cell.n_running)
                    if which not in made:
                        made[which] = stack.enter_context(site.made(*which))
                    n_trials = max(2, N_TRIALS // cell.n_workers) * (N_MORE if kind == "ours" else 1)
                    task = Task(kind, made[which], n_trials)
                    found.setdefault((cell, kind), []).extend(_side_by_side(context, task, cell.n_workers))
    return found


def _side_by_side(context: multiprocessing.context.ForkServerContext, task: Task, n_workers: int) -> Iterator[Costs]:
    """The costs of each of n_workers processes that do `task` at the same time. Raises EOFError where one fails."""
    barrier, ends, processes = context.Barrier(n_workers, timeout=PATIENCE_S), [], []
    for _ in range(n_workers):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(task, barrier, there), daemon=True)
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    yield from [end.recv() for end in ends]
    for process in processes:
        process.join()


def statements(site: Site, quick: bool) -> list[Row]:
    """Statements of one trial by sampler and pruner, once a few are finished."""
    rows: list[Row] = [("sampler", "pruner", "stock", "ours")]
    for sampler, pruner in SEARCHES[: 1 if quick else None]:
        rows.append((sampler, pruner, *(str(statements_of(site, kind, sampler, pruner)) for kind in ("stock", "ours"))))
    return rows


def trials(kinds: Sequence[str], found: Measured) -> list[Row]:
    """Seconds a trial takes with stock, and how many times the trials a second of that the others make."""
    return _by_cell(kinds, found, lambda costs: costs.trial_s)


def cpu(kinds: Sequence[str], found: Measured) -> list[Row]:
    """The same of a worker's own processor alone, which what else the machine does disturbs least."""
    return _by_cell(kinds, found, lambda costs: costs.trial_cpu_s)


def _by_cell(kinds: Sequence[str], found: Measured, cost: Callable[[Costs], float]) -> list[Row]:
    rows = [
        (f"{cell.n_finished:,}", str(cell.n_workers), *_ratios(kinds, found, cell, cost))
        for cell in _cells_of(found)
        if cell.n_running == 0
    ]
    return [("finished", "workers", *kinds), *rows]


def running(kinds: Sequence[str], found: Measured) -> list[Row]:
    """Processor time of report and should_prune beside trials of 100 reports that run, against that beside none."""
    rows: list[Row] = [("running", *kinds)]
    for cell in (cell for cell in _cells_of(found) if cell.n_finished == BEFORE and cell.n_workers == 1):
        base = dataclasses.replace(cell, n_running=0)
        shown = []
        for kind in kinds:
            here, there = (_median(found, c, kind, lambda c: c.report_cpu_s) for c in (cell, base))
            shown.append(
                "-" if here is None or there is None else _ms(here) if cell == base else f"{here / there:.1f} x"
            )
        rows.append((str(cell.n_running), *shown))
    return rows


def first(kinds: Sequence[str], found: Measured) -> list[Row]:
    """Processor time of a new worker's first ask, random sampling."""
    rows: list[Row] = [("finished", *kinds)]
    for cell in (cell for cell in _cells_of(found) if cell.n_workers == 1 and cell.n_running == 0):
        costs = (_median(found, cell, kind, lambda c: c.first_ask_cpu_s) for kind in kinds)
        rows.append((f"{cell.n_finished:,}", *("-" if cost is None else _ms(cost) for cost in costs)))
    return rows


TABLES: dict[str, tuple[str, Callable[[Sequence[str], Measured], list[Row]]]] = {
    "trials": ("Trials a second, against stock", trials),
    "cpu": ("Trials a second of a worker's processor, against stock", cpu),
    "running": ("Processor time of report + should_prune by trials that run", running),
    "first": ("Processor time of a new worker's first ask", first),
}


def main(arguments: Sequence[str]) -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("statements", *TABLES), action="append", help="a table; may be given again")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--minutes", type=float, default=14.0, help="for all databases together")
    options = parser.parse_args(arguments)
    names, began = options.only or ("statements", *TABLES), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-storage-")))
        sites = []
        if options.database in ("postgresql", "both"):
            sites.append(Site("PostgreSQL", folder, stack.enter_context(private_postgres())))
        if options.database in ("sqlite", "both"):
            sites.append(Site("SQLite", folder, None))
        for i, site in enumerate(sites):
            if "statements" in names:
                _print(f"Statements of one trial ({site.database})", statements(site, options.quick))
            wanted = [] if names == ["statements"] else cells(options.quick)
            if names == ["running"]:
                wanted = [cell for cell in wanted if cell.n_finished == BEFORE]
            until_s = began + 60.0 * options.minutes * (i + 1) / len(sites)
            found = measured(site, wanted, 1 if options.quick else 3, until_s)
            for name, (title, table) in TABLES.items():
                if name in names:
                    _print(f"{title} ({site.database})", table(kinds_here(site), found))


def _print(title: str, rows: Sequence[Row]) -> None:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    print(f"\n{title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)


def _cells_of(found: Measured) -> list[Cell]:
    return sorted({cell for cell, _ in found}, key=lambda cell: (cell.n_finished, cell.n_running, cell.n_workers))


def _median(found: Measured, cell: Cell, kind: str, cost: Callable[[Costs], float]) -> float | None:
    costs = found.get((cell, kind))
    return median(map(cost, costs)) if costs else None


def _ratios(kinds: Sequence[str], found: Measured, cell: Cell, cost: Callable[[Costs], float]) -> Iterator[str]:
    """The first kind's cost, then how many times cheaper each other one is."""
    base = _median(found, cell, kinds[0], cost)
    for kind in kinds:
        mine = _median(found, cell, kind, cost)
        if mine is None or base is None:
            yield "-"
        else:
            yield _ms(mine) if kind == kinds[0] else f"{base / mine:.1f} x"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


if __name__ == "__main__":
    main(sys.argv[1:])
