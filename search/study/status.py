"""A snapshot of a study's progress, which search.terminal.status shows."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, select

from search.errors import PluginError
from search.queue.slots import HELD, progress, seconds_left, slot_trials
from search.queue.workers import WorkerRow, WorkerStatus, workers
from search.storage.tables import SLOTS
from search.study.finished import stop_reason
from search.study.record import StudyLike, plugin_problem
from search.trials import FINISHED, REASON, Fate, best_trial, by_origin, count_fates, fate_of

RECENT = 5
RECENT_S = 60.0  # a trial that ended since is listed in any case: it must not be missed between two snapshots
PACE_TRIALS = 20  # number of the latest trials from which the duration of a trial is estimated
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A running trial. worker, device: "" while no worker has it. epoch: number of finished epochs."""

    number: int
    worker: str
    device: str
    epoch: int
    n_epochs: int
    score: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class EndedTrial:
    """A trial that has ended. score: the last one. reason: of its fate."""

    number: int
    fate: Fate
    score: float | None
    ended_s_ago: float
    reason: str


@dataclass(frozen=True, slots=True)
class Best:
    """The best feasible trial so far."""

    number: int
    score: float
    ended_s_ago: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a study at one moment.

    complete, pruned, infeasible, failed: numbers of trials of the budget. others: number of ended trials that another
    program added, which do not count. recent: the trials that ended last. n_workers: number of workers on the study.
    last_hour: number of trials that ended in the last hour. eta_s: estimated seconds until the budget is spent; None
    without ended trials or workers. stop_reason: why no further trial will start, else "". problem: why the plug-ins of
    the study cannot be executed on this machine, else "".
    """

    name: str
    metric: str
    direction: Literal["maximize", "minimize"]
    budget: int
    complete: int
    pruned: int
    infeasible: int
    failed: int
    others: int
    running: tuple[RunningTrial, ...]
    best_trial: Best | None
    recent: tuple[EndedTrial, ...]
    n_workers: int
    last_hour: int
    eta_s: float | None
    stop_reason: str
    problem: str = ""

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.infeasible

    @property
    def best(self) -> str:
        """The best score and its trial as text."""
        found = self.best_trial
        return f"{found.score:+.3f} (trial {found.number})" if found else "none yet"


def snapshot(study: StudyLike, engine: Engine) -> Snapshot:
    """Read the state of the study. Raises NoBudget."""
    budget = progress(engine, study.identity).budget
    trials = study.optuna.get_trials(deepcopy=False)
    own = slot_trials(engine, study.identity)
    budgeted, others = by_origin(trials, own)
    counts = count_fates(budgeted)
    now = datetime.now()
    ended = [t for t in trials if t.datetime_complete is not None]
    ended.sort(key=lambda t: (_ended_s_ago(t, now) or 0.0, -t.number))
    at_work = _at_work(engine, study.identity)
    running = tuple(
        _running(t, study.identity, at_work, study.epochs, now) for t in trials if t.state == TrialState.RUNNING
    )
    best = best_trial(study.optuna)
    reason, problem = _reason_and_problem(study, engine)
    n_left = max(0, budget - sum(counts[fate] for fate in FINISHED))
    paced = [trial for trial in ended if trial.number in own][:PACE_TRIALS]
    return Snapshot(
        name=study.name,
        metric=study.metric,
        direction="minimize" if study.optuna.direction.name == "MINIMIZE" else "maximize",
        budget=budget,
        complete=counts[Fate.COMPLETE],
        pruned=counts[Fate.PRUNED],
        infeasible=counts[Fate.INFEASIBLE],
        failed=counts[Fate.FAILED],
        others=len(others),
        running=running,
        best_trial=Best(best.number, best.value, _ended_s_ago(best, now)) if best and best.value is not None else None,
        recent=tuple(_ended(t, now) for i, t in enumerate(ended) if i < RECENT or _is_recent(t, now)),
        n_workers=len(at_work),
        last_hour=sum((_ended_s_ago(t, now) or 0.0) <= HOUR_S for t in ended),
        eta_s=_eta_s(n_left, paced, running, seconds_left(engine, study.identity)),
        stop_reason=reason,
        problem=problem,
    )


def states_document(states: Iterable[Snapshot], problems: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the states of studies as plain values for JSON. problems: name -> why a study cannot be read."""
    return {"studies": [dataclasses.asdict(state) for state in states], "problems": dict(problems or {})}


def _reason_and_problem(study: StudyLike, engine: Engine) -> tuple[str, str]:
    """Return stop_reason and plugin_problem. Without its plug-ins the end of a study's space is not known."""
    try:
        return stop_reason(study, engine), plugin_problem(study)
    except PluginError as error:
        return "", str(error)


def _ended_s_ago(trial: FrozenTrial, now: datetime) -> float | None:
    if trial.datetime_complete is None:
        return None
    return max(0.0, (now - trial.datetime_complete).total_seconds())


def _is_recent(trial: FrozenTrial, now: datetime) -> bool:
    ago_s = _ended_s_ago(trial, now)
    return ago_s is not None and ago_s <= RECENT_S


def _at_work(engine: Engine, study: str) -> dict[int, WorkerRow]:
    """Return trial -> the living worker that has claimed its slot.

    Slots are current, while the trial in a worker's status is only as new as its last heartbeat.
    """
    living = {row.process.name: row for row in workers(engine) if row.status.state in ("working", "waiting")}
    held = select(SLOTS.c.trial, SLOTS.c.worker).where(
        SLOTS.c.study == study, SLOTS.c.state.in_(HELD), SLOTS.c.trial.is_not(None)
    )
    with engine.begin() as connection:
        rows = connection.execute(held).all()
    return {row.trial: living[row.worker] for row in rows if row.worker in living}


def _running(
    trial: FrozenTrial, study: str, at_work: Mapping[int, WorkerRow], n_epochs: int, now: datetime
) -> RunningTrial:
    row = at_work.get(trial.number)
    reported = -1 if trial.last_step is None else trial.last_step
    score = trial.intermediate_values.get(reported)
    status = row.status if row is not None else WorkerStatus()
    if status.trial == trial.number and status.study == study and status.epoch is not None and status.epoch > reported:
        reported, score = status.epoch, status.score  # epochs whose reports are still pending
    began = trial.datetime_start
    return RunningTrial(
        number=trial.number,
        worker=row.process.shown if row else "",
        device=row.device if row else "",
        epoch=reported + 1,
        n_epochs=n_epochs,
        score=score,
        seconds=max(0.0, (now - began).total_seconds()) if began else None,
    )


def _ended(trial: FrozenTrial, now: datetime) -> EndedTrial:
    score = trial.value if trial.state == TrialState.COMPLETE else None
    if score is None and trial.intermediate_values:
        score = trial.intermediate_values[max(trial.intermediate_values)]
    reason = str(trial.user_attrs.get(REASON, ""))
    return EndedTrial(trial.number, fate_of(trial), score, _ended_s_ago(trial, now) or 0.0, reason)


def _eta_s(
    n_left: int, ended: Sequence[FrozenTrial], running: Sequence[RunningTrial], hours_left_s: float | None
) -> float | None:
    """Estimate the seconds until `n_left` trials have ended, from the mean duration of the trials `ended`.

    Durations are used, and not the number of trials in the last hour: a study that was paused is not slower after it.
    The part of the running trials that is done is subtracted.
    """
    durations_s = [
        (t.datetime_complete - t.datetime_start).total_seconds()
        for t in ended
        if t.datetime_complete and t.datetime_start
    ]
    with_worker = [trial for trial in running if trial.worker]
    if not durations_s or not with_worker:
        return None
    mean_s = sum(durations_s) / len(durations_s)
    done = sum(min(1.0, (trial.seconds or 0.0) / mean_s) for trial in with_worker) if mean_s > 0 else 0.0
    eta_s = max(0.0, n_left - done) * mean_s / len(with_worker)
    return eta_s if hours_left_s is None else min(eta_s, hours_left_s)
