"""A search from start to spent budget on this machine, shown live."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from sqlalchemy import Engine

from search.launchers import LocalLaunch, LocalWorker, at_work, local_workers, revive
from search.live import Snapshot, plain_line, render, snapshot
from search.patience import patiently
from search.slots import Lookout
from search.storage import explained, open_engine, open_storage
from search.study import SearchStudy, StudyError, load_study
from search.turns import sweep, why_over
from training.decode import ConfigError

POLL_S = 1.0
PLAIN_EVERY_S = 10.0


class LaunchError(ConfigError):
    """Workers ended before the budget was spent."""


class Interrupted(Exception):
    """The launch was stopped by a signal, and has stopped its workers in order."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on where it stopped")
        self.exit_code = 128 + number


class _Ended(Exception):
    """The workers have ended, or were told to."""


def launch(local: LocalLaunch, console: Console) -> list[Snapshot]:
    """Run `local` until its studies' budgets are spent; the studies as they then stand.

    Trials of workers that died before this launch are failed and their slots given back first; so are those of
    workers that die during it, and the workers are started again. Nothing is started for spent budgets.

    Raises Interrupted after SIGINT or SIGTERM, which stop all workers in order, and LaunchError where the workers
    end early.
    """
    with explained(local.url):
        storage, engine = open_storage(local.url), open_engine(local.url)
        searches = [load_study(name, storage) for name in local.studies]
        if not searches:
            raise StudyError("no study to launch")
        lookout = Lookout(patience_s=local.lease_s / 3)
        for search in searches:
            sweep(search, engine, lookout)
        workers: list[LocalWorker] = []
        if not all(why_over(search, engine) for search in searches):
            workers = _watch(local, searches, engine, lookout, console)
        for search in searches:
            sweep(search, engine, lookout)
            if over := why_over(search, engine):
                console.print(f"study {search.name}: {over}", highlight=False, markup=False, soft_wrap=True)
        snaps = [snapshot(search, engine) for search in searches]
        unmet = [search.name for search in searches if not why_over(search, engine)]
    engine.dispose()
    if console.is_terminal:
        console.print(render(snaps))
    codes = [worker.process.returncode for worker in workers]
    if unmet and any(codes):
        last = dict.fromkeys(line for worker in workers for line in _last_line(worker.log))
        raise LaunchError(
            f"workers ended before {', '.join(unmet)} was done (exit codes {codes}): {' | '.join(last)}; "
            f"logs: {local.logs}"
        )
    return snaps


def _watch(
    local: LocalLaunch, searches: Sequence[SearchStudy], engine: Engine, lookout: Lookout, console: Console
) -> list[LocalWorker]:
    """Start the workers and stay until all have ended for good."""
    said_at = float("-inf")
    with _signals() as (told, arrived), _live(console) as live, local_workers(local) as workers:
        while at_work(workers) and not told.wait(POLL_S):
            for worker in revive(local, workers, time.monotonic()):
                console.print(f"{worker.log.stem} died and was started again", highlight=False)
            try:
                snaps = patiently(
                    lambda: _look(searches, engine, lookout),
                    lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
                    check=lambda: _end_if(told, workers),
                )
            except _Ended:
                break
            if live:
                live.update(render(snaps), refresh=True)
            elif time.monotonic() - said_at > PLAIN_EVERY_S:
                said_at = time.monotonic()
                console.print("\n".join(plain_line(snap) for snap in snaps), soft_wrap=True, highlight=False)
        if told.is_set():
            console.print("stopping the workers ...", highlight=False)
    for search in searches:
        sweep(search, engine, lookout)
    if arrived:
        raise Interrupted(arrived[0])
    return workers


def _look(searches: Sequence[SearchStudy], engine: Engine, lookout: Lookout) -> list[Snapshot]:
    """Open the slots of workers that are gone, whether or not another one asks; the studies as they stand."""
    for search in searches:
        sweep(search, engine, lookout)
    return [snapshot(search, engine) for search in searches]


def _end_if(told: threading.Event, workers: Sequence[LocalWorker]) -> None:
    """End the waiting for a database once it is waited for by nobody else."""
    if told.is_set() or not at_work(list(workers)):
        raise _Ended


@contextmanager
def _live(console: Console) -> Iterator[Live | None]:
    """A table that is drawn over and over on a terminal; None where the output goes elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield live


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that SIGINT and SIGTERM set, and the numbers of those that came; the old handlers come back after."""
    told, arrived = threading.Event(), list[int]()

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        told.set()

    if threading.current_thread() is not threading.main_thread():
        yield told, arrived
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told, arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_line(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1:]
