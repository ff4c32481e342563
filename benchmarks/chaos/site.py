"""The environment of chaos.py: a database, a tiny study that trains, worker processes and their results."""

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.trial import FrozenTrial

from search.storage.open import open_engine, open_storage
from search.storage.tables import SLOTS
from search.study.spec import StudySpec, check
from search.study.study import Study, create
from tests.support.postgres import Postgres
from tests.support.program import command, environment
from tests.support.study import tiny_data, tiny_recordings, tiny_study
from tests.support.waiting import wait_for
from training.decode import decode

FINISHED = ("COMPLETE", "PRUNED")


@dataclass(frozen=True, slots=True)
class Site:
    """A folder and an empty database. server: PostgreSQL's, which can be stopped; None for SQLite."""

    folder: Path
    url: str
    recordings: Path
    server: Postgres | None

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def database(self) -> str:
        return "SQLite" if self.server is None else "PostgreSQL"


@dataclass(frozen=True, slots=True)
class Row:
    """A promise, what was done to break it, what came of it, and whether it held."""

    promise: str
    done: str
    result: str
    ok: bool


def record(folder: Path) -> Path:
    """Half a minute of heart sounds at rest and of driving, generated into `folder`."""
    return tiny_recordings(folder)


def spec_of(site: Site, name: str, trials: int, epochs: int, **changes: Any) -> StudySpec:
    """A study of tiny autoencoders, about 0.3 s an epoch on one core; `changes` replace sections of its file."""
    fixed: dict[str, Any] = {
        "levels": 2,
        "kernel": 3,
        "batch_size": 8,
        "steps_per_epoch": 60,
        "gain_ramp": "none",
        "threads": 1,
    }
    ranges = {"width": {"choices": [8, 16]}} | changes.pop("ranges", {})
    fixed |= changes.pop("fixed", {})
    sections = {
        "name": name,
        "epochs": epochs,
        "fixed": {key: value for key, value in fixed.items() if key not in ranges},
        "ranges": ranges,
        "pruner": {"name": "none"},
        "budget": {"trials": trials},
        **changes,
    }
    document = tiny_study(tiny_data(site.recordings), **sections)
    return check(decode(StudySpec, document, name), name)


def make(site: Site, spec: StudySpec) -> Study:
    """The study of `spec` in the database."""
    return create(spec, open_storage(site.url), open_engine(site.url))[0]


def start(site: Site, name: str, *arguments: str, log: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process of `drivebeat ARGUMENTS` on the study, its words in the file `log` of the folder."""
    there = environment(
        DRIVEBEAT_STORAGE=site.url,
        PYTHONUNBUFFERED="1",
        OMP_NUM_THREADS="1",
        DRIVEBEAT_ARTIFACTS=str(site.artifacts),
    )
    with (site.folder / log).open("ab") as file:
        words = command(arguments[0], name, *arguments[1:])
        return subprocess.Popen(words, env=there, cwd=site.folder, stdout=file, stderr=subprocess.STDOUT, **options)


def work(site: Site, name: str, log: str, lease_s: float = 30.0, **options: Any) -> subprocess.Popen[bytes]:
    """A worker."""
    return start(site, name, "work", "--threads", "1", "--lease", str(lease_s), log=log, **options)


@contextlib.contextmanager
def ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """On leaving none of `processes` is alive, whatever happened."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


def wait_all(processes: list[subprocess.Popen[bytes]], limit_s: float) -> list[int | None]:
    """The exit codes; None for one that has not ended within limit_s."""
    deadline = time.monotonic() + limit_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.01, deadline - time.monotonic()))
    return [process.poll() for process in processes]


def until(what: str, happens: Callable[[], bool], limit_s: float, every_s: float = 0.05) -> float:
    """Wait for it; the seconds it took. Raises TimeoutError."""
    began = time.monotonic()
    wait_for(happens, limit_s, every_s, what)
    return time.monotonic() - began


def trials(site: Site, study: Study) -> list[FrozenTrial]:
    """All trials, read afresh."""
    return open_storage(site.url).get_all_trials(study.optuna._study_id)


def n_reports(study: Study, number: int) -> int:
    """Return the number of reports of the trial; 0 before it exists."""
    found = study.optuna.get_trials(deepcopy=False)
    return len(found[number].intermediate_values) if number < len(found) else 0


def slots(site: Site, study: Study) -> list[Any]:
    """The rows of the study's slots."""
    engine = open_engine(site.url)
    with engine.begin() as connection:
        rows = connection.execute(sqlalchemy.select(SLOTS).where(SLOTS.c.study == study.identity)).all()
    engine.dispose()
    return list(rows)


def states(site: Site, study: Study) -> Counter[str]:
    """How many trials are in which state."""
    return Counter(trial.state.name for trial in trials(site, study))


def words(site: Site, pattern: str = "*.log") -> str:
    """All logs."""
    return "".join(path.read_text(errors="replace") for path in sorted(site.folder.glob(pattern)))
