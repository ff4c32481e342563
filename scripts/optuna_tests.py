"""Run Optuna's own tests on RDBStorage and on our storage, and print which pass on the first alone.

    python -m scripts.optuna_tests [pytest options]

The tests come from the source distribution of the installed Optuna, which pip downloads into a temporary folder. Each
run is a pytest process of its own, and takes some minutes. In the second one, Optuna's StorageSupplier gives out our
storage (a FastStorage on a SQLite file) wherever it would give out an RDBStorage, with or without Optuna's cache, and
behind the gRPC server. Tests of heartbeats are left out, for our storage has none: slots have leases. The tests in
which several processes share a database use the one of the environment's TEST_DB_URL, or a SQLite file.

Exit code 0 where all tests that pass on RDBStorage pass on ours, but for those of EXPECTED; 1 otherwise.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
import pytest

from search.storage.open import open_storage

ROOT = Path(__file__).parents[1]
FOLDERS = ("storages_tests", "study_tests", "trial_tests", "pruners_tests")
HEARTBEATS = "storages_tests/test_heartbeat.py"
WITH_SERVER = "storages_tests/test_with_server.py"  # its tests share the database of TEST_DB_URL among processes
_OWN = "calls a private method of RDBStorage, after `assert isinstance(storage, RDBStorage)`"
_REUSED = "SQLite reuses ids under RDBStorage as well, but the test exempts RDBStorage by its class"
EXPECTED = MappingProxyType(
    {
        "storages_tests/test_storages.py::test_get_trials_included_trial_ids": _OWN,
        "storages_tests/test_storages.py::test_get_trials_trial_id_greater_than": _OWN,
        "storages_tests/test_storages.py::TestStorage::test_create_new_study_unique_id[sqlite]": _REUSED,
        "storages_tests/test_storages.py::TestStorage::test_create_new_study_unique_id[cached_sqlite]": _REUSED,
    }
)
KINDS = ("sqlite", "cached_sqlite", "grpc_rdb")
OUTCOMES = "DRIVEBEAT_OPTUNA_TESTS_OUTCOMES"  # the file for a run's outcomes
OURS = "DRIVEBEAT_OPTUNA_TESTS_OURS"  # set where our storage takes the place of RDBStorage


def main(options: Sequence[str]) -> int:
    """Run the tests twice, print the figures, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="drivebeat-optuna-") as folder:
        tests = download(version("optuna"), Path(folder))
        extra = fakes(Path(folder))
        outcomes = {name: run(name, tests, extra, Path(folder), options) for name in ("RDBStorage", "ours")}
    stock, ours = outcomes["RDBStorage"], outcomes["ours"]
    print(f"optuna {version('optuna')}: {', '.join(FOLDERS)}")
    for name, found in outcomes.items():
        counts = Counter(outcome["outcome"] for outcome in found.values())
        print(f"{name}: {', '.join(f'{n} {outcome}' for outcome, n in sorted(counts.items()))}")
    print(f"{sum(outcome['substituted'] for outcome in ours.values())} tests used our storage in the second run")
    lost = [name for name in stock if _passes(stock, name) and not _passes(ours, name)]
    for name in lost:
        reason = EXPECTED.get(name) or ours.get(name, {}).get("reason", "not run")
        print(f"passes on RDBStorage only: {name}: {reason}")
    for name in ours:
        if _passes(ours, name) and not _passes(stock, name):
            print(f"passes on ours only: {name}: {stock.get(name, {}).get('reason', 'not run')}")
        elif "failed" == ours[name]["outcome"] == stock.get(name, {}).get("outcome"):
            print(f"fails on both: {name}: {stock[name]['reason']}")
    return int(not ours or not EXPECTED.keys() >= set(lost))


def download(release: str, folder: Path) -> Path:
    """Download Optuna's source distribution, and return its folder of tests."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-binary", ":all:", "--dest", folder, f"optuna=={release}"], check=True)
    with tarfile.open(folder / f"optuna-{release}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"optuna-{release}" / "tests"


def fakes(folder: Path) -> Path | None:
    """Install fakeredis, which optuna.testing.storages imports, where it is missing; return its folder."""
    if find_spec("fakeredis"):
        return None
    extra = folder / "extra"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(extra), "fakeredis[lua]"]
    subprocess.run(pip, check=True)
    return extra


def run(name: str, tests: Path, extra: Path | None, folder: Path, options: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run the tests once, and return the outcome of each by its node id."""
    outcomes = folder / f"{name}.json"
    database = folder / f"{name}.db"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, extra) if path),
        "TEST_DB_URL": os.environ.get("TEST_DB_URL", f"sqlite:///{database}"),
        OUTCOMES: str(outcomes),
    }
    if name == "ours":
        environment[OURS] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "scripts.optuna_tests", "-p", "no:cacheprovider"]
    command += [f"--rootdir={tests}", f"--ignore={HEARTBEATS}", *options, *FOLDERS]
    done = subprocess.run(command, cwd=tests, env=environment, check=False, capture_output=True, text=True)
    if not outcomes.exists():
        raise SystemExit(f"{name}: no outcomes, pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    found: dict[str, dict[str, Any]] = json.loads(outcomes.read_text())
    return found


def _passes(outcomes: Mapping[str, dict[str, Any]], name: str) -> bool:
    return name in outcomes and outcomes[name]["outcome"] == "passed"


# As a plugin of pytest (-p scripts.optuna_tests) this module replaces the storage and records the outcomes.


class _Recorder:
    """Records the outcome of each test, and whether our storage was used in it.

    n_given: how often our storage was given out.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.n_given = 0
        self._before = 0

    @pytest.hookimpl
    def pytest_runtest_logstart(self) -> None:
        self._before = self.n_given

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        lines = str(crash.message if crash else report.longrepr or "").splitlines() or [""]
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        substituted = self.n_given > self._before
        self.outcomes[report.nodeid] = {"outcome": outcome, "reason": lines[0][:200], "substituted": substituted}

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        Path(os.environ[OUTCOMES]).write_text(json.dumps(self.outcomes))


def _open(url: str) -> Any:
    """Open our storage, and leave Optuna's logging as it was, for tests compare what is logged."""
    verbosity = optuna.logging.get_verbosity()
    storage = open_storage(url)
    optuna.logging.set_verbosity(verbosity)
    return storage


class _Substitution:
    """Makes Optuna's tests use our storage."""

    def __init__(self, recorder: _Recorder) -> None:
        self.recorder = recorder

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Replace the function with which the tests of several processes open their database."""
        modules = {item.module for item in items if isinstance(item, pytest.Function) and WITH_SERVER in item.nodeid}
        for module in modules:
            module.get_storage = self._storage_of_url

    @contextmanager
    def _storage_of_url(self) -> Iterator[Any]:
        storage = _open(os.environ["TEST_DB_URL"])
        self.recorder.n_given += 1
        yield storage
        storage.remove_session()

    def replace_supplier(self) -> None:
        """Make StorageSupplier give out our storage, but Optuna's own with arguments: they are those of heartbeats."""
        from optuna.testing.storages import StorageSupplier
        from optuna.testing.tempfile_pool import NamedTemporaryFilePool

        enter, leave, recorder = StorageSupplier.__enter__, StorageSupplier.__exit__, self.recorder

        def give(self: Any) -> Any:
            if self.storage_specifier not in KINDS or self.extra_args:
                return enter(self)
            self.tempfile = NamedTemporaryFilePool().tempfile()
            self.drivebeat = _open(f"sqlite:///{self.tempfile.name}")
            recorder.n_given += 1
            behind = self.storage_specifier == "grpc_rdb"
            self.storage = self._create_proxy(self.drivebeat) if behind else self.drivebeat
            return self.storage

        def take(self: Any, *error: Any) -> None:
            if (ours := self.__dict__.pop("drivebeat", None)) is not None:
                self.storage_specifier = ""
                ours.remove_session()
            leave(self, *error)

        StorageSupplier.__enter__, StorageSupplier.__exit__ = give, take  # type: ignore[method-assign]


def pytest_configure(config: pytest.Config) -> None:
    """Begin recording, and replace the storage where OURS is set."""
    recorder = _Recorder()
    config.pluginmanager.register(recorder)
    if OURS in os.environ:
        substitution = _Substitution(recorder)
        substitution.replace_supplier()
        config.pluginmanager.register(substitution)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
