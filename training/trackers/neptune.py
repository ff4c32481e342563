"""Track runs with Neptune: parameters, curves, figures, sounds and weights.

Neptune's hosted service ended on 2026-03-05; a server of your own and the offline mode still work.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import RunConfig, to_document
from training.plugins.plugin import referenced
from training.report import EpochReport
from training.trackers.base import Tracker, TrackerTarget, curves

LOGGER = logging.getLogger("drivebeat.trackers")
# Neptune itself retries for a minute if the server does not answer.
CONNECT_TIMEOUT_S = 10.0
QUIET: dict[str, Any] = {
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "capture_traceback": False,
    "source_files": [],
    "git_ref": False,
}
# Name under which a failed connection is recorded in Outages; the tracker itself goes on offline.
OUTAGE = "neptune online"
FIGURE_SUFFIXES = (".png",)
SOUND_SUFFIXES = (".wav",)


class NeptuneTracker(Tracker):
    """Log offline, or to a server if the switches give a project and a token.

    A server that does not answer is logged once, and the run is logged offline. Offline files go to .neptune in the
    current folder, which Neptune does not let a program change.
    """

    def __init__(self, target: TrackerTarget) -> None:
        self._switches = target.switches
        self._outages = target.outages
        self._run: Any = None

    def start(self, run: RunConfig, name: str) -> None:
        import neptune  # takes 1.3 s to import

        # Neptune logs its own state on standard output, which belongs to the command's result.
        logging.getLogger("neptune").setLevel(logging.CRITICAL)
        if self._switches.neptune_project and self._switches.neptune_token and not self._outages.is_recent(OUTAGE):
            self._run = self._online(name)
        if self._run is None:
            self._run = neptune.init_run(mode="offline", name=name, **QUIET)
        self._run["parameters"] = neptune.utils.stringify_unsupported(referenced(to_document(run)))

    def _online(self, name: str) -> Any:
        """Return a run on the server; None, with a warning, if it does not answer in time."""
        import neptune

        runs: list[Any] = []

        def connect() -> None:
            try:
                runs.append(
                    neptune.init_run(
                        project=self._switches.neptune_project,
                        api_token=self._switches.neptune_token,
                        mode="async",
                        name=name,
                        **QUIET,
                    )
                )
            except Exception:  # logged below without the error's text, which may contain the token
                return

        thread = threading.Thread(target=connect, name="neptune", daemon=True)
        thread.start()
        thread.join(CONNECT_TIMEOUT_S)
        if runs:
            return runs[0]
        self._outages.record(OUTAGE)
        LOGGER.warning(
            "neptune: project %s cannot be reached (the hosted service ended on 2026-03-05); runs are kept offline "
            "in .neptune. Unset NEPTUNE_API_TOKEN, or use DRIVEBEAT_TRACKERS=mlflow instead",
            self._switches.neptune_project,
        )
        return None

    def report(self, report: EpochReport) -> None:
        for name, value in curves(report).items():
            self._run[name].append(value, step=report.epoch)

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if path.suffix in FIGURE_SUFFIXES + SOUND_SUFFIXES:
                self._run[f"{'figures' if path.suffix in FIGURE_SUFFIXES else 'sounds'}/{path.stem}"].upload(str(path))
            elif path.suffix == ".safetensors" and self._switches.neptune_weights:
                self._run["model/weights"].upload(str(path))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._run["summary"] = dict(summary)
        self._run.stop(seconds=60)
