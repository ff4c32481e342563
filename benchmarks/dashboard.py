"""The dashboard beside the stock one: `python -m benchmarks.dashboard [--quick]`.

A study of 10,000 trials of 10 reports in SQLite, served by `optuna-dashboard URL` and by `drivebeat dashboard`, each in
a process of its own, asked for what a browser asks for: the study's page when it is first seen, and its refresh. Bytes
are those of the bodies over the wire.
"""

import argparse
import contextlib
import os
import re
import socket
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
from sqlalchemy import insert

from search.storage import open_engine, open_storage

REPOSITORY = Path(__file__).parents[1]
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
    """What one way of looking at the page took: seconds, and bytes over the wire."""

    seconds: float
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

    def __init__(self, port: int) -> None:
        self.port = port
        self.tags: dict[str, str] = {}

    def see(self, *paths: str) -> Seen:
        """Fetch `paths` one after the other."""
        began, n_bytes = time.perf_counter(), 0
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
        return Seen(time.perf_counter() - began, n_bytes)


@contextlib.contextmanager
def served(command: Sequence[str], says: str, folder: Path) -> Iterator[int]:
    """Run a server until it says its port; yield that."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    try:
        heard = []
        for line in server.stdout:
            heard.append(line)
            if found := re.search(says, line):
                port = int(found[1])
                _await(port)
                yield port
                return
        raise RuntimeError(f"{' '.join(command)}: {''.join(heard)}")
    finally:
        server.kill()
        server.communicate()


def _await(port: int) -> None:
    """Wait until the port answers: the stock server says that it listens before it does."""
    for _ in range(600):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"port {port} does not answer")


def look(port: int, study: int, n_trials: int, pause_s: float) -> tuple[Seen, ...]:
    """A view of a study's page right after the start, a first view after that by another browser, and the median of
    refreshes."""
    page = (f"/dashboard/studies/{study}", "/static/bundle.js", "/api/meta", "/api/studies")
    api = f"/api/studies/{study}"
    whole = (*page, f"{api}?after=0", f"{api}/param_importances")
    browser = Browser(port)
    first = browser.see(*whole)
    second = Browser(port).see(*whole)
    refreshes = []
    for _ in range(REFRESHES):
        time.sleep(pause_s)
        refreshes.append(browser.see(f"{api}?after={n_trials}"))
    return first, second, Seen(median(r.seconds for r in refreshes), max(r.n_bytes for r in refreshes))


def compare(n_trials: int, n_reports: int, pause_s: float, say: Callable[[str], None] = print) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/studies.db"
        study = fill(url, n_trials, n_reports)
        # both take a free port: 0 is told to the stock one through the same option
        stock = [
            str(Path(sys.executable).parent / "optuna-dashboard"),
            url,
            "--server",
            "wsgiref",
            "--port",
            str(_free_port()),
        ]
        ours = [sys.executable, "-m", "search.cli", "dashboard", "--storage", url, "--port", "0"]
        say(f"{n_trials:,} trials of {n_reports} reports, SQLite, one browser over loopback")
        say(f"{'':24}{'stock':>20}{'drivebeat':>20}")
        found = []
        for command, says in ((stock, r"Listening on http://[^:]+:(\d+)/"), (ours, r"http://127\.0\.0\.1:(\d+)/")):
            with served(command, says, folder) as port:
                found.append(look(port, study, n_trials, pause_s))
        for i, what in enumerate(("view right after start", "first view", "refresh")):
            cells = "".join(f"{_cell(side[i]):>20}" for side in found)
            say(f"{what:24}{cells}")


def _free_port() -> int:
    from search.dashboard import bound

    with bound("127.0.0.1", 0) as listening:
        port: int = listening.getsockname()[1]
        return port


def _cell(seen: Seen) -> str:
    return f"{seen.seconds:.2f} s {seen.n_bytes / 1e6:.2f} MB"


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 trials, no pauses: does it run at all?")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=10)
    asked = parser.parse_args()
    if asked.quick:
        compare(200, 3, 0.0)
    else:
        compare(asked.trials, asked.reports, PAUSE_S)


if __name__ == "__main__":
    main()
