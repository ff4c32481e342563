"""The cache of the fast storage: finished trials, which do not change, and the rows read so far of the others."""

import copy
import json
import math
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.reads import HEAD, NO_MARKS, Marks

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


class Head(NamedTuple):
    """The row of a trial in the table of trials. Times are naive UTC, as in the database."""

    number: int
    state: TrialState
    began: datetime | None
    ended: datetime | None


@dataclass(slots=True, eq=False)
class _Rows:
    """The rows of a trial in other tables, decoded except for params (row_id, name, number, distribution as JSON).

    values: by objective. reports: by step. marks: the highest row_id of each table.
    """

    marks: list[int] = field(default_factory=lambda: list(NO_MARKS))
    params: list[tuple[int, str, float, str]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Decoder:
    """Decodes rows. The JSON of a distribution is the same in thousands of rows, and is decoded once."""

    known: dict[str, BaseDistribution] = field(default_factory=dict)

    def distribution(self, text: str) -> BaseDistribution:
        """Decode the JSON of a distribution."""
        found = self.known.get(text)
        if found is None:
            found = self.known[text] = json_to_distribution(text)
        return found

    def group(self, rows: Iterable[Any]) -> dict[int, _Rows]:
        """Group rows (see reads.rows_after) by trial_id."""
        groups: dict[int, _Rows] = defaultdict(_Rows)
        for kind, row_id, trial_id, n, name, number, text in rows:
            group = groups[trial_id]
            if row_id > group.marks[kind]:
                group.marks[kind] = row_id
            if kind == 2:
                group.reports[n] = number_of(number, text)
            elif kind == 0:
                group.params.append((row_id, name, number, text))
            elif kind == 3:
                group.user[name] = json.loads(text)
            elif kind == 4:
                group.system[name] = json.loads(text)
            else:
                group.values[n] = number_of(number, text)
        return groups

    def with_rows(self, trial: FrozenTrial, rows: _Rows) -> FrozenTrial:
        """Return a copy of `trial` with `rows` added. A copy, for callers may hold `trial`."""
        new = copy.copy(trial)
        if rows.params:
            new._params, new._distributions = dict(trial._params), dict(trial._distributions)
            for _, name, number, text in sorted(rows.params):  # in the order they were set
                distribution = self.distribution(text)
                new._params[name] = distribution.to_external_repr(number)
                new._distributions[name] = distribution
        if rows.values:
            values = dict(enumerate(trial._values or ())) | rows.values
            new._values = [values[objective] for objective in sorted(values)]
        if rows.reports:
            new.intermediate_values = {**trial.intermediate_values, **rows.reports}
        if rows.user:
            new._user_attrs = {**trial._user_attrs, **rows.user}
        if rows.system:
            new._system_attrs = {**trial._system_attrs, **rows.system}
        return new

    def trial(self, rows: Sequence[Any]) -> tuple[int, FrozenTrial]:
        """Return (study_id, trial) from all rows of a trial (see reads.rows_of)."""
        (row,) = (row for row in rows if row[0] == HEAD)
        head = Head(row[3], TrialState[row[4]], row[7], row[8])
        groups = self.group(row[:7] for row in rows if row[0] != HEAD)
        trial = trial_of(row[2], head)
        return row[1], self.with_rows(trial, groups[row[2]]) if row[2] in groups else trial


def trial_of(trial_id: int, head: Head) -> FrozenTrial:
    """Return a trial without params, values, reports and attributes."""
    return FrozenTrial(
        number=head.number,
        state=head.state,
        value=None,
        datetime_start=to_local(head.began),
        datetime_complete=to_local(head.ended),
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial_id,
    )


@dataclass(slots=True, eq=False)
class StudyCache:
    """The cache of one study; trials are identified by trial_id.

    newest: the highest trial_id read. heads: of all trials up to it, in order. running, waiting: trials in these
    states. unread: finished trials whose rows have not been read. trials: those whose rows have been read, of an
    unfinished one up to its `marks`. distributions: by name of the param. rungs: None until a pruner needs them.
    has_pruner: a pruner has read the study, and will do so after each report.
    """

    name: str
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

    def complete(self) -> list[int]:
        """Return the trial_ids of complete trials."""
        return [trial_id for trial_id, head in self.heads.items() if head.state == TrialState.COMPLETE]

    def update(self, changed: Iterable[Any]) -> None:
        """Add the rows of reads.changed_trials. Trials that have finished since are marked as unread."""
        done: set[int] = set()
        reports: list[tuple[int, int, float]] = []
        last = None
        for _, trial_id, number, state, began, ended, step, value, kind, *_ in changed:
            if step is not None:
                reports.append((trial_id, step, number_of(value, kind)))
            if trial_id is None or trial_id == last:
                continue
            last = trial_id
            if state == TrialState.COMPLETE:
                done.add(trial_id)
            self.heads[trial_id] = Head(number, state, began, ended)
            self.newest = max(self.newest, trial_id)
            self.running.discard(trial_id)
            self.waiting.discard(trial_id)
            cached = self.trials.get(trial_id)
            if state.is_finished():
                self.marks.pop(trial_id, None)
                if cached is None or not cached.state.is_finished():
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
        cached = self.trials.get(trial._trial_id)
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


_SPECIAL = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}


def number_of(stored: float | None, kind: str) -> float:
    """Return the number that Optuna stores as a value and its kind."""
    if kind != "FINITE":
        return _SPECIAL[kind]
    assert stored is not None
    return float(stored)


def to_local(stored: datetime | None) -> datetime | None:
    """Convert naive UTC, as stored, to naive local time, as Optuna returns it; the inverse of writes.to_utc."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def numbers_of(reports: Iterable[Any]) -> Iterator[tuple[int, int, float]]:
    """Yield (trial_id, step, value) for the rows of reads.reports_of."""
    for trial_id, step, value, kind in reports:
        yield trial_id, step, number_of(value, kind)
