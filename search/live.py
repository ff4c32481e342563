"""How far a search is, as one frozen value and as a table for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from search.export import best_trial
from search.slots import progress
from search.study import SearchStudy

RECENT = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One study at one moment."""

    name: str
    metric: str
    budget: int
    complete: int
    pruned: int
    failed: int
    running: tuple[str, ...]
    best: str
    recent: tuple[str, ...]

    @property
    def finished(self) -> int:
        return self.complete + self.pruned


def snapshot(search: SearchStudy, engine: Engine) -> Snapshot:
    """Read the study once."""
    trials = search.study.get_trials(deepcopy=False)
    by_state = {state: [t for t in trials if t.state == state] for state in TrialState}
    best = best_trial(search)
    dated = [(t.datetime_complete, t.number, t) for t in trials if t.datetime_complete is not None]
    ended = [trial for _, _, trial in sorted(dated, key=lambda row: row[:2], reverse=True)]
    running = tuple(
        f"trial {t.number} epoch {t.last_step + 1 if t.last_step is not None else 0}/{search.spec.epochs}"
        + (f" {t.intermediate_values[t.last_step]:+.2f}" if t.last_step is not None else "")
        for t in by_state[TrialState.RUNNING]
    )
    return Snapshot(
        name=search.name,
        metric=search.spec.metric,
        budget=progress(engine, search.name).budget,
        complete=len(by_state[TrialState.COMPLETE]),
        pruned=len(by_state[TrialState.PRUNED]),
        failed=len(by_state[TrialState.FAIL]),
        running=running,
        best=f"{best.value:+.3f} (trial {best.number})" if best else "none yet",
        recent=tuple(_recent_line(t) for t in ended[:RECENT]),
    )


def _recent_line(trial: FrozenTrial) -> str:
    value = trial.value
    if value is None and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    shown = f" {value:+.3f}" if value is not None else ""
    return f"trial {trial.number} {trial.state.name.lower()}{shown} {trial.user_attrs.get('reason', '')}".rstrip()


def render(snapshots: Sequence[Snapshot]) -> RenderableType:
    """A panel a study: bar, counts, best, running and recent trials; fits 80 columns."""
    parts: list[RenderableType] = []
    for snap in snapshots:
        table = Table.grid(padding=(0, 1))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        table.add_row(snap.name, ProgressBar(total=snap.budget, completed=snap.finished, width=40))
        counts = f"{snap.finished}/{snap.budget} finished: {snap.complete} complete, {snap.pruned} pruned"
        table.add_row("trials", counts + (f", {snap.failed} failed" if snap.failed else ""))
        table.add_row(f"best {snap.metric}", snap.best)
        for label, lines in (("running", snap.running), ("recent", snap.recent)):
            for i, line in enumerate(lines):
                table.add_row(label if i == 0 else "", Text(line, overflow="ellipsis", no_wrap=True))
        parts.append(table)
    return Group(*parts)


def plain_line(snap: Snapshot) -> str:
    """One line for logs and pipes."""
    return (
        f"{snap.name}: {snap.finished}/{snap.budget} finished ({snap.complete} complete, {snap.pruned} pruned, "
        f"{snap.failed} failed), best {snap.metric} {snap.best}"
    )
