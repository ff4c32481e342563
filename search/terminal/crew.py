"""The roster of workers, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from search.queue.workers import WorkerRow

STYLES = {"working": "green", "waiting": "", "stopped": "dim", "died": "red"}


def crew_table(rows: Sequence[WorkerRow]) -> Table:
    """A line a worker, 80 columns wide at most."""
    alive = sum(row.doing.state in ("working", "waiting") for row in rows)
    died = sum(row.doing.state == "died" for row in rows)
    title = f"{alive} alive" + (f", {died} died" if died else "") + f" of {len(rows)} workers in a week"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("worker", max_width=17, no_wrap=True)
    table.add_column("device", max_width=12, no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("trial", max_width=13, no_wrap=True)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("unseen", justify="right", no_wrap=True)
    for row in rows:
        doing = row.doing
        # the end of a study's name gives way, never the trial's number
        trial = "" if doing.trial is None else f"{doing.trial} {doing.study or ''}".rstrip()
        table.add_row(
            f"{row.process.pid}@{row.process.host}",
            row.device,
            doing.state,
            trial,
            "" if doing.epoch is None else str(doing.epoch + 1),
            "" if doing.score is None else f"{doing.score:+.2f}",
            ago(row.seen_s_ago),
            style=STYLES[doing.state],
        )
    return table


def crew_document(rows: Sequence[WorkerRow]) -> list[dict[str, Any]]:
    """The same and more as plain values; epochs are counted from 0, times are seconds."""
    return [
        {
            "worker": row.process.name,
            "host": row.process.host,
            "pid": row.process.pid,
            "device": row.device,
            "state": row.doing.state,
            "study": row.doing.study,
            "trial": row.doing.trial,
            "epoch": row.doing.epoch,
            "score": row.doing.score,
            "started_s_ago": round(row.started_s_ago, 1),
            "seen_s_ago": round(row.seen_s_ago, 1),
        }
        for row in rows
    ]


def ago(seconds: float) -> str:
    """A span in its largest unit: 42 s, 7 min, 3 h, 2 d."""
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{max(0, int(seconds))} s"
