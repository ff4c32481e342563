"""A search drawn for the terminal, 80 columns wide, and told in plain lines for pipes."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.study.status import EndedTrial, RunningTrial, Snapshot
from search.terminal.crew import ago

SHOWN_RUNNING = 8
BAR_WIDTH = 30
STATE_STYLES = {"complete": "green", "pruned": "yellow", "fail": "red"}


def render(snapshots: Sequence[Snapshot]) -> RenderableType:
    """Every study's bar, counts and best; then the trials that run, and those that ended last and why."""
    parts: list[RenderableType] = []
    for snap in snapshots:
        parts += [_header(snap), _facts(snap)]
    several = len(snapshots) > 1
    running = [(snap, trial) for snap in snapshots for trial in snap.running]
    if running:
        parts += [Text(), _running_table(running, several)]
    # the latest of each: of one study as many as it holds, of several the newest over all
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
    counts = f"{snap.complete} complete, {snap.pruned} pruned"
    counts += f", {snap.failed} failed" if snap.failed else ""
    lines = Text(no_wrap=True, overflow="ellipsis")
    lines.append(f"  {_best(snap)}\n", style="bold" if snap.best_trial else "")
    lines.append(f"  {counts}; {_pace(snap)}")
    return lines


def _best(snap: Snapshot) -> str:
    found = snap.best_trial
    when = f", {ago(found.ended_s_ago)} ago" if found and found.ended_s_ago is not None else ""
    return f"best {snap.metric} {snap.best.removesuffix(')')}{when}{')' if found else ''}"


def _pace(snap: Snapshot) -> str:
    if snap.over:
        return snap.over
    left = f"{ago(snap.eta_s)} to go, " if snap.eta_s is not None else ""
    workers = f"{snap.n_workers} at work" if snap.n_workers else "no worker at work"
    pace = f", {snap.last_hour} in the last hour" if snap.last_hour else ""
    return left + workers + pace


def _running_table(rows: Sequence[tuple[Snapshot, RunningTrial]], several: bool) -> Table:
    hidden = len(rows) - SHOWN_RUNNING
    table = _table(f"running: {len(rows)}" + (f" (of which {SHOWN_RUNNING} are shown)" if hidden > 0 else ""), several)
    table.add_column("worker", max_width=14 if several else 18, no_wrap=True, overflow="ellipsis")
    table.add_column("device", max_width=10 if several else 13, no_wrap=True, overflow="ellipsis")
    for heading in ("epoch", "score", "for"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=6)
    for snap, trial in rows[:SHOWN_RUNNING]:
        table.add_row(
            *([snap.name] if several else []),
            str(trial.number),
            trial.worker or "waits for one",
            trial.device,
            f"{trial.epoch}/{trial.n_epochs}",
            _number(trial.score),
            "" if trial.seconds is None else ago(trial.seconds),
            style="" if trial.worker else "dim",
        )
    return table


def _ended_table(rows: Sequence[tuple[Snapshot, EndedTrial]], several: bool) -> Table:
    table = _table("ended last", several)
    table.add_column("state", no_wrap=True, min_width=8)
    # what is long gives way: the reason, not the numbers
    table.add_column("score", justify="right", no_wrap=True, min_width=7)
    table.add_column("ago", justify="right", no_wrap=True, min_width=6)
    table.add_column("why", no_wrap=True, overflow="ellipsis")
    for snap, trial in rows:
        name = "failed" if trial.state == "fail" else trial.state
        state = Text(name, style=STATE_STYLES.get(trial.state, ""))
        cells = (str(trial.number), state, _number(trial.score), ago(trial.ended_s_ago), Text(trial.reason))
        table.add_row(*([snap.name] if several else []), *cells)
    return table


def _table(title: str, several: bool) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    if several:
        table.add_column("study", max_width=14, min_width=14, no_wrap=True, overflow="ellipsis")
    table.add_column("trial", justify="right", no_wrap=True, min_width=5)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def plain_line(snap: Snapshot) -> str:
    """One line for logs and pipes."""
    left = f", {ago(snap.eta_s)} to go" if snap.eta_s is not None and not snap.over else ""
    return (
        f"{snap.name}: {snap.finished}/{snap.budget} finished ({snap.complete} complete, {snap.pruned} pruned, "
        f"{snap.failed} failed), best {snap.metric} {snap.best}{left}"
    )


def ended_line(snap: Snapshot, trial: EndedTrial) -> str:
    """One trial's end for logs and pipes."""
    name = "failed" if trial.state == "fail" else trial.state
    score = f" {trial.score:+.3f}" if trial.score is not None else ""
    return f"{snap.name}: trial {trial.number} {name}{score}" + (f": {trial.reason}" if trial.reason else "")
