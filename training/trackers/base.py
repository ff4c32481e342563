"""What a tracker is, and what it is told of its run."""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.files import file_errors, make_folder
from training.config import RunConfig
from training.decode import pick
from training.errors import ConfigError
from training.numbers import finite
from training.report import EpochReport, shown_snr
from training.switches import Switches, mask

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


LOGGER = logging.getLogger("drivebeat.trackers")
KEPT = ("run.yaml", "weights.safetensors", "window.png", "noisy.wav", "clean.wav", "estimate.wav")


class JsonLinesTracker(Tracker):
    """history.jsonl: one line an epoch, begun anew for a run that starts at epoch 0."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"

    def report(self, report: EpochReport) -> None:
        make_folder(self._path.parent)
        with file_errors(self._path), self._path.open("w" if report.epoch == 0 else "a", encoding="utf-8") as file:
            file.write(json.dumps(finite(dataclasses.asdict(report)), allow_nan=False) + "\n")


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
    return Trackers(made, at.switches.secrets if made else (), at.outages)


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


def kept_files(folder: Path) -> list[Path]:
    """The files of a trial's or a run's folder that trackers are given: config, best weights, figure, sounds."""
    return [folder / name for name in KEPT if (folder / name).is_file()]


LOGGER = logging.getLogger("drivebeat.trackers")


@dataclass(frozen=True, slots=True, eq=False)
class Tracking:
    """The trackers of a worker's trials, by name. messages: whether any are sent. outages: shared by all trackers."""

    switches: Switches = field(default_factory=Switches)
    names: tuple[str, ...] = ()
    messages: bool = False
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
        from training.trackers.mlflow import refuse_shared

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
    return Tracking(switches, tuple(able), bool(switches.message_urls))
