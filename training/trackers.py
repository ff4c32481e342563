"""Where a run's reports go besides the caller: JSON lines, Neptune (offline). A failing tracker never fails a run."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import RunConfig, to_document
from training.decode import pick
from training.report import EpochReport

LOGGER = logging.getLogger("drivebeat.trackers")


class Tracker:
    """The one that does nothing, and the interface of all."""

    def start(self, run: RunConfig, name: str) -> None:
        """Before the first epoch."""

    def report(self, report: EpochReport) -> None:
        """After each epoch."""

    def finish(self, summary: Mapping[str, float | str]) -> None:
        """After the last epoch; `summary` holds final scores and the reason of the end."""


class JsonLinesTracker(Tracker):
    """history.jsonl: one line an epoch, begun anew for a run that starts at epoch 0."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"

    def report(self, report: EpochReport) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w" if report.epoch == 0 else "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(dataclasses.asdict(report)), allow_nan=False) + "\n")


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with null for what JSON has no number for: a median heart-rate error can be infinite."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            plain[key] = _finite(value)
        else:
            plain[key] = None if isinstance(value, float) and not math.isfinite(value) else value
    return plain


class NeptuneTracker(Tracker):
    """Neptune in offline mode: the hosted service ended on 2026-03-05, the package still writes its files.

    They go to .neptune in the current folder, which neptune does not let us choose.
    """

    def __init__(self) -> None:
        self._run: Any = None

    def start(self, run: RunConfig, name: str) -> None:
        import neptune  # 1.3 s, so only when it is used

        self._run = neptune.init_run(
            mode="offline",
            name=name,
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
            capture_traceback=False,
            source_files=[],
            git_ref=False,
        )
        self._run["parameters"] = neptune.utils.stringify_unsupported(to_document(run))

    def report(self, report: EpochReport) -> None:
        for key in ("loss", "score", "learning_rate", "gain"):
            self._run[f"training/{key}"].append(getattr(report, key), step=report.epoch)
        for snr, value in report.by_snr.items():
            self._run[f"validation/score_at_{snr}_db"].append(value, step=report.epoch)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._run["summary"] = dict(summary)
        self._run.stop()


class Trackers(Tracker):
    """Fans out to several; one that raises is reported once and left out from then on."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def start(self, run: RunConfig, name: str) -> None:
        self._each(lambda tracker: tracker.start(run, name))

    def report(self, report: EpochReport) -> None:
        self._each(lambda tracker: tracker.report(report))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._each(lambda tracker: tracker.finish(summary))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # whatever a tracker's library raises, the run goes on
                LOGGER.warning("%s stopped: %s: %s", type(tracker).__name__, type(error).__name__, error)
                self._trackers.remove(tracker)


def build_trackers(names: Sequence[str], folder: Path) -> Trackers:
    """The trackers called `names`, each once. Raises ConfigError for an unknown one."""
    return Trackers([pick(TRACKERS, name, "--tracker", "tracker")(folder) for name in dict.fromkeys(names)])


# name -> what makes the tracker of a run's folder
TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "jsonl": JsonLinesTracker,
    "neptune": lambda folder: NeptuneTracker(),
}
