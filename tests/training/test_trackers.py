"""Trackers take what a run tells them, and never fail it."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from training.config import RunConfig
from training.errors import ConfigError
from training.report import EpochReport
from training.switches import Switches
from training.trackers.base import Outages, Tracker, Trackers, curves
from training.trackers.build import TRACKERS, build_trackers, chosen

MakeReport = Callable[[int], EpochReport]
# What neptune's dependencies warn of when they are imported: jsonschema.RefResolver, pkg_resources and the like.
OLD_NEPTUNE = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@OLD_NEPTUNE
@pytest.mark.parametrize("name", [name for name in TRACKERS if name not in ("mlflow", "stdout")])
def test_every_tracker_takes_a_whole_run(
    name: str,
    run: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    make_report: MakeReport,
    kept_files: list[Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    trackers = build_trackers([name], tmp_path / "run")
    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        trackers.start(run, "name")
        for epoch in range(2):
            trackers.report(make_report(epoch))
        trackers.files(kept_files)
        trackers.finish({"si_sdr_db": -0.5, "end": "finished"})
    assert not [record for record in caplog.records if record.name == "drivebeat.trackers"], "left out on its way"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path / "kept"]
    assert written


def test_history_is_a_line_of_json_for_each_epoch_and_begins_anew(
    run: RunConfig, tmp_path: Path, make_report: MakeReport
) -> None:
    """A resumed run tells its earlier reports again; they must not stand twice."""
    for n_epochs in (1, 2):
        tracker = build_trackers(["jsonl"], tmp_path)
        tracker.start(run, "name")
        for epoch in range(n_epochs):
            tracker.report(make_report(epoch))
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [EpochReport(**json.loads(line)) for line in lines] == [make_report(0), make_report(1)]


def test_history_stays_json_where_a_number_is_infinite(tmp_path: Path, make_report: MakeReport) -> None:
    odd = dataclasses.replace(make_report(0), score=math.inf, by_snr={"-5": math.inf, "+0": 1.0})
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
    raises_at: str, run: RunConfig, caplog: pytest.LogCaptureFixture, make_report: MakeReport
) -> None:
    bad, good = Noted(raises_at), Noted()
    trackers = Trackers([bad, good])
    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        trackers.start(run, "name")
        trackers.report(make_report(0))
        trackers.report(make_report(1))
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


def test_the_base_tracker_does_nothing(run: RunConfig, make_report: MakeReport) -> None:
    tracker = Tracker()
    tracker.start(run, "name")
    tracker.report(make_report(0))
    tracker.finish({})


def test_an_unknown_tracker_is_named_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown tracker 'neptun' \(did you mean 'neptune'\?\); known: jsonl"):
        build_trackers(["neptun"], tmp_path)


def test_tensorboard_holds_every_curve_once_after_a_resumed_run(
    run: RunConfig, tmp_path: Path, make_report: MakeReport
) -> None:
    """A run that goes on tells its earlier epochs again."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for n_epochs in (1, 2):
        tracker = build_trackers(["tensorboard"], tmp_path)
        tracker.start(run, "name")
        for epoch in range(n_epochs):
            tracker.report(make_report(epoch))
        tracker.finish({"si_sdr_db": -0.5})
    found = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars["training/loss"] == [0, 1]
    assert scalars["validation/score_at_-5_db"] == [0, 1]
    assert scalars["validation/best_score"] == [1]


def test_stdout_is_a_line_an_epoch(
    run: RunConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path, make_report: MakeReport
) -> None:
    tracker = build_trackers(["stdout"], tmp_path)
    tracker.start(run, "demo 3")
    tracker.report(make_report(1))
    assert capsys.readouterr().out == ("demo 3: epoch 2/2 loss 1.5000 si_sdr_db -0.500 (-5 dB -1.000, 0 dB +0.000)\n")


def test_curves_hold_finite_numbers_only(make_report: MakeReport) -> None:
    """At gain 0 the mixture's SNR is infinite; trackers differ in what they make of that."""
    assert "training/snr_db" not in curves(dataclasses.replace(make_report(0), snr_db=math.inf))
    assert curves(make_report(0))["training/snr_db"] == -3.0


def test_a_tracker_that_failed_is_not_tried_again_by_the_next_run_of_the_process(run: RunConfig) -> None:
    """A server that does not answer costs its patience once, and not in every trial."""
    outages = Outages()
    first, second = Noted("start"), Noted()
    Trackers([first], outages=outages).start(run, "one")
    Trackers([second], outages=outages).start(run, "two")
    assert (first.told, second.told) == (["start"], [])


def test_no_secret_stands_in_the_line_about_a_failure(run: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    class Leaky(Tracker):
        def start(self, run: RunConfig, name: str) -> None:
            raise OSError("no answer from https://me:hush-hush@example.org")

    with caplog.at_level(logging.WARNING, "drivebeat.trackers"):
        Trackers([Leaky()], secrets=["hush-hush"]).start(run, "name")
    assert [record.getMessage() for record in caplog.records] == [
        "Leaky stopped: OSError: no answer from https://me:***@example.org"
    ]


@pytest.mark.parametrize(
    ("asked", "switches", "names"),
    [
        ((), Switches(), ("jsonl",)),
        ((), Switches(trackers=("tensorboard",)), ("tensorboard",)),
        (("jsonl",), Switches(trackers=("tensorboard",)), ("jsonl",)),
        ((), Switches(neptune=True, stdout=True), ("jsonl", "neptune", "stdout")),
        (("neptune",), Switches(neptune=True), ("neptune",)),
        (("mlflow", "jsonl"), Switches(neptune=True, remote=False), ("jsonl",)),
    ],
)
def test_trackers_are_those_asked_for_and_those_switched_on(
    asked: tuple[str, ...], switches: Switches, names: tuple[str, ...]
) -> None:
    assert chosen(asked, switches, default=("jsonl",)) == names


def test_mlflow_without_an_address_says_how_to_get_one(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_URI is not set; start a server"):
        build_trackers(["mlflow"], tmp_path)


@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_tracker_that_is_not_installed_names_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"training.trackers.{name}.find_spec", lambda module: None)
    with pytest.raises(ConfigError, match=rf"pip install 'drivebeat\[{name}\]'"):
        build_trackers([name], tmp_path)
