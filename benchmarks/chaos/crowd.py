"""Scenarios of chaos.py with many processes at once: on an empty database, and on a queue of points."""

import os
import random
import re
import subprocess
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter

import sqlalchemy

from benchmarks.chaos.site import Row, Site, ended, make, spec_of, start, states, trials, wait_all, words, work
from search.storage.open import open_engine, open_storage
from search.storage.tables import SCHEMA
from search.study.spec import StudySpec
from search.study.study import load_study
from tests.support.waiting import free_port

LIMIT_S = 1800.0


def cold_start(site: Site, quick: bool) -> Row:
    """Processes make and open schema and study at the same moment; forked, so that no import spreads them in time."""
    n = 8 if quick else 64
    spec = spec_of(site, "cold", 1, epochs=1)
    start_at = time.time() + 1.0
    children = [_child(site, spec, start_at) for _ in range(n)]
    crashed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    engine = open_engine(site.url)
    with engine.connect() as connection:
        versions = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(SCHEMA)).scalar_one()
        names = connection.execute(sqlalchemy.text("SELECT study_name FROM studies")).scalars().all()
        budgets = connection.execute(sqlalchemy.text("SELECT count(*) FROM drivebeat_studies")).scalar_one()
    return Row(
        f"cold start: {n} processes on an empty database",
        "each makes the schema and the study and loads it, all at one moment",
        f"{crashed} crashed, {versions} schema, {len(names)} study",
        crashed == 0 and versions == budgets == 1 and list(names) == ["cold"],
    )


def _child(site: Site, spec: StudySpec, start_at: float) -> int:
    child = os.fork()
    if child:
        return child
    try:
        time.sleep(max(0.0, start_at - time.time()))
        make(site, spec)
        load_study("cold", open_storage(site.url))
        os._exit(0)
    except BaseException:
        with (site.folder / f"{os.getpid()}.log").open("w") as log:
            traceback.print_exc(file=log)
        os._exit(1)


def exactly_once(site: Site, quick: bool) -> Row:
    """Many workers at a queue of points while the dashboard polls the database."""
    n_points, n_workers = (12, 4) if quick else (500, 16)
    draw = random.Random(7)
    points = [{"width": 8, "learning_rate": draw.uniform(1e-3, 2e-3)} for _ in range(n_points)]
    brief = {"steps_per_epoch": 5}
    study = make(site, spec_of(site, "queue", n_points, epochs=1, enqueue=points, fixed=brief))
    port = free_port()
    dashboard = _dashboard(site, port)
    workers = [work(site, study.name, f"{i}.log") for i in range(n_workers)]
    polls = errors = 0
    began = time.monotonic()
    with ended([dashboard, *workers]):
        while any(worker.poll() is None for worker in workers) and time.monotonic() - began < LIMIT_S:
            time.sleep(0.5)
            try:
                address = f"http://127.0.0.1:{port}/api/studies/{study.optuna._study_id}?after=0"
                with urllib.request.urlopen(address, timeout=30) as answer:
                    answer.read()
                polls += 1
            except urllib.error.HTTPError:
                errors += 1
            except OSError:  # it does not listen yet
                errors += polls > 0
        codes = wait_all(workers, 10)
    found = trials(site, study)
    ran = Counter(match[1] for match in re.finditer(r"^trial (\d+) complete", words(site), re.MULTILINE))
    once = sum(count == 1 for count in ran.values())
    rates = {trial.params["learning_rate"] for trial in found}
    asked_for = {point["learning_rate"] for point in points}
    n_complete = states(site, study)["COMPLETE"]
    locked = len(re.findall("locked|deadlock", words(site)))
    return Row(
        f"exactly once: {n_points} enqueued points, {n_workers} workers",
        f"the dashboard polled every 0.5 s ({polls} times)",
        f"{once} ran once, {len(ran) - once} oftener, {locked} lock errors, {errors} failed polls"
        + _unlike("trials", len(found), n_points)
        + _unlike("of the points' values", len(rates & asked_for), n_points)
        + _unlike("complete", n_complete, n_points)
        + _unlike("workers ended with 0", codes.count(0), n_workers),
        once == len(ran) == len(found) == len(rates) == n_points
        and rates == asked_for
        and n_complete == n_points
        and locked == errors == 0
        and polls > 0
        and set(codes) == {0},
    )


def _unlike(what: str, found: int, wanted: int) -> str:
    """Said of a number only where it is not what it should be."""
    return "" if found == wanted else f", {found} {what} instead of {wanted}"


def _dashboard(site: Site, port: int) -> subprocess.Popen[bytes]:
    return start(site, "--port", "dashboard", str(port), log="dashboard.log")
