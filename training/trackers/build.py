"""Where a run's reports go besides the caller. A failing tracker never fails a run.

The fan-out, the table of trackers and those that need no library; the others are files of this folder.
"""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import RunConfig
from training.decode import ConfigError, pick
from training.report import EpochReport, shown_snr
from training.switches import Switches, mask
from training.trackers.base import Outages, Place, Tracker

LOGGER = logging.getLogger("drivebeat.trackers")


class JsonLinesTracker(Tracker):
    """history.jsonl: one line an epoch, begun anew for a run that starts at epoch 0."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"

    def report(self, report: EpochReport) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w" if report.epoch == 0 else "a", encoding="utf-8") as file:
            file.write(json.dumps(finite(dataclasses.asdict(report)), allow_nan=False) + "\n")


def finite(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with null for what JSON has no number for: a median heart-rate error can be infinite."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            plain[key] = finite(value)
        else:
            plain[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return plain


class StdoutTracker(Tracker):
    """A line an epoch on standard output."""

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


class Trackers(Tracker):
    """Fans out to several; one that raises is told of once and left out from then on."""

    def __init__(
        self, trackers: Sequence[Tracker], secrets: Sequence[str] = (), outages: Outages | None = None
    ) -> None:
        self._outages = outages or Outages()
        self._trackers = [tracker for tracker in trackers if not self._outages.last(type(tracker).__name__)]
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
            except Exception as error:  # whatever a tracker's library raises, the run goes on
                name = type(tracker).__name__
                words = mask(" ".join(str(error).split())[:300], self._secrets)
                LOGGER.warning("%s stopped: %s: %s", name, type(error).__name__, words)
                self._trackers.remove(tracker)
                self._outages.note(name)


def chosen(asked: Sequence[str], switches: Switches, default: Sequence[str] = ()) -> tuple[str, ...]:
    """The trackers of a run: those asked for, else those of DRIVEBEAT_TRACKERS, else `default`; and those that have a
    switch of their own. Without REMOTE_LOGGING none that leaves the machine's disk.
    """
    names = [*(asked or switches.trackers or default)]
    names += ["neptune"] if switches.neptune else []
    names += ["stdout"] if switches.stdout else []
    return tuple(name for name in dict.fromkeys(names) if switches.remote or name not in REMOTE)


def build_trackers(names: Sequence[str], place: Place | Path) -> Trackers:
    """The trackers called `names`, each once. place: a folder, where there is no more to say.

    Raises ConfigError for an unknown one, and for one whose package is not installed.
    """
    at = Place(place) if isinstance(place, Path) else place
    made = []
    for name in dict.fromkeys(names):
        try:
            made.append(pick(TRACKERS, name, "--tracker", "tracker")(at))
        except ImportError as error:
            raise ConfigError(
                f"tracker {name!r} is not installed ({error}); pip install 'drivebeat[{name}]'"
            ) from error
    return Trackers(made, at.switches.secrets, at.outages)


def _tensorboard(place: Place) -> Tracker:
    from training.trackers.tensorboard import TensorBoardTracker

    return TensorBoardTracker(place)


def _mlflow(place: Place) -> Tracker:
    from training.trackers.mlflow import MlflowTracker

    return MlflowTracker(place)


def _neptune(place: Place) -> Tracker:
    from training.trackers.neptune import NeptuneTracker

    return NeptuneTracker(place)


# name -> what makes the tracker of a run at a place
TRACKERS: dict[str, Callable[[Place], Tracker]] = {
    "jsonl": lambda place: JsonLinesTracker(place.folder),
    "stdout": lambda place: StdoutTracker(),
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "neptune": _neptune,
}
REMOTE = frozenset({"mlflow", "neptune"})
