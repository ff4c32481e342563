"""Trackers: the interface, the trackers that need no service, and how those of a run are chosen and built.

A tracker receives the config, the epoch reports, the files and the summary of a run and writes them somewhere else:
JSON lines, standard output, TensorBoard, MLflow, Neptune. `Trackers` passes them to several and keeps a failing
tracker from stopping the run. `TrackerTarget` says where a tracker writes. `Tracking` builds the trackers of each
trial of a worker. TRACKERS, at the end of the file, holds all trackers by name.
"""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.files import file_errors, make_folder, path_part
from training.config import RunConfig
from training.numbers import finite
from training.report import EpochReport, shown_snr
from training.switches import Switches, mask

LOGGER = logging.getLogger("drivebeat.trackers")
RETRY_AFTER_S = 600.0
TRACKED_FILES = ("run.yaml", "weights.safetensors", "window.png", "noisy.wav", "clean.wav", "estimate.wav")


class Tracker:
    """The interface of all trackers. This base class does nothing."""

    def start(self, run: RunConfig, name: str) -> None:
        """Begin `run`. Called once, before the first epoch. name: of the run, for people."""

    def report(self, report: EpochReport) -> None:
        """Write the report of an epoch. Called after each epoch; a resumed run reports its earlier epochs again."""

    def files(self, paths: Sequence[Path]) -> None:
        """Write files of the run: config, weights, figures, sounds. Called after the last epoch if there are any."""

    def finish(self, summary: Mapping[str, float | str]) -> None:
        """End the run. summary: the final scores, and under "end" the reason why it ended; no score if it failed."""


class Outages:
    """Remember which trackers failed recently.

    All runs of a process share one instance: a service that does not answer is then waited for and reported once, not
    in every trial.
    """

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def record(self, name: str) -> None:
        """Record that the tracker `name` failed now."""
        self._since_s[name] = time.monotonic()

    def is_recent(self, name: str) -> bool:
        """Return whether the tracker `name` failed within the last RETRY_AFTER_S seconds."""
        return time.monotonic() - self._since_s.get(name, -math.inf) < RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class TrackerTarget:
    """Where a tracker writes, and the run that it belongs to.

    folder: of the run, for trackers that write files.
    switches: the switches and secrets of the environment.
    study: name of the study of a trial; "" for a single run.
    key: identifies the run. A run that another worker continues has the same key; "" if a run cannot be continued.
    outages: shared by the runs of a process.
    """

    folder: Path
    switches: Switches = field(default_factory=Switches)
    study: str = ""
    key: str = ""
    outages: Outages = field(default_factory=Outages)


class Trackers(Tracker):
    """Pass everything on to several trackers.

    A tracker that raises is logged once and left out from then on. Trackers that failed recently are left out from
    the start.

    secrets: texts that are masked in log lines.
    """

    def __init__(
        self, trackers: Sequence[Tracker], secrets: Sequence[str] = (), outages: Outages | None = None
    ) -> None:
        self._outages = outages or Outages()
        self._trackers = [tracker for tracker in trackers if not self._outages.is_recent(type(tracker).__name__)]
        self._secrets = secrets

    def start(self, run: RunConfig, name: str) -> None:
        self._each(lambda tracker: tracker.start(run, name))

    def report(self, report: EpochReport) -> None:
        self._each(lambda tracker: tracker.report(report))

    def files(self, paths: Sequence[Path]) -> None:
        self._each(lambda tracker: tracker.files(paths))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._each(lambda tracker: tracker.finish(summary))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # any error of a tracker's library must not stop the run
                name = type(tracker).__name__
                message = mask(" ".join(str(error).split())[:300], self._secrets)
                LOGGER.warning("%s stopped: %s: %s", name, type(error).__name__, message)
                self._trackers.remove(tracker)
                self._outages.record(name)


@dataclass(frozen=True, slots=True, eq=False)
class Tracking:
    """The trackers and messages of a worker.

    names: of the trackers that each trial gets.
    messages: whether any messages are sent.
    outages: shared by the trackers of all trials.
    build: builds the trackers called `names` (training.trackers.build).
    """

    switches: Switches = field(default_factory=Switches)
    names: tuple[str, ...] = ()
    messages: bool = False
    outages: Outages = field(default_factory=Outages)
    build: Callable[[Sequence[str], TrackerTarget], Trackers] = lambda names, target: Trackers(())

    def trackers(self, study: str, trial: int) -> Trackers:
        """Build the trackers of a trial. Study and number identify it, also if another worker began it."""
        target = TrackerTarget(
            self.switches.trial_logs / path_part(study) / str(trial),
            self.switches,
            study,
            f"trial {study}/{trial}",
            self.outages,
        )
        return self.build(self.names, target)


def tracked_files(folder: Path) -> list[Path]:
    """Return the files in the folder of a trial or run that trackers get: config, best weights, figure, sounds."""
    return [folder / name for name in TRACKED_FILES if (folder / name).is_file()]


def curves(report: EpochReport) -> dict[str, float]:
    """Return the numbers of a report that make curves, by name. Numbers that are not finite are left out."""
    values = {f"training/{name}": getattr(report, name) for name in ("loss", "learning_rate", "gain", "snr_db")}
    values["training/seconds"] = report.seconds
    values["validation/score"] = report.score
    values |= {f"validation/score_at_{snr}_db": value for snr, value in report.by_snr.items()}
    if report.best_score is not None:
        values["validation/best_score"] = report.best_score
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


class JsonLinesTracker(Tracker):
    """Write history.jsonl, one line per epoch. The report of epoch 0 replaces an earlier file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"

    def report(self, report: EpochReport) -> None:
        make_folder(self._path.parent)
        with file_errors(self._path), self._path.open("w" if report.epoch == 0 else "a", encoding="utf-8") as file:
            file.write(json.dumps(finite(dataclasses.asdict(report)), allow_nan=False) + "\n")


class StdoutTracker(Tracker):
    """Print one line per epoch on standard output."""

    def __init__(self) -> None:
        self._name = ""

    def start(self, run: RunConfig, name: str) -> None:
        self._name, self._score = name, run.fit.score

    def report(self, report: EpochReport) -> None:
        by_snr = ", ".join(f"{shown_snr(float(snr))} dB {value:+.3f}" for snr, value in report.by_snr.items())
        print(
            f"{self._name}: epoch {report.epoch + 1}/{report.n_epochs} loss {report.loss:.4f} "
            f"{self._score} {report.score:+.3f} ({by_snr})",
            flush=True,
        )
