"""Neptune: parameters, curves, figures and weights under its namespaces. Its hosted service ended on 2026-03-05."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import RunConfig, to_document
from training.report import EpochReport
from training.trackers.base import Place, Tracker, curves

LOGGER = logging.getLogger("drivebeat.trackers")
# Its own tries go on for a minute where nobody answers.
ONLINE_PATIENCE_S = 10.0
QUIET: dict[str, Any] = {
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "capture_traceback": False,
    "source_files": [],
    "git_ref": False,
}
ONLINE = "neptune online"
PICTURES = (".png",)
SOUNDS = (".wav",)


class NeptuneTracker(Tracker):
    """Offline, unless a project and a token are given for a server of one's own; one that does not answer is told of
    once, and the run goes on offline.

    Offline files go to .neptune in the current folder, which neptune does not let us choose.
    """

    def __init__(self, place: Place) -> None:
        self._switches = place.switches
        self._outages = place.outages
        self._run: Any = None

    def start(self, run: RunConfig, name: str) -> None:
        import neptune  # 1.3 s, so only when it is used

        # it tells its comings and goings on standard output, where a command's result belongs
        logging.getLogger("neptune").setLevel(logging.CRITICAL)
        if self._switches.neptune_project and self._switches.neptune_token and not self._outages.last(ONLINE):
            self._run = self._online(name)
        if self._run is None:
            self._run = neptune.init_run(mode="offline", name=name, **QUIET)
        self._run["parameters"] = neptune.utils.stringify_unsupported(to_document(run))

    def _online(self, name: str) -> Any:
        import neptune

        made: list[Any] = []

        def connect() -> None:
            try:
                made.append(
                    neptune.init_run(
                        project=self._switches.neptune_project,
                        api_token=self._switches.neptune_token,
                        mode="async",
                        name=name,
                        **QUIET,
                    )
                )
            except Exception:  # told of below, without its words: they may hold the token
                return

        thread = threading.Thread(target=connect, name="neptune", daemon=True)
        thread.start()
        thread.join(ONLINE_PATIENCE_S)
        if made:
            return made[0]
        self._outages.note(ONLINE)
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
            if path.suffix in PICTURES + SOUNDS:
                self._run[f"{'figures' if path.suffix in PICTURES else 'sounds'}/{path.stem}"].upload(str(path))
            elif path.suffix == ".safetensors" and self._switches.neptune_weights:
                self._run["model/weights"].upload(str(path))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._run["summary"] = dict(summary)
        self._run.stop(seconds=60)
