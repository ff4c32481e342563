"""Compare the dashboard with optuna-dashboard: `python -m benchmarks.dashboard [--quick] [--postgres]`.

A study of 10,000 trials of 10 reports in SQLite, or on a PostgreSQL server of its own, served by `optuna-dashboard URL`
and by `drivebeat dashboard`, each in a process of its own, asked for what a browser asks for: the study's page when it
is first seen, and its refresh. Bytes are those of the bodies over the wire. The server's processor time stands beside
each: on a busy machine it is the one to read.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from sqlalchemy import insert, make_url

from search.storage.open import driver_url, open_engine, open_storage
from tests.support.postgres import private_postgres
from tests.support.program import command as program
from tests.support.program import environment
from tests.support.waiting import free_port, wait_for_port

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "gain": FloatDistribution(0.25, 1.0),
    "peak_weight": FloatDistribution(0.0, 1.0),
    "nhead": CategoricalDistribution((2, 4, 8)),
    "layers": IntDistribution(1, 6),
}
REFRESHES = 3
PAUSE_S = 11.0  # the stock dashboard answers from memory for ten seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """What one way of looking at the page took: seconds, those of the server's processor, bytes over the wire."""

    seconds: float
    cpu_s: float
    n_bytes: int


def fill(url: str, n_trials: int, n_reports: int, seed: int = 0) -> int:
    """Make the study `large` of finished trials straight in Optuna's tables; its id."""
    study = optuna.create_study(storage=open_storage(url), study_name="large", direction="maximize")
    rng = np.random.default_rng(seed)
    began = datetime(2026, 1, 1)
    ids = range(1, n_trials + 1)
    params, distributions = _points(rng, n_trials), {k: distribution_to_json(d) for k, d in SPACE.items()}
    scores = rng.normal(-2.0, 2.0, (n_trials, 1)) + np.cumsum(rng.normal(0.2, 0.3, (n_trials, n_reports)), axis=1)
    rows: list[tuple[Any, list[dict[str, Any]]]] = [
        (
            models.TrialModel,
            [
                {
                    "trial_id": i,
                    "number": i - 1,
                    "study_id": study._study_id,
                    "state": "COMPLETE",
                    "datetime_start": began + timedelta(minutes=i),
                    "datetime_complete": began + timedelta(minutes=i + 3, seconds=i % 60),
                }
                for i in ids
            ],
        ),
        (
            models.TrialValueModel,
            [{"trial_id": i, "objective": 0, "value": float(scores[i - 1].max()), "value_type": "FINITE"} for i in ids],
        ),
        (
            models.TrialParamModel,
            [
                {"trial_id": i, "param_name": k, "param_value": float(v[i - 1]), "distribution_json": distributions[k]}
                for i in ids
                for k, v in params.items()
            ],
        ),
        (
            models.TrialIntermediateValueModel,
            [
                {
                    "trial_id": i,
                    "step": step,
                    "intermediate_value": float(scores[i - 1, step]),
                    "intermediate_value_type": "FINITE",
                }
                for i in ids
                for step in range(n_reports)
            ],
        ),
    ]
    engine = open_engine(url)
    with engine.begin() as connection:
        for model, values in rows:
            connection.execute(insert(model), values)
    engine.dispose()
    return study._study_id


def _points(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Name -> its internal values, one a trial."""
    return {
        "learning_rate": 10 ** rng.uniform(-5, -2, n),
        "gain": rng.uniform(0.25, 1.0, n),
        "peak_weight": rng.uniform(0.0, 1.0, n),
        "nhead": rng.integers(0, 3, n),
        "layers": rng.integers(1, 7, n),
    }


class Browser:
    """One connection that asks as a browser does: compressed, and again only for what has changed."""

    def __init__(self, port: int, server: int) -> None:
        self.port, self.server = port, server
        self.tags: dict[str, str] = {}

    def see(self, *paths: str) -> Seen:
        """Fetch `paths` one after the other."""
        began, cpu_s, n_bytes = time.perf_counter(), _cpu_s(self.server), 0
        for path in paths:
            headers = {"Accept-Encoding": "gzip, deflate"}
            if path in self.tags:
                headers["If-None-Match"] = self.tags[path]
            connection = HTTPConnection("127.0.0.1", self.port, timeout=600)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            if answer.status not in (200, 304):
                raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
            if answer.headers["Content-Encoding"] == "gzip":
                zlib.decompress(body, 31)
            if tag := answer.headers["ETag"]:
                self.tags[path] = tag
            n_bytes += len(body)
        return Seen(time.perf_counter() - began, _cpu_s(self.server) - cpu_s, n_bytes)


def _cpu_s(process: int) -> float:
    """Processor seconds that a process has had (proc(5): fields 14 and 15); NaN where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(command: Sequence[str], says: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run a server until it says its port; yield that and its process."""
    there = environment(PYTHONUNBUFFERED="1")
    server = subprocess.Popen(
        command, cwd=folder, env=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    try:
        heard = []
        for line in server.stdout:
            heard.append(line)
            if found := re.search(says, line):
                port = int(found[1])
                wait_for_port(port)  # the stock server says that it listens before it does
                yield port, server.pid
                return
        raise RuntimeError(f"{' '.join(command)}: {''.join(heard)}")
    finally:
        server.kill()
        server.communicate()


def look(port: int, server: int, study: int, n_trials: int, pause_s: float) -> tuple[Seen, ...]:
    """A view of a study's page right after the start, a first view after that by another browser, and the median of
    refreshes."""
    page = (f"/dashboard/studies/{study}", "/static/bundle.js", "/api/meta", "/api/studies")
    api = f"/api/studies/{study}"
    whole = (*page, f"{api}?after=0", f"{api}/param_importances")
    browser = Browser(port, server)
    first = browser.see(*whole)
    second = Browser(port, server).see(*whole)
    refreshes = []
    for _ in range(REFRESHES):
        time.sleep(pause_s)
        refreshes.append(browser.see(f"{api}?after={n_trials}"))
    refresh = Seen(
        *(median(column) for column in zip(*((r.seconds, r.cpu_s, r.n_bytes) for r in refreshes), strict=True))
    )
    return first, second, refresh


def compare(
    url: str, folder: Path, n_trials: int, n_reports: int, pause_s: float, log: Callable[[str], None] = print
) -> None:
    """Fill the empty database at `url` and print the table; the servers run in `folder`."""
    study = fill(url, n_trials, n_reports)
    stock = [
        str(Path(sys.executable).parent / "optuna-dashboard"),
        driver_url(url),
        "--server",
        "wsgiref",
        "--port",
        str(free_port()),
    ]
    ours = program("dashboard", "--storage", url, "--port", "0")
    log(f"{n_trials:,} trials of {n_reports} reports, {make_url(url).get_backend_name()}, one browser over loopback")
    log(f"{'':24}{'stock':>34}{'drivebeat':>34}")
    found = []
    for command, says in ((stock, r"Listening on http://[^:]+:(\d+)/"), (ours, r"http://127\.0\.0\.1:(\d+)/")):
        with served(command, says, folder) as (port, server):
            found.append(look(port, server, study, n_trials, pause_s))
    for i, what in enumerate(("view right after start", "first view", "refresh")):
        log(f"{what:24}" + "".join(f"{_cell(side[i]):>34}" for side in found))


@contextlib.contextmanager
def database(folder: Path, on_postgres: bool) -> Iterator[str]:
    """The URL of an empty database."""
    if not on_postgres:
        yield f"sqlite:///{folder}/studies.db"
        return
    with private_postgres() as server:
        yield server.url


def _cell(seen: Seen) -> str:
    return f"{seen.seconds:.2f} s ({seen.cpu_s:.2f} cpu) {seen.n_bytes / 1e6:.2f} MB"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 trials, no pauses: does it run at all?")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL instead of SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, database(Path(name), asked.postgres) as url:
        if asked.quick:
            compare(url, Path(name), 200, 3, 0.0)
        else:
            compare(url, Path(name), asked.trials, asked.reports, PAUSE_S)


if __name__ == "__main__":
    main()
