"""Trackers of trials: which ones a worker uses, and what a trial's trackers are told besides its reports."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import ConfigError
from training.switches import Switches
from training.trackers.base import Outages, Place, Trackers, build_trackers, chosen
from training.trackers.mlflow import refuse_shared

LOGGER = logging.getLogger("drivebeat.trackers")


@dataclass(frozen=True, slots=True, eq=False)
class Tracking:
    """The trackers of a worker's trials, by name. outages: shared by all of them."""

    switches: Switches = field(default_factory=Switches)
    names: tuple[str, ...] = ()
    outages: Outages = field(default_factory=Outages)

    def trackers(self, study: str, trial: int) -> Trackers:
        """The trackers of a trial. One that another worker began is known again by study and number."""
        place = Place(
            self.switches.trial_logs / study / str(trial), self.switches, study, f"trial {study}/{trial}", self.outages
        )
        return build_trackers(self.names, place)


def tracking_of(
    switches: Switches,
    storage_url: str,
    asked: Sequence[str] = (),
    *,
    default: Sequence[str] = (),
    missing: Callable[[str], None] | None = None,
) -> Tracking:
    """The trackers asked for by name or by switches, checked.

    missing: told of a tracker that cannot be had here (its package, its server's address), which is then left out.
    Raises ConfigError for one that is not known, for MLflow on the studies' own database, and, without `missing`, for
    one that cannot be had.
    """
    names = chosen(asked, switches, default)
    if "mlflow" in names:
        refuse_shared(switches.mlflow.get("MLFLOW_TRACKING_URI", ""), storage_url)
    able = []
    for name in names:
        try:
            build_trackers([name], Place(Path(), switches))
        except ConfigError as error:
            if missing is None or "unknown tracker" in str(error):
                raise
            missing(f"{error}; going on without it")
        else:
            able.append(name)
    return Tracking(switches, tuple(able))
