"""A database, an export and a run's folder made before the packages moved are read, resumed and exported as they were.

What they are and how they were made: tests/golden/README.md.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

GOLDEN = Path(__file__).parents[1] / "golden"
STUDY = "golden-autoencoder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden files, for commands to work in."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    return tmp_path / "golden"


@pytest.fixture
def drivebeat_in(folder: Path) -> Callable[..., str]:
    """Run a command in that folder, as it was run when the files were made; its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIVEBEAT_")}
    environment = {**kept, "DRIVEBEAT_CACHE": "", "DRIVEBEAT_COMMIT": "3f21f47", "COLUMNS": "200"}

    def run(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "drivebeat"), *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _as_of_today(text: bytes) -> bytes:
    """The golden export with the versions of the packages installed now, and the section `final` of today's exports."""
    for name, then in yaml.safe_load(text)["provenance"]["versions"].items():
        now = version(name) if name != "python" else sys.version.split()[0]
        text = text.replace(f"    {name}: {then}\n".encode(), f"    {name}: {now}\n".encode())
    final = b"final:\n  epochs: 9\n  patience: null\n  ema_decay: 0.0\n  seeds: 1\n"
    return text.replace(b"provenance:\n", final + b"provenance:\n")


def _exported(run: Callable[..., str], folder: Path) -> bytes:
    run("export", STUDY, "-o", "again.yaml")
    return (folder / "again.yaml").read_bytes()


@pytest.mark.timeout(120)
def test_database_and_export_of_before(drivebeat_in: Callable[..., str], folder: Path) -> None:
    """The list of studies counts the old trials; the export is equal to the last byte."""
    listed = drivebeat_in("show")
    assert STUDY in listed and "golden-wave_unet" in listed
    assert _exported(drivebeat_in, folder) == _as_of_today((GOLDEN / "best.yaml").read_bytes())


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_search_of_before_is_resumed(drivebeat_in: Callable[..., str], folder: Path) -> None:
    """The killed trial goes on from its checkpoint; the budget is met; the best trial and its export stay."""
    said = drivebeat_in("work", STUDY, "--lease", "3", "--threads", "1")
    assert "trial 4 pruned" in said
    with sqlite3.connect(folder / "studies.db") as database:
        states = [row[0] for row in database.execute("select state from trials where study_id = 1 order by number")]
        reports = database.execute(
            "select step, intermediate_value from trial_intermediate_values join trials using (trial_id) "
            "where number = 4 and study_id = 1 order by step"
        ).fetchall()
    database.close()
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert reports[0] == (0, -7.757953617703549), "the first epoch was not trained again"
    assert [step for step, _ in reports] == [0, 1]
    assert _exported(drivebeat_in, folder) == _as_of_today((GOLDEN / "best.yaml").read_bytes())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_run_of_before_is_continued_and_evaluated(drivebeat_in: Callable[..., str], folder: Path) -> None:
    """A finished run says its score again without training, and is as_judged with its weights."""
    before = (folder / "run" / "weights.safetensors").read_bytes()
    done = json.loads(drivebeat_in("train", "best.yaml", "-o", "run", "--json"))
    assert done["best_score"] == pytest.approx(3.3067440539935795, abs=1e-12)
    assert (folder / "run" / "weights.safetensors").read_bytes() == before
    rows = json.loads(drivebeat_in("evaluate", "run", "--json"))["rows"]
    assert {row["method"] for row in rows} >= {"autoencoder", "identity", "zeros"}
