"""Run optuna-dashboard's own tests on optuna-dashboard and on `drivebeat dashboard`, and print the differences.

    python -m scripts.dashboard_tests SOURCE

SOURCE is a checkout of optuna-dashboard, or its git folder: the package on PyPI has no tests. Their `python_tests` are
copied to a temporary folder and run twice, each time on SQLite databases in place of Optuna's storage in memory: with
optuna-dashboard's application on Optuna's storage, and with the application that `drivebeat dashboard` serves on its
own. The exit code is 1 if a test fails on ours only, except those of EXPECTED.

Tests that count on the ids of the storage in memory, which begin with 0, fail on both. Those of preferences need
botorch.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from io import BytesIO
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest

TESTS = "python_tests"
# streamlit has no part in the application, and `drivebeat dashboard` sets up no language model.
SKIPPED = ("streamlit", "llm")
EXPECTED = MappingProxyType(
    {
        "test_upload_artifact_invalid_no_trial": "stock answers 500, which the test itself calls wrong; ours is 404",
        "test_study_artifact_store_none": "drivebeat dashboard always has an artifact store",
        "test_trial_artifact_store_none": "drivebeat dashboard always has an artifact store",
        "test_rename_study": "a renamed study keeps its id, so that its workers go on; stock makes a copy",
    }
)


class Served:
    """A plugin of pytest. It replaces the storage and the application in the tests, and collects their results.

    ours: whether by Drivebeat's, else by Optuna's on SQLite.
    folder: for the databases.
    """

    def __init__(self, ours: bool, folder: Path) -> None:
        self.ours, self.folder, self.results = ours, folder, dict[str, str]()
        self._numbers = count()

    def pytest_configure(self) -> None:
        import optuna
        from optuna_dashboard import _app

        storage, create_app = self.storage, self.application(_app.create_app)

        class Storage:
            """Stands for InMemoryStorage, and makes another storage."""

            def __new__(cls) -> Any:
                return storage()

        optuna.storages.InMemoryStorage = Storage  # type: ignore[misc]
        _app.create_app = create_app

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.partition(f"{TESTS}/")[2] or report.nodeid
            self.results[name] = "error" if report.when != "call" and report.failed else report.outcome

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.results[report.nodeid] = "error"

    def storage(self) -> Any:
        """Make an empty database, and open it."""
        from search.dashboard.storage import PageStorage
        from search.storage.open import open_engine, open_storage

        url = f"sqlite:///{self.folder}/{next(self._numbers)}.db"
        opened = open_storage(url, fast=False)
        return PageStorage(opened, open_engine(url)) if self.ours else opened

    def application(self, create_app: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands for `create_app` of optuna-dashboard in the tests."""
        from optuna_dashboard import _app

        from search.dashboard.server import build

        def create(storage: Any, artifact_store: Any = None, **named: Any) -> Any:
            if not self.ours:
                stock = create_app(storage, artifact_store, **named)
                return Application(stock, stock)
            made: list[Any] = []

            def record(*arguments: Any, **more: Any) -> Any:
                made.append(create_app(*arguments, **more))
                return made[-1]

            with patch.object(_app, "create_app", record):
                return Application(build(storage, artifact_store), made[0])

        return create


class Application:
    """An application with the cache that the tests clear. Ids in memory begin with 0, those of a database with 1."""

    def __init__(self, application: Any, stock: Any) -> None:
        self._application, self._inmemory_cache = application, stock._inmemory_cache

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["PATH_INFO"] = re.sub(r"(?<=/)0(?=/|$)", "1", environ["PATH_INFO"])
        return self._application(environ, start_response)


def copy_tests(source: Path, folder: Path) -> None:
    """Copy the tests of a checkout or a git folder into `folder`."""
    if (source / TESTS).is_dir():
        shutil.copytree(source / TESTS, folder / TESTS)
        return
    archive = subprocess.run(["git", "-C", source, "archive", "HEAD", TESTS], capture_output=True, check=False)
    if archive.returncode:
        sys.exit(f"{source}: no checkout and no git folder of optuna-dashboard; clone its repository from GitHub")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as opened:
        opened.extractall(folder, filter="data")


def run(folder: Path, ours: bool) -> dict[str, str]:
    """Run the tests in a process of its own. Return test -> passed, failed, skipped or error."""
    out = folder / f"results_{ours}.json"
    command = [sys.executable, "-m", "scripts.dashboard_tests", str(folder), "--run", "ours" if ours else "stock"]
    subprocess.run([*command, "--out", str(out)], check=False, stdout=subprocess.DEVNULL)
    found: dict[str, str] = json.loads(out.read_text())
    return found


def run_here(folder: Path, ours: bool, out: Path) -> None:
    """Run the tests in this process, and write the results."""
    databases = folder / ("ours" if ours else "stock")
    databases.mkdir()
    plugin = Served(ours, databases)
    ignored = [f"--ignore={folder / TESTS / name}" for name in SKIPPED]
    options = ["-q", "-c", "/dev/null", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    sys.path.insert(0, str(folder))
    pytest.main([*options, "--continue-on-collection-errors", *ignored, str(folder / TESTS)], plugins=[plugin])
    out.write_text(json.dumps(plugin.results))


def differences(stock: dict[str, str], ours: dict[str, str]) -> Iterable[tuple[str, str, str]]:
    """Yield test, stock result and our result where they differ."""
    for name in sorted(stock.keys() | ours.keys()):
        pair = stock.get(name, "missing"), ours.get(name, "missing")
        if pair[0] != pair[1]:
            yield name, *pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkout of optuna-dashboard, or its git folder")
    parser.add_argument("--run", choices=["ours", "stock"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_here(options.source, options.run == "ours", options.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_tests(options.source, Path(folder))
        stock, ours = (run(Path(folder), each) for each in (False, True))
    for title, found in (("stock", stock), ("ours", ours)):
        counts = {state: list(found.values()).count(state) for state in ("passed", "failed", "error", "skipped")}
        print(f"{title}: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
    print(f"optuna-dashboard {version('optuna-dashboard')}; differences:")
    unexpected = 0
    for name, theirs, mine in differences(stock, ours):
        reason = EXPECTED.get(name.rpartition("::")[2])
        unexpected += reason is None and mine != "passed"
        print(f"  {name}: stock {theirs}, ours {mine}" + (f" (expected: {reason})" if reason else ""))
    both = [name for name in stock if stock[name] in ("failed", "error") and stock[name] == ours.get(name)]
    print("fail on both, for ids in memory and for packages that are not installed:")
    for file, n_tests in Counter(name.partition("::")[0] for name in both).items():
        print(f"  {file}: {n_tests}")
    sys.exit(unexpected > 0)


if __name__ == "__main__":
    main()
