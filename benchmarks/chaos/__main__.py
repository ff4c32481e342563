"""Test the guarantees of the search under failures.

    python -m benchmarks.chaos [--quick] [--only NAME] [--database ...]

Real worker processes train tiny models, and are killed, stopped, starved of memory and disk, and cut off from their
database. One row a promise is printed; the exit code is 1 if any was broken.
docs/measurements/reliability.md has the results.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from benchmarks.chaos.crowd import cold_start, exactly_once
from benchmarks.chaos.foreign import foreign_acts
from benchmarks.chaos.machine import disk_full, memory
from benchmarks.chaos.site import (
    FINISHED,
    Row,
    Site,
    ended,
    make,
    n_reports,
    record,
    slots,
    spec_of,
    start,
    states,
    trials,
    until,
    wait_all,
    words,
    work,
)
from search.artifacts.folder import checkpoint_folder
from search.queue.slots import LEASE_S
from search.study.study import Study
from search.trials import RESUMED, WORKER
from tests.support.postgres import private_postgres
from training.checkpoint import load_checkpoint
from training.errors import CheckpointError
from training.trainer import CHECKPOINT

LIMIT_S = 600.0


def exactly_n(site: Site, quick: bool) -> Row:
    """Workers are killed at random moments and replaced; the budget is met exactly."""
    n_workers, budget, kills = (3, 10, 4) if quick else (8, 100, 20)
    study = make(site, spec_of(site, "exactly", budget, epochs=2))
    draw = random.Random(4)
    alive = [work(site, study.name, f"{i}.log", lease_s=10) for i in range(n_workers)]
    everyone = list(alive)
    killed = 0
    with ended(everyone):
        until("a trial under way", lambda: bool(trials(site, study)), LIMIT_S)
        pause_s = 0.0
        while killed < kills and any(process.poll() is None for process in alive):
            time.sleep(pause_s)
            at_work = {row.pid for row in slots(site, study) if row.state in ("claimed", "telling")}
            targets = [i for i, process in enumerate(alive) if process.poll() is None and process.pid in at_work]
            if targets:
                i = draw.choice(targets)
                alive[i].kill()
                killed += 1
                alive[i] = work(site, study.name, f"{i}.log", lease_s=10)
                everyone.append(alive[i])
            pause_s = draw.uniform(0.0, 1.0 if quick else 6.0)
        codes = wait_all(alive, LIMIT_S)
        again = [work(site, study.name, "again.log") for _ in range(2)]
        everyone += again
        codes += wait_all(again, LIMIT_S)
    found = states(site, study)
    n_finished = sum(found[state] for state in FINISHED)
    ends = Counter(line.split()[1] for line in words(site).splitlines() if " complete " in line)
    twice = sum(count > 1 for count in ends.values())
    in_slots = [row.trial for row in slots(site, study) if row.state == "finished"]
    left = found["RUNNING"] + found["WAITING"]
    return Row(
        f"exactly N: {n_workers} workers, budget {budget}",
        f"{killed} SIGKILLs at random moments of trials, then 2 workers more",
        f"{n_finished} finished, {twice} twice, {left} left running, {found['FAIL']} failed",
        killed == kills
        and n_finished == len(in_slots) == len(set(in_slots)) == budget
        and twice == left == 0
        and set(codes) == {0},
    )


def kill_anything(site: Site, quick: bool) -> Row:
    """A worker is killed in mid-epoch under `drivebeat launch`."""
    lease_s, epochs = LEASE_S, 8
    point = {"width": 8, "learning_rate": 1e-3}
    calm = make(site, spec_of(site, "calm", 1, epochs, enqueue=[point]))
    study = make(site, spec_of(site, "killed", 1, epochs, enqueue=[point]))
    launcher = [work(site, "calm", "calm.log")]
    with ended(launcher):
        wait_all(launcher, LIMIT_S)
        launcher.append(start(site, "killed", "launch", "--workers", "1", "--lease", str(lease_s), log="launch.log"))
        until("two epochs", lambda: n_reports(study, 0) >= 2, LIMIT_S)
        time.sleep(0.15)
        (row,) = slots(site, study)
        os.kill(row.pid, signal.SIGKILL)
        at_kill = _reports(site, study.identity)
        took_s = until("the trial runs again", lambda: RESUMED in trials(site, study)[0].user_attrs, 60)
        until("another epoch", lambda: len(_reports(site, study.identity)) > len(at_kill), LIMIT_S, every_s=0.01)
        repeated = sum(a != b for a, b in zip(at_kill, _reports(site, study.identity), strict=False))
        codes = wait_all(launcher, LIMIT_S)
    (undisturbed,), (trial,) = trials(site, calm), trials(site, study)
    same = trial.value == undisturbed.value and trial.intermediate_values == undisturbed.intermediate_values
    return Row(
        "kill anything: the trial goes on by itself within lease + 5 s",
        f"SIGKILL in mid-epoch under `drivebeat launch --workers 1 --lease {lease_s:g}`",
        f"runs again after {took_s:.1f} s, {repeated} finished epochs repeated beside the one broken off, "
        f"values {'bit-equal' if same else 'DIFFER'}",
        took_s <= lease_s + 5 and repeated == 0 and same and codes == [0, 0],
    )


def _reports(site: Site, study: str) -> list[dict[str, float]]:
    """The reports in trial 0's checkpoint, seconds included, by which an epoch done again would differ."""
    path = checkpoint_folder(site.artifacts, study, 0) / CHECKPOINT
    try:
        return list(json.loads(load_checkpoint(path, torch.device("cpu"))["reports"]))
    except CheckpointError:
        return []


def fencing(site: Site, quick: bool) -> Row:
    """A worker sleeps past its lease, and wakes when another one has finished its trial."""
    lease_s = 2.0
    # more trials than the other worker can run until SIGTERM ends it, on a busy machine too
    budget = 8
    study = make(site, spec_of(site, "fenced", budget, epochs=6))
    late = work(site, study.name, "late.log", lease_s)
    everyone = [late]
    with ended(everyone):
        until("two epochs", lambda: n_reports(study, 0) >= 2, LIMIT_S)
        late.send_signal(signal.SIGSTOP)
        everyone.append(work(site, study.name, "other.log", lease_s))
        until("another finishes it", lambda: trials(site, study)[0].state.name == "COMPLETE", LIMIT_S)
        everyone[1].terminate()
        wait_all(everyone[1:], 30)
        before = trials(site, study)[0]
        late.send_signal(signal.SIGCONT)
        codes = wait_all(everyone, LIMIT_S)
    refused = "trial 0 was taken over by another worker" in words(site, "late.log")
    after = trials(site, study)
    by_late = sum(f":{late.pid}:" in trial.user_attrs[WORKER] for trial in after)
    stands = (before.value, before.user_attrs[WORKER]) == (after[0].value, after[0].user_attrs[WORKER])
    return Row(
        "fencing: a late result is refused, and the late worker carries on",
        f"SIGSTOP in training past a lease of {lease_s:g} s, another worker finishes the trial, SIGCONT",
        f"{'refused' if refused else 'NOT refused'}, the other's result {'stands' if stands else 'LOST'}, "
        f"the late worker finished {by_late} trials more",
        refused and stands and by_late >= 1 and codes == [0, 0] and states(site, study) == {"COMPLETE": budget},
    )


def database_away(site: Site, quick: bool) -> Row:
    """The server is stopped twice in mid-search."""
    assert site.server is not None
    away_s, budget, epochs = (5.0, 4, 6) if quick else (30.0, 16, 20)
    study = make(site, spec_of(site, "away", budget, epochs))
    workers = [work(site, study.name, f"{i}.log", lease_s=10) for i in range(2)]
    with ended(workers):
        for stop in range(2):
            enough = 3 * (stop + 1)
            until("reports", partial(_reported, study, budget, enough), LIMIT_S)
            site.server.stop()
            time.sleep(away_s)
            site.server.start()
        codes = wait_all(workers, LIMIT_S)
    found = trials(site, study)
    complete = [trial for trial in found if trial.state.name == "COMPLETE"]
    lost = sum(epochs - len(trial.intermediate_values) for trial in complete)
    return Row(
        "a database that goes away costs nothing",
        f"server stopped for {away_s:g} s, twice; 2 workers, {budget} trials of {epochs} epochs",
        f"{sum(code != 0 for code in codes)} workers died, {len(complete)} complete, {lost} reports lost",
        codes == [0, 0] and lost == 0 and len(complete) == len(found) == budget,
    )


def _reported(study: Study, budget: int, enough: int) -> bool:
    return sum(n_reports(study, number) for number in range(budget)) > enough


def stop_in_order(site: Site, quick: bool) -> Row:
    """SIGTERM in training."""
    study = make(site, spec_of(site, "stopped", 1, epochs=8))
    workers = [work(site, study.name, "first.log")]
    with ended(workers):
        until("two epochs", lambda: n_reports(study, 0) >= 2, LIMIT_S)
        workers[0].terminate()
        took_s = until("its end", lambda: workers[0].poll() is not None, 60)
        (row,) = slots(site, study)
        workers.append(work(site, study.name, "second.log"))
        codes = wait_all(workers, LIMIT_S)
    (trial,) = trials(site, study)
    resumed = trial.user_attrs.get(RESUMED)
    return Row(
        "SIGTERM: exit 0 within 10 s, the trial goes on elsewhere",
        "SIGTERM in training, then another worker",
        f"exit code {codes[0]} after {took_s:.1f} s, slot {row.state}, then {trial.state.name.lower()}",
        codes == [0, 0] and took_s < 10 and row.state == "open" and resumed == 1 and trial.state.name == "COMPLETE",
    )


Scenario = Callable[[Site, bool], Row]
SCENARIOS: tuple[Scenario, ...] = (
    exactly_n, foreign_acts, kill_anything, cold_start, exactly_once, fencing, database_away, stop_in_order, memory,
    disk_full,
)  # fmt: skip
PROCESSES_ONLY = (memory, disk_full)  # the database has no part in these: SQLite will do


@contextmanager
def sites(database: str, recordings: Path) -> Iterator[Callable[[Scenario], Site]]:
    """A function that gives each scenario a folder and an empty database of its own."""
    with ExitStack() as stack:
        server = stack.enter_context(private_postgres()) if database == "postgresql" else None

        def site(scenario: Scenario) -> Site:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-chaos-")))
            url = f"sqlite:///{folder}/studies.db" if server is None else server.new_database()
            return Site(folder, url, recordings, server)

        yield site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small versions of all")
    parser.add_argument("--only", action="append", choices=[s.__name__ for s in SCENARIOS], help="may be repeated")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # nothing is to outlive it
    broken = 0
    with tempfile.TemporaryDirectory(prefix="drivebeat-chaos-") as folder:
        recordings = record(Path(folder))
        for database in ("sqlite", "postgresql") if asked.database == "both" else (asked.database,):
            with sites(database, recordings) as site:
                for scenario in SCENARIOS:
                    apart = (scenario is database_away and database == "sqlite") or (
                        scenario in PROCESSES_ONLY and database == "postgresql" and asked.database == "both"
                    )
                    if apart or (asked.only and scenario.__name__ not in asked.only):
                        continue
                    at = site(scenario)
                    try:
                        row = scenario(at, asked.quick)
                    except TimeoutError as error:
                        row = Row(scenario.__name__, "", f"{error}", False)
                    broken += not row.ok
                    _say(row, at, asked.json)
    sys.exit(1 if broken else 0)


def _say(row: Row, site: Site, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"database": site.database} | asdict(row)), flush=True)
    else:
        held = "held" if row.ok else "BROKEN"
        print(f"| {row.promise} | {row.done} | {row.result} | {site.database}: {held} |", flush=True)
    if not row.ok:
        unusual = re.sub(r"^trial \d+ (complete|pruned) .*\n", "", words(site), flags=re.MULTILINE)
        print(unusual[-6000:], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
