"""The cache of the fast storage: finished trials, which do not change, and the rows read so far of the others."""

import copy
import math
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.decode import Decoder, Head, number_of, state_of, trial_of
from search.storage.fast.decode import to_local as to_local  # search.dashboard.storage imports it from here
from search.storage.fast.tables import NO_MARKS, Marks

MANY = 64  # more new values than this are sorted together, fewer are inserted one by one


@dataclass(slots=True, eq=False)
class Rungs:
    """The reports of a study's complete trials, sorted for each step. Needs a lock if threads share it.

    trials: the trial_ids.
    """

    trials: set[int] = field(default_factory=set)
    _n_at: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    _sorted: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # without NaN
    _new: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial_ids: Iterable[int], reports: Iterable[tuple[int, int, float]]) -> None:
        """Add complete trials with all their reports (trial_id, step, value).

        Trials that were added before are skipped, for complete trials do not change.
        """
        new = set(trial_ids) - self.trials
        for trial_id, step, value in reports:
            if trial_id in new:
                self._n_at[step] += 1
                if not math.isnan(value):
                    self._new[step].append(value)
        self.trials |= new

    def n_at(self, step: int) -> int:
        """Return the number of trials with a report at `step`, NaN included."""
        return self._n_at.get(step, 0)

    def percentile(self, step: int, percent: float) -> float:
        """Return numpy.nanpercentile of the values at `step`, exactly; NaN where all are NaN."""
        values = self._values(step)
        n = len(values)
        if n == 0:
            return math.nan
        at = (n - 1) * (percent / 100)
        low, high = (n - 1, n - 1) if at >= n - 1 else (math.floor(at), math.floor(at) + 1)
        a, b = values[low], values[high]
        if not (math.isfinite(a) and math.isfinite(b)):  # numpy has rules of its own for infinities
            with np.errstate(invalid="ignore"):
                return float(np.nanpercentile(np.array(values), percent))
        weight, difference = at - low, b - a
        return a + difference * weight if weight < 0.5 else b - difference * (1 - weight)

    def _values(self, step: int) -> list[float]:
        values, new = self._sorted[step], self._new.pop(step, [])
        if len(new) > MANY:
            values += new
            values.sort()
        else:
            for value in new:
                insort(values, value)
        return values


@dataclass(slots=True, eq=False)
class StudyCache:
    """The cache of one study; trials are identified by trial_id.

    name, identity, proof, proof_began: what the study is recognised by, for SQLite gives the id of a deleted study, and
    those of its trials, to others: its name, the attribute IDENTITY as JSON (None where it has none), and the trial_id
    and the start of the newest trial with a start (0 and None where there is none).
    newest: the highest trial_id read. heads: of all trials up to it, in order. running, waiting: trials in these
    states. unread: finished trials whose rows have not been read. trials: those whose rows have been read, of an
    unfinished one up to its `marks`. distributions: by name of the param. rungs: None until a pruner needs them.
    has_pruner: a pruner has read the study, and will do so after each report.
    """

    name: str = ""
    identity: str | None = None
    proof: int = 0
    proof_began: datetime | None = None
    newest: int = 0
    heads: dict[int, Head] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    unread: set[int] = field(default_factory=set)
    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    marks: dict[int, Marks] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    rungs: Rungs | None = None
    has_pruner: bool = False
    _by_states: dict[tuple[TrialState, ...], list[FrozenTrial]] = field(default_factory=dict)

    def has_proof(self) -> bool:
        """Return whether the study could be told from another one that got its name and its id."""
        return self.identity is not None or self.proof_began is not None

    def is_study(self, name: str, identity: str | None, began: datetime | None) -> bool:
        """Return whether the cache is of the study that has this name, IDENTITY, and start of the trial `proof` now."""
        same_identity = self.identity is None or self.identity == identity
        return not self.name or (self.name == name and same_identity and self.proof_began == began)

    def complete(self) -> list[int]:
        """Return the trial_ids of complete trials."""
        return [trial_id for trial_id, head in self.heads.items() if head.state == TrialState.COMPLETE]

    def update(self, changed: Iterable[Any]) -> None:
        """Add the rows of reads.changed_trials. Trials that have finished since are marked as unread."""
        done: set[int] = set()
        reports: list[tuple[int, int, float]] = []
        last = None
        for name, identity, _, trial_id, number, state_name, began, ended, step, value, kind, *_ in changed:
            self.name, self.identity = name, identity
            if step is not None and (report := number_of(value, kind)) is not None:
                reports.append((trial_id, step, report))
            if trial_id is None or trial_id == last:
                continue
            last, state = trial_id, state_of(state_name)
            if state == TrialState.COMPLETE:
                done.add(trial_id)
            head = self.heads[trial_id] = Head(number, state, began, ended)
            self.newest = max(self.newest, trial_id)
            if began is not None and trial_id >= self.proof:
                self.proof, self.proof_began = trial_id, began
            self.running.discard(trial_id)
            self.waiting.discard(trial_id)
            cached = self.trials.get(trial_id)
            if state.is_finished():
                self.marks.pop(trial_id, None)
                if cached is None or not (cached.state.is_finished() and head.is_of(cached)):
                    self.trials.pop(trial_id, None)
                    self.unread.add(trial_id)
            else:
                (self.running if state == TrialState.RUNNING else self.waiting).add(trial_id)
                if cached is not None:
                    cached = self.trials[trial_id] = copy.copy(cached)
                    cached.state, cached.datetime_start = state, to_local(began)
        if last is not None:
            self._by_states.clear()
        if self.rungs is not None:
            self.rungs.add(done, reports)

    def add_finished(self, trial: FrozenTrial) -> None:
        """Add a finished trial that was read with all its rows, so that it is not read again."""
        cached, head = self.trials.get(trial._trial_id), self.heads.get(trial._trial_id)
        if head is not None and not head.is_of(trial):
            return  # it was read before the cache, and its trial_id is another trial's by now
        if cached is None or not cached.state.is_finished():
            self.trials[trial._trial_id] = trial
            self.unread.discard(trial._trial_id)
            for name, distribution in trial._distributions.items():
                self.distributions.setdefault(name, distribution)

    def to_read(self, states: tuple[TrialState, ...]) -> dict[int, Marks]:
        """Return trial_id -> marks to read from, for trials in `states` that are unread or may have new rows."""
        wanted: dict[int, Marks] = {}
        if any(state.is_finished() for state in states):
            wanted = {trial_id: NO_MARKS for trial_id in self.unread if self.heads[trial_id].state in states}
        for state, ids in ((TrialState.RUNNING, self.running), (TrialState.WAITING, self.waiting)):
            if state in states:
                wanted |= {trial_id: self.marks.get(trial_id, NO_MARKS) for trial_id in ids}
        return wanted

    def add_rows(self, trial_ids: Iterable[int], rows: Iterable[Any], decoder: Decoder) -> None:
        """Add the result of reads.rows_after for `trial_ids`."""
        groups = decoder.group(rows)
        for trial_id in trial_ids:
            head, cached = self.heads[trial_id], self.trials.get(trial_id)
            new_rows = groups.get(trial_id)
            if cached is None or new_rows is not None:
                self._by_states.clear()
                trial = cached or trial_of(trial_id, head)
                self.trials[trial_id] = trial if new_rows is None else decoder.with_rows(trial, new_rows)
                for name, distribution in self.trials[trial_id]._distributions.items():
                    self.distributions.setdefault(name, distribution)
            if head.state.is_finished():
                self.unread.discard(trial_id)
            else:
                old = self.marks.get(trial_id, NO_MARKS)
                new = NO_MARKS if new_rows is None else new_rows.marks
                a, b, c, d, e = map(max, old, new)
                self.marks[trial_id] = (a, b, c, d, e)

    def trials_in(self, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """Return a new list of the trials in `states`, by number."""
        found = self._by_states.get(states)
        if found is None:
            found = self._by_states[states] = list(self._in(states))
        return list(found)

    def _in(self, states: tuple[TrialState, ...]) -> Iterator[FrozenTrial]:
        if any(state.is_finished() for state in states):
            yield from (self.trials[trial_id] for trial_id, head in self.heads.items() if head.state in states)
        else:  # few trials, found without a loop over all
            unfinished = ((TrialState.RUNNING, self.running), (TrialState.WAITING, self.waiting))
            ids = (trial_id for state, trial_ids in unfinished if state in states for trial_id in trial_ids)
            yield from (self.trials[trial_id] for trial_id in sorted(ids))
