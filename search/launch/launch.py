"""Run a search until its budget is spent, with any launcher, and show it live."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console
from rich.live import Live
from sqlalchemy import Engine

from data.errors import near
from search.errors import LaunchError, NoBudget, StudyError, StudyGone
from search.exit_codes import ExitCode
from search.launch.base import Launch, Launcher, WorkerHandle
from search.launch.local import local_workers
from search.launch.ray import ray_workers
from search.launch.slurm import slurm_workers
from search.queue.slots import OrphanDetector
from search.signals import Interrupted, stop_signals
from search.storage.open import explained, open_engine, open_storage
from search.storage.retry import retry
from search.study.finished import stop_reason
from search.study.status import Snapshot, snapshot
from search.study.study import Study, confirm_identity, current, has_changed, load_study
from search.terminal.status import PlainLines, render
from search.worker.assign import recover

LAUNCHERS: Mapping[str, Launcher] = {"local": local_workers, "ray": ray_workers, "slurm": slurm_workers}

POLL_S = 1.0
MAX_RESTARTS = 5
FIRST_PAUSE_S = 1.0
# A restarted worker that has run for this long resets the count of restarts: a search of a week survives more crashes.
STEADY_S = 600.0
# The exit code of a worker that gave up for a stated reason. Another worker would do the same.
GAVE_UP = ExitCode.REFUSED
# The exit code of a worker that somebody stopped by SIGINT.
STOPPED = ExitCode.INTERRUPTED


@dataclass(slots=True, eq=False)
class SupervisedWorker:
    """A worker handle and the state of its restarts.

    handle: starts the worker and reports its exit code.
    restarts: crashes in a row after which the worker was restarted.
    restart_at: monotonic time of the next restart, None while none is planned.
    since: monotonic time of the last restart, None before the first one or after STEADY_S of work.
    """

    handle: WorkerHandle
    restarts: int = 0
    restart_at: float | None = None
    since: float | None = None

    @property
    def crashed(self) -> bool:
        """Whether the worker was killed or ended by an unexpected error."""
        return self.handle.exit_code() not in (None, 0, GAVE_UP, STOPPED)

    @property
    def at_work(self) -> bool:
        """Whether the worker runs or will be restarted."""
        code = self.handle.exit_code()
        return code is None or (code not in (0, GAVE_UP, STOPPED) and self.restarts < MAX_RESTARTS)


def launcher(name: str) -> Launcher:
    """Return the launcher called `name`. Raises LaunchError with the nearest name for an unknown one."""
    if name not in LAUNCHERS:
        raise LaunchError(f"no launcher {name!r}{near(name, LAUNCHERS)}; known: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]


def supervise(handles: Iterable[WorkerHandle]) -> list[SupervisedWorker]:
    """Return a SupervisedWorker for each handle."""
    return [SupervisedWorker(handle) for handle in handles]


def restart_crashed(workers: Sequence[SupervisedWorker], now: float) -> list[SupervisedWorker]:
    """Restart the workers that crashed, and return those that were restarted in this call.

    The pause before a restart doubles with each crash: 1, 2, 4 ... s. A worker is restarted at most MAX_RESTARTS times,
    unless it ran for STEADY_S in between.

    now: monotonic time in seconds.
    """
    restarted = []
    for worker in workers:
        if worker.since is not None and now - worker.since > STEADY_S and worker.handle.exit_code() is None:
            worker.restarts, worker.since = 0, None
        if not worker.crashed or worker.restarts >= MAX_RESTARTS:
            continue
        if worker.restart_at is None:
            worker.restart_at = now + FIRST_PAUSE_S * 2**worker.restarts
        elif now >= worker.restart_at:
            worker.handle.restart()
            worker.restarts += 1
            worker.restart_at, worker.since = None, now
            restarted.append(worker)
    return restarted


class _NothingToWaitFor(Exception):
    """The workers have ended or were asked to stop, so there is no reason to wait for the database."""


@dataclass(frozen=True, slots=True)
class _WorkerExit:
    """How a worker ended. code: its exit code, None where it was stopped. last_line: of its log."""

    code: int | None
    last_line: str


def launch(request: Launch, console: Console, launcher_name: str = "local") -> list[Snapshot]:
    """Run workers until the budgets of all studies are spent.

    The slots of workers that died before this launch are reopened first. While it runs, the slots of workers that die
    are reopened and the workers restarted. No worker is started if all studies are finished already.

    request: the studies and how to run their workers.
    console: shows the progress, live on a terminal.
    launcher_name: a key of LAUNCHERS.

    Returns one snapshot for each study, taken at the end.

    Raises Interrupted after SIGINT, SIGTERM or SIGHUP, once all workers have stopped, and LaunchError where the workers
    ended before the studies were finished.
    """
    chosen = launcher(launcher_name)
    with explained(request.url):
        storage, engine = open_storage(request.url), open_engine(request.url)
        studies = [load_study(name, storage) for name in request.studies]
        for study in studies:
            confirm_identity(study)
        if not studies:
            raise StudyError("no study to launch")
        plugins = [plugin for study in studies for plugin in study.spec.plugins]  # executed here, so trusted
        request = replace(request, trusted=tuple(dict.fromkeys(plugin.sha256 for plugin in plugins)))
        detector = OrphanDetector(grace_s=request.lease_s / 3)
        _recover_all(studies, engine, detector)
        exits: list[_WorkerExit] = []
        if not all(stop_reason(study, engine) for study in studies):
            exits, studies = _run_workers(chosen, request, studies, engine, detector, console)
        studies = _present(studies, engine, console)
        _recover_all(studies, engine, detector)
        for study in studies:
            if reason := stop_reason(study, engine):
                console.print(f"study {study.name}: {reason}", highlight=False, markup=False, soft_wrap=True)
        snaps = [snapshot(study, engine) for study in studies]
        unfinished = [study.name for study in studies if not stop_reason(study, engine)]
    engine.dispose()
    if console.is_terminal:
        console.print(render(snaps))
    codes = [end.code for end in exits]
    if unfinished and any(codes):
        last = dict.fromkeys(end.last_line for end in exits if end.last_line)
        raise LaunchError(
            f"workers ended before {', '.join(unfinished)} was finished (exit codes {codes}): {' | '.join(last)}; "
            f"logs: {request.logs}"
        )
    return snaps


def _run_workers(
    chosen: Launcher,
    request: Launch,
    studies: Sequence[Study],
    engine: Engine,
    detector: OrphanDetector,
    console: Console,
) -> tuple[list[_WorkerExit], list[Study]]:
    """Start the workers, and show the progress until all have ended for good.

    Returns how each worker ended, and the studies that still exist.
    """
    plain, at_start = PlainLines(), studies
    with stop_signals() as (stop, signals), _live(console) as live, chosen(request) as handles:
        workers = supervise(handles)
        while any(worker.at_work for worker in workers) and not stop.wait(POLL_S):
            for worker in restart_crashed(workers, time.monotonic()):
                console.print(f"{worker.handle.name} crashed and was restarted", highlight=False)
            try:
                studies, snaps = retry(
                    partial(_snapshots, studies, engine, detector, console),
                    lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
                    check=lambda: _check_waiting(stop, workers),
                )
            except _NothingToWaitFor:
                break
            if live:
                live.update(render(snaps), refresh=True)
            else:
                for line in plain.new(snaps, time.monotonic()):
                    console.print(line, soft_wrap=True, highlight=False, markup=False)
        if stop.is_set():
            console.print("stopping the workers ...", highlight=False)
        exits = [_WorkerExit(worker.handle.exit_code(), worker.handle.last_line()) for worker in workers]
    studies = _present(studies, engine, console)
    _recover_all(studies, engine, detector)
    if signals:
        now = {study.identity: study.name for study in studies}
        raise Interrupted(signals[0], {study.name: now.get(study.identity, study.name) for study in at_start})
    return exits, list(studies)


def _recover_all(studies: Sequence[Study], engine: Engine, detector: OrphanDetector) -> None:
    for study in studies:
        recover(study, engine, detector)


def _present(studies: Sequence[Study], engine: Engine, console: Console) -> list[Study]:
    """Return the studies as they are called now, without those that were deleted, which are printed."""
    found = []
    for study in studies:
        try:
            found.append(current(study, engine))
        except StudyGone:
            console.print(f"study {study.name} was deleted", highlight=False, markup=False, soft_wrap=True)
    return found


def _snapshots(
    studies: Sequence[Study], engine: Engine, detector: OrphanDetector, console: Console
) -> tuple[list[Study], list[Snapshot]]:
    """Reopen the slots of dead workers, and return the studies that still exist with a snapshot of each."""
    while True:
        studies = _present(studies, engine, console)
        try:
            _recover_all(studies, engine, detector)
            return studies, [snapshot(study, engine) for study in studies]
        except (KeyError, NoBudget):  # deleted or renamed meanwhile, else it is an error
            if not any(has_changed(study, engine) for study in studies):
                raise


def _check_waiting(stop: threading.Event, workers: Sequence[SupervisedWorker]) -> None:
    """Raise _NothingToWaitFor if the launch was asked to stop, or if no worker waits for the database either."""
    if stop.is_set() or not any(worker.at_work for worker in workers):
        raise _NothingToWaitFor


@contextmanager
def _live(console: Console) -> Iterator[Live | None]:
    """Yield a live view on a terminal, None where the output goes to a file or a pipe."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield live
