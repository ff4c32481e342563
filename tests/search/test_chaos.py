"""The search's promises under fire, small: real processes are killed, stopped and cut off.
docs/measurements/reliability.md has the full runs."""

import json
import subprocess
import sys

import pytest

from tests.support.program import ROOT, environment

BOTH = ("sqlite", "postgresql")


@pytest.mark.slow
@pytest.mark.timeout(600)  # real processes on two cores that others may share
@pytest.mark.parametrize(
    ("scenario", "database"),
    [
        (scenario, database)
        for scenario in ("exactly_n", "foreign_acts", "kill_anything", "fencing", "cold_start")
        for database in BOTH
    ]
    + [("exactly_once", "sqlite"), ("database_away", "postgresql")]
    + [(scenario, "sqlite") for scenario in ("stop_in_order", "memory", "disk_full")],
)
def test_the_promise_holds(scenario: str, database: str) -> None:
    """What is done, and what must come of it, stands in the scenario of `python -m benchmarks.chaos`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--quick", "--json", "--only", scenario, "--database", database],
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["ok"] for row in rows] == [True], f"{rows}\n{done.stderr[-6000:]}"
