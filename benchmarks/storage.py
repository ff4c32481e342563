"""What a storage costs a trial: `python -m benchmarks.storage [--quick] [--only TABLE] [--database ...]`.

Ours (search.lean_storage) against Optuna's: RDBStorage behind its cache as create_study makes it, the gRPC proxy in
front of that, and a journal file. A trial has 6 params and 10 reports and trains nothing. Counts are exact; times are
medians of interleaved rounds in one run, and are to be read by their ratios. docs/storage.md has the results.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.postgres import private_postgres
from benchmarks.storage_place import Place, kinds_here, statements_of
from benchmarks.storage_worker import COSTS, Task, measure

Table = tuple[str, Sequence[str], list[list[str]]]
SEARCHES = (("random", "median"), ("tpe", "median"), ("random", "halving"), ("random", "hyperband"))


def statements(place: Place, quick: bool) -> Table:
    """Statements of one trial by sampler and pruner, once a few are finished."""
    rows = []
    for sampler, pruner in SEARCHES[: 1 if quick else None]:
        found = [str(statements_of(place, kind, sampler, pruner)) for kind in ("stock", "ours")]
        rows.append([sampler, pruner, *found])
    return "Statements of one trial", ("sampler", "pruner", "stock", "ours"), rows


def trials(place: Place, quick: bool) -> Table:
    """Trials a second, against stock, by finished trials and workers; random sampling, median pruning."""
    rows = []
    for n_finished in (0, 20) if quick else (0, 1_000, 10_000):
        for n_workers in (1, 2) if quick else (1, 4, 16):
            costs = _costs(place, n_finished, 0, n_workers, 1 if quick else 3, "trial_s")
            rows.append([f"{n_finished:,}", str(n_workers), *_faster(place, costs)])
    return "Trials a second, against stock", ("finished", "workers", *kinds_here(place)), rows


def cpu(place: Place, quick: bool) -> Table:
    """A worker's own processor time a trial, against stock: what other work on the machine disturbs least."""
    rows = []
    for n_finished in (0, 20) if quick else (0, 1_000, 10_000):
        costs = _costs(place, n_finished, 0, 1, 1 if quick else 5, "trial_cpu_s")
        rows.append([f"{n_finished:,}", *_faster(place, costs)])
    return "Trials per second of a worker's processor, against stock", ("finished", *kinds_here(place)), rows


def running(place: Place, quick: bool) -> Table:
    """Time of report and should_prune beside trials of 100 reports that run; the first row in milliseconds."""
    rows: list[list[str]] = []
    base: dict[str, float] = {}
    for n_running in (0, 4) if quick else (0, 16, 64, 256):
        costs = _costs(place, 20, n_running, 1, 1 if quick else 5, "report_s")
        base = base or costs
        cells = [_against(costs[kind], base[kind], n_running == 0) for kind in kinds_here(place)]
        rows.append([str(n_running), *cells])
    return "Time of report + should_prune by trials that run", ("running", *kinds_here(place)), rows


def first(place: Place, quick: bool) -> Table:
    """Time of a new worker's first ask."""
    rows = []
    for n_finished in (20,) if quick else (1_000, 10_000):
        costs = _costs(place, n_finished, 0, 1, 1 if quick else 3, "first_ask_s")
        rows.append([f"{n_finished:,}", *(_milliseconds(costs[kind]) for kind in kinds_here(place))])
    return "A new worker's first ask", ("finished", *kinds_here(place)), rows


TABLES: dict[str, Callable[[Place, bool], Table]] = {
    "statements": statements,
    "cpu": cpu,
    "trials": trials,
    "running": running,
    "first": first,
}


def main(arguments: Sequence[str]) -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=TABLES, action="append", help="a table; may be given again")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-storage-")))
        places = []
        if options.database in ("sqlite", "both"):
            places.append(Place("SQLite", folder, None))
        if options.database in ("postgresql", "both"):
            places.append(Place("PostgreSQL", folder, stack.enter_context(private_postgres())))
        for place in places:
            for name in options.only or TABLES:
                title, head, rows = TABLES[name](place, options.quick)
                print(f"\n{title} ({place.database})\n")
                lines = [list(head), ["---"] * len(head), *rows]
                print("\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)


def _costs(
    place: Place, n_finished: int, n_running: int, n_workers: int, n_rounds: int, cost: COSTS
) -> dict[str, float]:
    """The median cost by kind, over rounds in which the kinds take turns."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds_here(place)}
    with ExitStack() as stack:
        addresses = {kind: stack.enter_context(place.made(kind, n_finished, n_running)) for kind in found}
        for _ in range(n_rounds):
            for kind, address in addresses.items():
                task = Task(kind, address, max(1, 8 // n_workers))
                context = multiprocessing.get_context("spawn")
                with context.Manager() as manager, context.Pool(n_workers) as pool:
                    barrier = manager.Barrier(n_workers)
                    done = pool.starmap(measure, [(task, barrier)] * n_workers, chunksize=1)
                found[kind] += [getattr(one, cost) for one in done]
    return {kind: median(values) for kind, values in found.items()}


def _faster(place: Place, costs: dict[str, float]) -> list[str]:
    return [_against(costs["stock"], costs[kind], kind == "stock", costs[kind]) for kind in kinds_here(place)]


def _against(cost: float, base: float, is_base: bool, shown: float | None = None) -> str:
    return _milliseconds(cost if shown is None else shown) if is_base else f"{cost / base:.1f} x"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


if __name__ == "__main__":
    main(sys.argv[1:])
