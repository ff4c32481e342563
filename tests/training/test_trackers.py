"""Trackers take what a run tells them, and never fail it."""

import dataclasses
import json
import logging
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from training.config import RunConfig
from training.decode import ConfigError
from training.report import EpochReport
from training.trackers import TRACKERS, Tracker, Trackers, build_trackers

# What neptune's dependencies warn of when they are imported: jsonschema.RefResolver, pkg_resources and the like.
OLD_NEPTUNE = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        n_epochs=2,
        loss=1.5,
        score=-0.5,
        by_snr={"-5": -1.0, "+0": 0.0},
        best_score=None if epoch == 0 else -0.5,
        best_epoch=None if epoch == 0 else epoch,
        learning_rate=1e-3,
        gain=1.0,
        peak_share=1.0,
        snr_db=-3.0,
        n_windows=8,
        seconds=0.1,
    )


@OLD_NEPTUNE
@pytest.mark.parametrize("name", TRACKERS)
def test_every_tracker_takes_a_whole_run(
    name: str, run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    trackers = build_trackers([name], tmp_path / "run")
    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        trackers.start(run, "name")
        for epoch in range(2):
            trackers.report(report(epoch))
        trackers.finish({"si_sdr_db": -0.5, "end": "finished"})
    assert not [record for record in caplog.records if record.name == "drivebeat.trackers"], "left out on its way"
    assert any(path.is_file() for path in tmp_path.rglob("*"))


def test_history_is_a_line_of_json_for_each_epoch_and_begins_anew(run: RunConfig, tmp_path: Path) -> None:
    """A resumed run tells its earlier reports again; they must not stand twice."""
    for n_epochs in (1, 2):
        tracker = build_trackers(["jsonl"], tmp_path)
        tracker.start(run, "name")
        for epoch in range(n_epochs):
            tracker.report(report(epoch))
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [EpochReport(**json.loads(line)) for line in lines] == [report(0), report(1)]


def test_history_stays_json_where_a_number_is_infinite(tmp_path: Path) -> None:
    odd = dataclasses.replace(report(0), score=math.inf, by_snr={"-5": math.inf, "+0": 1.0})
    build_trackers(["jsonl"], tmp_path).report(odd)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    got = json.loads((tmp_path / "history.jsonl").read_text(), parse_constant=refuse)
    assert (got["score"], got["by_snr"]) == (None, {"-5": None, "+0": 1.0})


class Noted(Tracker):
    """Keeps what it is told; raises at `raises_at`."""

    def __init__(self, raises_at: str = "") -> None:
        self.told: list[str] = []
        self.raises_at = raises_at

    def _note(self, what: str) -> None:
        self.told.append(what)
        if what == self.raises_at:
            raise OSError("disk full")

    def start(self, run: RunConfig, name: str) -> None:
        self._note("start")

    def report(self, report: EpochReport) -> None:
        self._note("report")

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._note("finish")


@pytest.mark.parametrize("raises_at", ["start", "report", "finish"])
def test_a_tracker_that_raises_is_told_of_once_and_left_out(
    raises_at: str, run: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Noted(raises_at), Noted()
    trackers = Trackers([bad, good])
    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        trackers.start(run, "name")
        trackers.report(report(0))
        trackers.report(report(1))
        trackers.finish({})
    assert good.told == ["start", "report", "report", "finish"]
    assert bad.told == good.told[: good.told.index(raises_at) + 1]
    assert [record.getMessage() for record in caplog.records] == ["Noted stopped: OSError: disk full"]


def test_an_interrupt_is_not_swallowed(run: RunConfig) -> None:
    class Interrupted(Tracker):
        def start(self, run: RunConfig, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trackers([Interrupted()]).start(run, "name")


def test_the_base_tracker_does_nothing(run: RunConfig) -> None:
    tracker = Tracker()
    tracker.start(run, "name")
    tracker.report(report(0))
    tracker.finish({})


def test_an_unknown_tracker_is_named_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown tracker 'neptun' \(did you mean 'neptune'\?\); known: jsonl"):
        build_trackers(["neptun"], tmp_path)


@OLD_NEPTUNE
def test_neptune_writes_below_the_current_folder_without_network(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its service is gone; any attempt to reach a host fails the test."""
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("neptune reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    tracker = TRACKERS["neptune"](tmp_path / "run")
    tracker.start(run, "name")
    tracker.report(report(0))
    tracker.finish({"si_sdr_db": 1.0})
    assert list((tmp_path / ".neptune" / "offline").rglob("*.log"))


def test_neptune_is_imported_only_when_it_is_used() -> None:
    code = "import sys, training.runs; assert 'neptune' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
