"""Choose and build the trackers of a run or a worker, by name."""

from collections.abc import Callable, Sequence
from pathlib import Path

from training.decode import pick
from training.errors import ConfigError
from training.switches import Switches
from training.trackers.base import JsonLinesTracker, StdoutTracker, Tracker, Trackers, TrackerTarget, Tracking

REMOTE = frozenset({"mlflow", "neptune"})


def tracking_of(
    switches: Switches,
    storage_url: str,
    asked: Sequence[str] = (),
    *,
    default: Sequence[str] = (),
    missing: Callable[[str], None] | None = None,
) -> Tracking:
    """Choose the trackers of a worker and check that each can be built.

    storage_url: of the studies' database.
    asked, default: see `chosen`.
    missing: called with a message for each tracker that cannot be built here (its package or its server's address is
        missing). The tracker is then left out.

    Raises ConfigError for an unknown tracker, if MLflow would use the studies' own database, and, without `missing`,
    for a tracker that cannot be built.
    """
    names = chosen(asked, switches, default)
    if "mlflow" in names:
        from training.trackers.mlflow import refuse_shared

        refuse_shared(switches.mlflow.get("MLFLOW_TRACKING_URI", ""), storage_url)
    usable = []
    for name in names:
        try:
            build_trackers([name], TrackerTarget(Path(), switches))
        except ConfigError as error:
            if missing is None or "unknown tracker" in str(error):
                raise
            missing(f"{error}; continuing without it")
        else:
            usable.append(name)
    return Tracking(switches, tuple(usable), bool(switches.message_urls), build=build_trackers)


def chosen(asked: Sequence[str], switches: Switches, default: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a run's trackers.

    They are `asked`, else those of DRIVEBEAT_TRACKERS, else `default`, and any that have a switch of their own. If
    REMOTE_LOGGING is off, those that send data to another machine are left out.
    """
    names = [*(asked or switches.trackers or default)]
    names += ["neptune"] if switches.neptune else []
    names += ["stdout"] if switches.stdout else []
    return tuple(name for name in dict.fromkeys(names) if switches.remote or name not in REMOTE)


def build_trackers(names: Sequence[str], target: TrackerTarget | Path) -> Trackers:
    """Build the trackers called `names`, each once.

    target: where they write; a folder stands for a target with nothing else.

    Raises ConfigError for an unknown name, and for a tracker whose package is not installed.
    """
    full = TrackerTarget(target) if isinstance(target, Path) else target
    trackers = []
    for name in dict.fromkeys(names):
        try:
            trackers.append(pick(TRACKERS, name, "--tracker", "tracker")(full))
        except ImportError as error:
            raise ConfigError(
                f"tracker {name!r} is not installed ({error}); pip install 'drivebeat[{name}]'"
            ) from error
    return Trackers(trackers, full.switches.secrets if trackers else (), full.outages)


def _tensorboard(target: TrackerTarget) -> Tracker:
    from training.trackers.tensorboard import TensorBoardTracker

    return TensorBoardTracker(target)


def _mlflow(target: TrackerTarget) -> Tracker:
    from training.trackers.mlflow import MlflowTracker

    return MlflowTracker(target)


def _neptune(target: TrackerTarget) -> Tracker:
    from training.trackers.neptune import NeptuneTracker

    return NeptuneTracker(target)


# Name -> function that builds the tracker. The optional libraries are imported only by the trackers that need them.
TRACKERS: dict[str, Callable[[TrackerTarget], Tracker]] = {
    "jsonl": lambda target: JsonLinesTracker(target.folder),
    "stdout": lambda target: StdoutTracker(),
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "neptune": _neptune,
}
