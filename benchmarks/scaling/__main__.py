"""Measure the load of a growing search on its database: `python -m benchmarks.scaling [--quick] [--database ...]`.

Workers that train nothing run trials through the same calls as real ones. Counts (statements, connections, bytes) are
exact; times are to be read by their ratios, for machines differ. docs/measurements/storage.md has the results and what
follows from them for 1,000 workers and 100,000 trials.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import sqlalchemy

from benchmarks.chaos.site import Site, record
from benchmarks.scaling.site import EPOCHS, Open, Worker, at_once, closed, create_study, past, worker
from search.storage.open import open_engine
from tests.support.postgres import private_postgres

PHASES = ("turn", "attributes", "report", "prune", "end")
Table = tuple[str, Sequence[str], list[list[str]]]


def statements(site: Site, quick: bool) -> Table:
    """A trial's statements, by what is done and whose tables are spoken to."""
    create_study(site, "statements")
    one = worker(site.url, "statements")
    for _ in range(2):
        one.trial()
    before, connects = one.meter.statements.copy(), one.meter.connections.copy()
    one.trial()
    said = one.meter.statements - before
    opened = one.meter.connections - connects
    rows = [[phase, str(said[phase, "Optuna"]), str(said[phase, "ours"])] for phase in PHASES]
    rows.append(["all", *(str(sum(n for (_, whose), n in said.items() if whose == w)) for w in ("Optuna", "ours"))])
    rows.append(["connections opened", str(opened["Optuna"]), str(opened["ours"])])
    one.beat()
    rows.append(["a beat, six a lease", "0", str(one.meter.statements["beat", "ours"])])
    closed(one)
    return f"Statements of one trial of {EPOCHS} epochs", ("step", "Optuna's", "ours"), rows


def sizes(site: Site, quick: bool) -> Table:
    """Bytes that a finished trial takes, by table, indexes included."""
    n_trials = 100 if quick else 2000
    study = create_study(site, "sizes")
    before = _bytes(site)
    past(study, site.url, n_trials)
    grown = {name: size - before.get(name, 0) for name, size in _bytes(site).items()}
    rows = [[name, f"{size / n_trials:,.0f}"] for name, size in sorted(grown.items(), key=lambda r: -r[1]) if size > 0]
    rows.append(["all", f"{sum(grown.values()) / n_trials:,.0f}"])
    return f"Bytes a trial takes, over {n_trials:,} trials", ("table with its indexes", "bytes"), rows


def growth(site: Site, quick: bool) -> Table:
    """Seconds of each step behind so and so many finished trials, against the fewest."""
    counts = (20, 60) if quick else (100, 1_000, 10_000)
    cases = [(n, sampler) for n in counts for sampler in ("random", "tpe", "gp") if sampler != "gp" or n <= 1_000]
    workers = []
    for n_trials, sampler in cases:
        study = create_study(site, f"growth-{sampler}-{n_trials}", sampler)
        past(study, site.url, n_trials)
        workers.append(worker(site.url, study.name))
    took = _least(workers, 3 if quick else 8)
    rows = []
    for (n_trials, sampler), mine in zip(cases, took, strict=True):
        base = took[cases.index((cases[0][0], sampler))]
        rows.append([f"{n_trials:,}", sampler, *(_ratio(mine[key], base[key]) for key in ("first turn", *PHASES))])
    return "Time of a step by finished trials", ("trials", "sampler", "first turn", *PHASES), rows


def running(site: Site, quick: bool) -> Table:
    """Seconds of a step beside so and so many trials that run, against the fewest."""
    cases = (1, 10) if quick else (1, 10, 100, 1_000)
    workers = []
    for n_running in cases:
        study = create_study(site, f"running-{n_running}", "random")
        past(study, site.url, 20)
        past(study, site.url, n_running, "RUNNING")
        workers.append(worker(site.url, study.name))
    took = _least(workers, 2 if quick else 4)
    steps = ("turn", "report", "prune")
    rows = [
        [f"{n_running:,}", *(_ratio(mine[key], took[0][key]) for key in steps)]
        for n_running, mine in zip(cases, took, strict=True)
    ]
    return "Time of a step by trials that run", ("running", *steps), rows


def _least(workers: Sequence[Worker], n_rounds: int) -> list[dict[str, float]]:
    """The shortest time each worker took for each step, "turn" without its first one.

    All take turns, and the shortest counts, so that what else the machine does weighs on all alike, or not at all.
    """
    for _ in range(n_rounds):
        for one in workers:
            assert one.trial()
    found = []
    for one in workers:
        seconds = one.meter.seconds
        took = {phase: min(seconds[phase]) for phase in PHASES}
        found.append({**took, "first turn": seconds["turn"][0], "turn": min(seconds["turn"][1:])})
        closed(one)
    return found


def crowd(site: Site, quick: bool) -> Table:
    """Workers side by side, none of which trains: what they wait for is the database and each other."""
    rows, base, base_turn = [], None, 0.0
    for n_workers in (1, 2) if quick else (1, 4, 16):
        name = f"crowd-{n_workers}"
        create_study(site, name, "tpe")
        shared = Open()
        workers = [worker(site.url, name, i, shared) for i in range(n_workers)]
        n_each = 2 if quick else max(4, 48 // n_workers)
        took_s = at_once(workers, n_each)
        n_trials = n_each * n_workers
        said = sum(sum(one.meter.statements.values()) for one in workers) / n_trials
        turns = median(s for one in workers for s in one.meter.seconds["turn"])
        base, base_turn = base or n_trials / took_s, base_turn or turns
        rate = f"{n_trials / took_s / base:.2f} x"
        rows.append(
            [str(n_workers), rate, f"{turns / base_turn:.1f} x", f"{said:.0f}", f"{shared.most / n_workers:.1f}"]
        )
        for one in workers:
            closed(one)
    head = ("workers", "trials a second", "time of a turn", "statements a trial", "most connections a worker")
    return "Workers side by side", head, rows


TABLES: dict[str, Callable[[Site, bool], Table]] = {
    "statements": statements,
    "sizes": sizes,
    "growth": growth,
    "running": running,
    "crowd": crowd,
}


def main(arguments: Sequence[str]) -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=TABLES, action="append", help="a table; may be given again")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    options = parser.parse_args(arguments)
    for site in _places(options.database):
        for name, table in TABLES.items():
            if name in (options.only or TABLES):
                title, head, rows = table(site, options.quick)
                print(f"\n{title} ({site.database})\n")
                print(
                    "\n".join(["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]), flush=True
                )


def _places(database: str) -> Iterator[Site]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-scaling-")))
        recordings = record(folder / "recordings")
        if database in ("sqlite", "both"):
            yield Site(folder, f"sqlite:///{folder}/studies.db", recordings, None)
        if database in ("postgresql", "both"):
            server = stack.enter_context(private_postgres())
            yield Site(folder, server.new_database(), recordings, server)


def _bytes(site: Site) -> dict[str, int]:
    """Size of each table with its indexes."""
    asked = {
        "SQLite": "SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1",
        "PostgreSQL": "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables",
    }
    engine = open_engine(site.url)
    with engine.connect() as connection:
        found = {str(name): int(size) for name, size in connection.execute(sqlalchemy.text(asked[site.database]))}
    engine.dispose()
    return found


def _ratio(seconds: float, base: float) -> str:
    """Against the smallest case; the smallest case itself in milliseconds."""
    return f"{1000 * seconds:.1f} ms" if seconds == base else f"{seconds / base:.1f} x"


if __name__ == "__main__":
    main(sys.argv[1:])
