"""What a tracker is, and what it is told of its run."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.config import RunConfig
from training.report import EpochReport
from training.switches import Switches

AGAIN_AFTER_S = 600.0


class Tracker:
    """The one that does nothing, and the interface of all."""

    def start(self, run: RunConfig, name: str) -> None:
        """Before the first epoch."""

    def report(self, report: EpochReport) -> None:
        """After each epoch. A run that was interrupted tells its earlier epochs again."""

    def files(self, paths: Sequence[Path]) -> None:
        """After the last epoch, where there are files worth keeping: config, weights, figures, sounds."""

    def finish(self, summary: Mapping[str, float | str]) -> None:
        """At the end; `summary` holds final scores and the reason of the end. Without a score the run failed."""


class Outages:
    """Which trackers failed a short while ago. Shared by the runs of a process, so that a service that does not
    answer is waited for and told of once, and not by every trial.
    """

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def note(self, name: str) -> None:
        """The tracker failed now."""
        self._since_s[name] = time.monotonic()

    def last(self, name: str) -> bool:
        """Whether it failed within the last ten minutes."""
        return time.monotonic() - self._since_s.get(name, -math.inf) < AGAIN_AFTER_S


@dataclass(frozen=True, slots=True)
class Place:
    """What a tracker is told of the run it is made for.

    folder: its own, to write to. study: of a trial, else "". key: equal for the same run gone on with, whoever does;
    "" where nobody could know it again. outages: shared by the runs of a process.
    """

    folder: Path
    switches: Switches = field(default_factory=Switches)
    study: str = ""
    key: str = ""
    outages: Outages = field(default_factory=Outages)


def curves(report: EpochReport) -> dict[str, float]:
    """The numbers of a report that make curves, by name; what is not finite has no place on one."""
    values = {f"training/{name}": getattr(report, name) for name in ("loss", "learning_rate", "gain", "snr_db")}
    values["training/seconds"] = report.seconds
    values["validation/score"] = report.score
    values |= {f"validation/score_at_{snr}_db": value for snr, value in report.by_snr.items()}
    if report.best_score is not None:
        values["validation/best_score"] = report.best_score
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
