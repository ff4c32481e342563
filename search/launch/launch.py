"""A search from start to spent budget, by whichever launcher, shown live."""

import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from sqlalchemy import Engine

from data.errors import near
from search.errors import LaunchError, StudyError
from search.launch.base import Launch, Launcher, WorkerHandle
from search.launch.local import local_workers
from search.launch.ray import ray_workers
from search.launch.slurm import slurm_workers
from search.queue.slots import OrphanDetector
from search.signals import stop_signals
from search.storage.open import explained, open_engine, open_storage
from search.storage.retry import retry
from search.study.finished import stop_reason
from search.study.status import Snapshot, snapshot
from search.study.study import Study, load_study
from search.terminal.status import PlainLines, render
from search.worker.assign import recover

LAUNCHERS: Mapping[str, Launcher] = {"local": local_workers, "ray": ray_workers, "slurm": slurm_workers}

MAX_RESTARTS = 5
FIRST_PAUSE_S = 1.0
# A successor that has worked for so long starts the count anew: a search of a week outlives more deaths.
STEADY_S = 600.0
# What a worker that gave up for a stated reason exits with: another one would do the same.
GAVE_UP = 2


@dataclass(slots=True, eq=False)
class Watched:
    """A seat, how often its worker died, and since when its last successor has been there."""

    seat: WorkerHandle
    restarts: int = 0
    restart_at: float | None = None
    since: float | None = None

    @property
    def crashed(self) -> bool:
        """Ended neither by itself nor at somebody's request: killed, or by an error nobody foresaw."""
        return self.seat.exit_code() not in (None, 0, GAVE_UP)

    @property
    def at_work(self) -> bool:
        """Whether a worker is there, or is going to be again."""
        code = self.seat.exit_code()
        return code is None or (code not in (0, GAVE_UP) and self.restarts < MAX_RESTARTS)


def launcher(name: str) -> Launcher:
    """The launcher called `name`. Raises LaunchError, naming the near one."""
    if name not in LAUNCHERS:
        raise LaunchError(f"no launcher {name!r}{near(name, LAUNCHERS)}; known: {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]


def watch(seats: Iterable[WorkerHandle]) -> list[Watched]:
    """The seats, to be watched."""
    return [Watched(seat) for seat in seats]


def revive(watched: Sequence[Watched], now: float) -> list[Watched]:
    """Fill seats whose workers crashed, after 1, 2, 4 ... s, each at most MAX_RESTARTS times without STEADY_S of work
    in between; those that were filled.
    """
    started = []
    for place in watched:
        if place.since is not None and now - place.since > STEADY_S and place.seat.exit_code() is None:
            place.restarts, place.since = 0, None
        if not place.crashed or place.restarts >= MAX_RESTARTS:
            continue
        if place.restart_at is None:
            place.restart_at = now + FIRST_PAUSE_S * 2**place.restarts
        elif now >= place.restart_at:
            place.seat.restart()
            place.restarts += 1
            place.restart_at, place.since = None, now
            started.append(place)
    return started


POLL_S = 1.0


class Interrupted(Exception):
    """The launch was stopped by a signal, and has stopped its workers in order."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on where it stopped")
        self.exit_code = 128 + number


class _Ended(Exception):
    """The workers have ended, or were told to."""


def launch(wanted: Launch, console: Console, launcher_name: str = "local") -> list[Snapshot]:
    """Run `wanted` until its studies' budgets are spent; the studies as they then stand.

    The slots of workers that died before this launch are opened first, for others to go on with their trials; so are
    those of workers that die during it, and the workers are started again. Nothing is started for spent budgets.

    Raises Interrupted after SIGINT or SIGTERM, which stop all workers in order, and LaunchError where the workers
    end early.
    """
    launcher_of = launcher(launcher_name)
    with explained(wanted.url):
        storage, engine = open_storage(wanted.url), open_engine(wanted.url)
        studies = [load_study(name, storage) for name in wanted.studies]
        if not studies:
            raise StudyError("no study to launch")
        detector = OrphanDetector(grace_s=wanted.lease_s / 3)
        for study in studies:
            recover(study, engine, detector)
        endings: list[_Ending] = []
        if not all(stop_reason(study, engine) for study in studies):
            endings = _watch(launcher_of, wanted, studies, engine, detector, console)
        for study in studies:
            recover(study, engine, detector)
            if over := stop_reason(study, engine):
                console.print(f"study {study.name}: {over}", highlight=False, markup=False, soft_wrap=True)
        snaps = [snapshot(study, engine) for study in studies]
        unmet = [study.name for study in studies if not stop_reason(study, engine)]
    engine.dispose()
    if console.is_terminal:
        console.print(render(snaps))
    codes = [ending.code for ending in endings]
    if unmet and any(codes):
        last = dict.fromkeys(ending.said for ending in endings if ending.said)
        raise LaunchError(
            f"workers ended before {', '.join(unmet)} was done (exit codes {codes}): {' | '.join(last)}; "
            f"logs: {wanted.logs}"
        )
    return snaps


@dataclass(frozen=True, slots=True)
class _Ending:
    """A worker's exit code, None where it was stopped, and its last words."""

    code: int | None
    said: str


def _watch(
    launcher_of: Launcher,
    wanted: Launch,
    studies: Sequence[Study],
    engine: Engine,
    detector: OrphanDetector,
    console: Console,
) -> list[_Ending]:
    """Start the workers and stay until all have ended for good; how they ended."""
    plain = PlainLines()
    with stop_signals() as (told, arrived), _live(console) as live, launcher_of(wanted) as seats:
        workers = watch(seats)
        while any(worker.at_work for worker in workers) and not told.wait(POLL_S):
            for worker in revive(workers, time.monotonic()):
                console.print(f"{worker.seat.name} died and was started again", highlight=False)
            try:
                snaps = retry(
                    lambda: _look(studies, engine, detector),
                    lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
                    check=lambda: _end_if(told, workers),
                )
            except _Ended:
                break
            if live:
                live.update(render(snaps), refresh=True)
            else:
                for line in plain.new(snaps, time.monotonic()):
                    console.print(line, soft_wrap=True, highlight=False, markup=False)
        if told.is_set():
            console.print("stopping the workers ...", highlight=False)
        endings = [_Ending(worker.seat.exit_code(), worker.seat.last_line()) for worker in workers]
    for study in studies:
        recover(study, engine, detector)
    if arrived:
        raise Interrupted(arrived[0])
    return endings


def _look(studies: Sequence[Study], engine: Engine, detector: OrphanDetector) -> list[Snapshot]:
    """Open the slots of workers that are gone, whether or not another one asks; the studies as they stand."""
    for study in studies:
        recover(study, engine, detector)
    return [snapshot(study, engine) for study in studies]


def _end_if(told: threading.Event, workers: Sequence[Watched]) -> None:
    """End the waiting for a database once it is waited for by nobody else."""
    if told.is_set() or not any(worker.at_work for worker in workers):
        raise _Ended


@contextmanager
def _live(console: Console) -> Iterator[Live | None]:
    """A table that is drawn over and over on a terminal; None where the output goes elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield live
