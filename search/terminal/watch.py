"""Looking on at a search that runs elsewhere: a view drawn over and over, or plain lines where nobody sees it."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from sqlalchemy import Engine

from search.signals import stop_signals
from search.storage.retry import patiently
from search.study.record import AnyStudy
from search.study.status import Snapshot, snapshot
from search.terminal.live_view import ended_line, plain_line, render

PLAIN_EVERY_S = 10.0


@dataclass(slots=True)
class PlainLines:
    """What is new of a search since it was last told, in lines: trials' ends, and every ten seconds where it is."""

    every_s: float = PLAIN_EVERY_S
    _told: dict[str, set[int]] = field(default_factory=dict)
    _said: tuple[str, ...] = ()
    _said_at_s: float = float("-inf")

    def new(self, snaps: Sequence[Snapshot], now_s: float) -> list[str]:
        """The lines to say at `now_s`, a monotonic time. What ended before the first look is not told."""
        lines = []
        for snap in snaps:
            ended = {trial.number for trial in snap.recent}
            known = self._told.setdefault(snap.name, ended)
            lines += [ended_line(snap, trial) for trial in reversed(snap.recent) if trial.number not in known]
            known |= ended
        standing = tuple(plain_line(snap) for snap in snaps)
        if standing != self._said and now_s - self._said_at_s >= self.every_s:
            self._said, self._said_at_s = standing, now_s
            lines += standing
        return lines


def watch(
    searches: Sequence[AnyStudy],
    engine: Engine,
    console: Console,
    *,
    every_s: float = 2.0,
    once: bool = False,
) -> list[Snapshot]:
    """Show the studies until no trial of any starts any more, or until SIGINT or SIGTERM; as they then stand.

    Nothing is written to the database, and a database that goes away is waited for. once: a single look.
    """
    with ExitStack() as stack:
        told, _ = stack.enter_context(stop_signals())
        if console.is_terminal:
            show = _drawing(stack.enter_context(Live(console=console, auto_refresh=False, transient=True)))
        else:
            show = _saying(console, PlainLines())
        while True:
            snaps = patiently(
                lambda: [snapshot(search, engine) for search in searches],
                lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
                check=lambda: _end_if(told.is_set()),
            )
            if once or all(snap.over for snap in snaps):
                break
            show(snaps)
            if told.wait(every_s):
                break
    if console.is_terminal:
        console.print(render(snaps))
    else:
        for snap in snaps:
            console.print(plain_line(snap), highlight=False, markup=False, soft_wrap=True)
    return snaps


def _drawing(live: Live) -> Callable[[Sequence[Snapshot]], None]:
    return lambda snaps: live.update(render(snaps), refresh=True)


def _saying(console: Console, plain: PlainLines) -> Callable[[Sequence[Snapshot]], None]:
    def say(snaps: Sequence[Snapshot]) -> None:
        for line in plain.new(snaps, time.monotonic()):
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    return say


def _end_if(told: bool) -> None:
    if told:
        raise KeyboardInterrupt
