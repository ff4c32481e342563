"""Show a search that runs elsewhere: a live view on a terminal, plain lines in a file or a pipe."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from search.errors import NoBudget, StudyError
from search.queue.workers import WorkerRow
from search.signals import Interrupted, stop_signals
from search.storage.retry import retry
from search.study.record import StudyLike, StudyRecord, current_record
from search.study.status import EndedTrial, RunningTrial, Snapshot, snapshot
from search.trials import Fate
from training.numbers import signed

SHOWN_RUNNING = 8
SHOWN_IN_LINE = 3  # running trials in a plain line
BAR_WIDTH = 30
PLAIN_EVERY_S, UNCHANGED_EVERY_S = 10.0, 60.0
FATE_STYLES = {Fate.COMPLETE: "green", Fate.PRUNED: "yellow", Fate.INFEASIBLE: "yellow", Fate.FAILED: "red"}
WORKER_STYLES = {"working": "green", "waiting": "", "stopped": "dim", "died": "red"}


def render(snapshots: Sequence[Snapshot]) -> RenderableType:
    """Return the live view: a bar, counts and the best trial of each study, then running and recently ended trials."""
    parts: list[RenderableType] = []
    for snap in snapshots:
        parts += [_header(snap), _facts(snap)]
    several = len(snapshots) > 1
    running = [(snap, trial) for snap in snapshots for trial in snap.running]
    if running:
        parts += [Text(), _running_table(running, several)]
    # the newest over all studies
    ended = sorted(((s, t) for s in snapshots for t in s.recent), key=lambda row: row[1].ended_s_ago)
    if ended:
        parts += [Text(), _ended_table(ended[: max(5, len(snapshots))], several)]
    return Group(*parts)


def _header(snap: Snapshot) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    line.add_column(style="bold", no_wrap=True, overflow="ellipsis", max_width=28)
    line.add_column(width=BAR_WIDTH)
    line.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, snap.budget), completed=min(snap.finished, snap.budget), width=BAR_WIDTH)
    line.add_row(snap.name, bar, f"{snap.finished}/{snap.budget}")
    return line


def _facts(snap: Snapshot) -> RenderableType:
    counts = _counts(snap)
    lines = Text(no_wrap=True, overflow="ellipsis")
    lines.append(f"  {_best(snap)}\n", style="bold" if snap.best_trial else "")
    lines.append(f"  {counts}; {_pace(snap)}")
    if snap.problem:
        lines.append(f"\n  {snap.problem}", style="yellow")
    return lines


def _counts(snap: Snapshot) -> str:
    """Return the numbers of trials by fate, and of other programs' trials; the rarer ones only if there are any."""
    infeasible = f", {snap.infeasible} infeasible" if snap.infeasible else ""
    others = f"; {snap.others} by other programs" if snap.others else ""
    return f"{snap.complete} complete, {snap.pruned} pruned{infeasible}, {snap.failed} failed{others}"


def _best(snap: Snapshot) -> str:
    found = snap.best_trial
    when = f", {ago(found.ended_s_ago)} ago" if found and found.ended_s_ago is not None else ""
    return f"best {snap.metric} {snap.best.removesuffix(')')}{when}{')' if found else ''}"


def _pace(snap: Snapshot) -> str:
    if snap.stop_reason:
        return snap.stop_reason
    left = f"{ago(snap.eta_s)} left, " if snap.eta_s is not None else ""
    workers = f"{snap.n_workers} at work" if snap.n_workers else "no worker at work"
    pace = f", {snap.last_hour} in the last hour" if snap.last_hour else ""
    return left + workers + pace


def _running_table(rows: Sequence[tuple[Snapshot, RunningTrial]], several: bool) -> Table:
    hidden = len(rows) - SHOWN_RUNNING
    table = _table(f"running: {len(rows)}" + (f" ({SHOWN_RUNNING} shown)" if hidden > 0 else ""), several)
    table.add_column("worker", max_width=14 if several else 18, no_wrap=True, overflow="ellipsis")
    table.add_column("device", max_width=10 if several else 13, no_wrap=True, overflow="ellipsis")
    for heading in ("epoch", "score", "for"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    for snap, trial in rows[:SHOWN_RUNNING]:
        table.add_row(
            *([snap.name] if several else []),
            str(trial.number),
            trial.worker or "waiting",
            trial.device,
            f"{trial.epoch}/{trial.n_epochs}",
            signed(trial.score),
            "" if trial.seconds is None else ago(trial.seconds),
            style="" if trial.worker else "dim",
        )
    return table


def _ended_table(rows: Sequence[tuple[Snapshot, EndedTrial]], several: bool) -> Table:
    table = _table("ended last", several)
    table.add_column("fate", no_wrap=True, min_width=8)
    # only the reason is shortened, never the numbers
    table.add_column("score", justify="right", no_wrap=True, min_width=7)
    table.add_column("ago", justify="right", no_wrap=True, min_width=6)
    table.add_column("why", no_wrap=True, overflow="ellipsis")
    for snap, trial in rows:
        state = Text(trial.fate, style=FATE_STYLES.get(trial.fate, ""))
        cells = (str(trial.number), state, signed(trial.score), ago(trial.ended_s_ago), Text(trial.reason))
        table.add_row(*([snap.name] if several else []), *cells)
    return table


def _table(title: str, several: bool) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    if several:
        table.add_column("study", max_width=14, min_width=14, no_wrap=True, overflow="ellipsis")
    table.add_column("trial", justify="right", no_wrap=True, min_width=5)
    return table


def plain_line(snap: Snapshot) -> str:
    """Return the progress of a study and its first running trials in one line, for logs and pipes."""
    left = f", {ago(snap.eta_s)} left" if snap.eta_s is not None and not snap.stop_reason else ""
    return (
        f"{snap.name}: {snap.finished}/{snap.budget} finished ({_counts(snap)}), best {snap.metric} {snap.best}{left}"
        f"{f'; {snap.problem}' if snap.problem else ''}" + _running_words(snap.running)
    )


def _running_words(running: Sequence[RunningTrial]) -> str:
    """Return "; trial 7 epoch 3/8 +2.11, trial 9 epoch 0/8, + 5 more" for running trials; those with a worker first."""
    ordered = sorted(running, key=lambda trial: (not trial.worker, trial.number))
    words = [
        f"trial {trial.number} epoch {trial.epoch}/{trial.n_epochs}"
        + (f" {signed(trial.score)}" if trial.score is not None else "")
        + ("" if trial.worker else " waits for a worker")
        for trial in ordered[:SHOWN_IN_LINE]
    ]
    if len(ordered) > SHOWN_IN_LINE:
        words.append(f"+ {len(ordered) - SHOWN_IN_LINE} more")
    return f"; {', '.join(words)}" if words else ""


def ended_line(snap: Snapshot, trial: EndedTrial) -> str:
    """Return how a trial ended in one line, for logs and pipes."""
    score = f" {trial.score:+.3f}" if trial.score is not None else ""
    return f"{snap.name}: trial {trial.number} {trial.fate}{score}" + (f": {trial.reason}" if trial.reason else "")


@dataclass(slots=True)
class PlainLines:
    """Makes the lines of the plain output: a line for each trial that ended, and the progress from time to time.

    every_s: least seconds between two lines about the progress of the same study.
    unchanged_every_s: seconds until the line about a study that has not changed is repeated; one that is finished is
    not repeated.
    """

    every_s: float = PLAIN_EVERY_S
    unchanged_every_s: float = UNCHANGED_EVERY_S
    _shown_trials: dict[str, set[int]] = field(default_factory=dict)
    _last: dict[str, tuple[str, float]] = field(default_factory=dict)  # study -> its last line but the time left; when

    def new(self, snaps: Sequence[Snapshot], now_s: float) -> list[str]:
        """Return the new lines since the last call. Trials that ended before the first call are left out.

        now_s: monotonic time in seconds.
        """
        lines = []
        for snap in snaps:
            lines += self.ended(snap)
            if self._is_due(snap, now_s):
                lines.append(plain_line(snap))
        return lines

    def ended(self, snap: Snapshot) -> list[str]:
        """Return a line for each trial that ended since the last call."""
        ended = {trial.number for trial in snap.recent}
        shown = self._shown_trials.setdefault(snap.name, ended)
        lines = [ended_line(snap, trial) for trial in reversed(snap.recent) if trial.number not in shown]
        shown |= ended
        return lines

    def _is_due(self, snap: Snapshot, now_s: float) -> bool:
        """Return whether to print the progress of a study, and record it if so."""
        line = plain_line(dataclasses.replace(snap, eta_s=None))  # the time left changes though nothing happens
        last, at_s = self._last.get(snap.name, ("", float("-inf")))
        if line == last and snap.stop_reason:
            return False
        if now_s - at_s < (self.every_s if line != last else self.unchanged_every_s):
            return False
        self._last[snap.name] = line, now_s
        return True


def watch(
    studies: Sequence[StudyRecord],
    engine: Engine,
    console: Console,
    *,
    every_s: float = 2.0,
    once: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> list[Snapshot]:
    """Show the studies until all are finished. Return their last snapshots.

    It writes nothing to the database, and retries while the database is away. Raises Interrupted after SIGINT, SIGTERM
    or SIGHUP, and StudyGone where a study is deleted.

    every_s: seconds between two snapshots.
    once: show one snapshot and return.
    clock: monotonic time in seconds, for the intervals of plain lines.
    """
    with ExitStack() as stack:
        stop, received = stack.enter_context(stop_signals())
        plain = PlainLines()
        if console.is_terminal:
            show = _show_live(stack.enter_context(Live(console=console, auto_refresh=False, transient=True)))
        else:
            show = _show_lines(console, plain, clock)
        while True:
            snaps = retry(
                lambda: _snapshots(studies, engine),
                lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
                check=lambda: _raise_if(received, {}),
            )
            if once or all(snap.stop_reason for snap in snaps):
                break
            show(snaps)
            if stop.wait(every_s):
                break
    if console.is_terminal:
        console.print(render(snaps))
    else:
        for snap in snaps:
            for line in (*([] if once else plain.ended(snap)), plain_line(snap)):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
    _raise_if(received, {study.name: snap.name for study, snap in zip(studies, snaps, strict=True)})
    return snaps


def _snapshots(studies: Sequence[StudyRecord], engine: Engine) -> list[Snapshot]:
    """Take a snapshot of each study under its present name. Raises StudyGone where one was deleted."""
    while True:
        try:
            return [snapshot(current_record(study), engine) for study in studies]
        except (KeyError, NoBudget):  # deleted or renamed between the two calls, else it is an error
            if [current_record(study).name for study in studies] == [study.name for study in studies]:
                raise


def _show_live(live: Live) -> Callable[[Sequence[Snapshot]], None]:
    return lambda snaps: live.update(render(snaps), refresh=True)


def _show_lines(
    console: Console, plain: PlainLines, clock: Callable[[], float]
) -> Callable[[Sequence[Snapshot]], None]:
    def show(snaps: Sequence[Snapshot]) -> None:
        for line in plain.new(snaps, clock()):
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    return show


def _raise_if(received: Sequence[int], renamed: Mapping[str, str]) -> None:
    """Raise Interrupted if a signal was received. renamed: as in Interrupted."""
    if received:
        raise Interrupted(received[0], renamed)


def workers_table(rows: Sequence[WorkerRow]) -> Table:
    """Return a table with a line for each worker, 80 columns wide at most."""
    alive = sum(row.status.state in ("working", "waiting") for row in rows)
    died = sum(row.status.state == "died" for row in rows)
    title = f"{alive} alive" + (f", {died} died" if died else "") + f" of {len(rows)} workers in the last week"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("worker", max_width=17, no_wrap=True)
    table.add_column("device", max_width=12, no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("trial", max_width=13, no_wrap=True)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("unseen", justify="right", no_wrap=True)
    for row in rows:
        status = row.status
        # the number first, so that only the study's name is cut off
        trial = "" if status.trial is None else f"{status.trial} {status.study or ''}".rstrip()
        table.add_row(
            row.process.shown,
            row.device,
            status.state,
            trial,
            "" if status.epoch is None else str(status.epoch + 1),
            "" if status.score is None else f"{status.score:+.2f}",
            ago(row.seen_s_ago),
            style=WORKER_STYLES[status.state],
        )
    return table


def workers_document(rows: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """Return the workers as plain values for JSON. Epochs count from 0, times are in seconds."""
    return [
        {
            "worker": row.process.name,
            "host": row.process.host,
            "pid": row.process.pid,
            "device": row.device,
            "state": row.status.state,
            "study": row.status.study,
            "trial": row.status.trial,
            "epoch": row.status.epoch,
            "score": row.status.score,
            "started_s_ago": round(row.started_s_ago, 1),
            "seen_s_ago": round(row.seen_s_ago, 1),
        }
        for row in rows
    ]


def ago(seconds: float) -> str:
    """Return a duration in its largest unit: 42 s, 7 min, 3 h, 2 d."""
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{max(0, int(seconds))} s"


def show_all(studies: Sequence[StudyLike], problems: Mapping[str, str], engine: Engine, console: Console) -> None:
    """Print a line for each study.

    problems: name -> reason for the studies that cannot be read. Those whose budget is missing are added to them.
    """
    if not studies and not problems:
        console.print("no study yet; create one: drivebeat create STUDY.toml")
        return
    # 80 columns have room for a study's name only if the counts share one
    table = new_table("study", "model", right=("finished", "p/i/f", "metric", "best"))
    states, problems = states_of(studies, problems, engine)
    families = {study.name: study.family for study in studies}
    for snap in states:
        table.add_row(
            snap.name,
            families[snap.name],
            f"{snap.finished}/{snap.budget}",
            f"{snap.pruned}/{snap.infeasible}/{snap.failed}",
            snap.metric,
            snap.best,
        )
    if table.row_count:
        console.print(table)
        console.print("p/i/f: pruned, infeasible, failed trials", highlight=False)
    for snap in states:
        if snap.problem:
            console.print(f"note: {snap.problem}", soft_wrap=True, highlight=False, markup=False)
    for problem in problems.values():
        console.print(f"not shown: {problem}", soft_wrap=True, highlight=False, markup=False)


def states_of(
    studies: Sequence[StudyLike], problems: Mapping[str, str], engine: Engine
) -> tuple[list[Snapshot], dict[str, str]]:
    """Return the state of each study, and `problems` with those whose budget is missing added."""
    states, found = list[Snapshot](), dict(problems)
    for study in studies:
        try:
            states.append(snapshot(study, engine))
        except StudyError as error:
            found[study.name] = str(error)
    return states, found


def new_table(*left: str, right: Sequence[str]) -> Table:
    """Return an empty table with columns `left` aligned to the left, then columns `right` aligned to the right."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1), highlight=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
