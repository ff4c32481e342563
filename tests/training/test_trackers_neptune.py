"""Neptune: offline files without network, weights only where switched on, an online failure told once."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from training.config import RunConfig
from training.report import EpochReport
from training.switches import Switches
from training.trackers.base import TrackerTarget
from training.trackers.build import TRACKERS, build_trackers

MakeReport = Callable[[int], EpochReport]
# What neptune's dependencies warn of when they are imported: jsonschema.RefResolver, pkg_resources and the like.
OLD_NEPTUNE = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@OLD_NEPTUNE
def test_neptune_writes_below_the_current_folder_without_network(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_report: MakeReport
) -> None:
    """Its service is gone; any attempt to reach a host fails the test."""
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("neptune reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    tracker = TRACKERS["neptune"](TrackerTarget(tmp_path / "run"))
    tracker.start(run, "name")
    tracker.report(make_report(0))
    tracker.finish({"si_sdr_db": 1.0})
    assert list((tmp_path / ".neptune" / "offline").rglob("*.log"))


def test_neptune_is_imported_only_when_it_is_used() -> None:
    code = "import sys, training.runs; assert 'neptune' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@OLD_NEPTUNE
@pytest.mark.parametrize("switched_on", [False, True])
def test_neptune_takes_weights_only_where_switched_on(
    switched_on: bool, run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_files: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = TRACKERS["neptune"](TrackerTarget(tmp_path / "run", Switches(neptune_weights=switched_on)))
    tracker.start(run, "name")
    tracker.files(kept_files)
    tracker.finish({"si_sdr_db": 1.0})
    told = b"".join(path.read_bytes() for path in (tmp_path / ".neptune").rglob("*.log"))
    assert (b'"model", "weights"' in told) == switched_on
    assert b"figures" in told


@OLD_NEPTUNE
def test_an_online_neptune_that_fails_is_told_once_and_the_run_is_kept_offline(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import neptune

    real, modes = neptune.init_run, list[str]()

    def init_run(mode: Literal["async", "offline"], **options: Any) -> Any:
        modes.append(mode)
        if mode != "offline":
            raise ConnectionError(f"no answer with {options['api_token']}")
        return real(mode=mode, **options)

    monkeypatch.setattr(neptune, "init_run", init_run)
    monkeypatch.chdir(tmp_path)
    target = TrackerTarget(tmp_path / "run", Switches(neptune_project="lab/heart", neptune_token="hush-hush"))
    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        for _ in range(2):  # the second run of a process does not wait for it again
            tracker = build_trackers(["neptune"], target)
            tracker.start(run, "name")
            tracker.finish({"si_sdr_db": 1.0})
    assert modes == ["async", "offline", "offline"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "drivebeat.trackers"]
    assert "lab/heart cannot be reached" in line
    assert "hush" not in line
    assert list((tmp_path / ".neptune" / "offline").rglob("*.log"))
