"""What the lean storage remembers of a study: its finished trials, which never change, and how far it has read the
others."""

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

MANY = 64  # so many new values are sorted together rather than put in one by one


@dataclass(slots=True, eq=False)
class Rungs:
    """Of a study's complete trials: how many there are, and their reports by step. Not to be shared by threads without
    a lock.
    """

    trials: set[int] = field(default_factory=set)
    _n_at: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    _sorted: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # without NaN
    _new: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial_ids: Iterable[int], reports: Iterable[tuple[int, int, float]]) -> None:
        """Take in complete trials with all their reports (trial_id, step, value). Trials that are known stay as they
        are, for what is complete does not change.
        """
        new = set(trial_ids) - self.trials
        for trial_id, step, value in reports:
            if trial_id in new:
                self._n_at[step] += 1
                if not math.isnan(value):
                    self._new[step].append(value)
        self.trials |= new

    def n_at(self, step: int) -> int:
        """Trials that reported at `step`; NaN counts."""
        return self._n_at.get(step, 0)

    def percentile(self, step: int, percent: float) -> float:
        """numpy.nanpercentile of the step's values, to the bit; NaN where there is none that is a number."""
        values = self._values(step)
        n = len(values)
        if n == 0:
            return math.nan
        at = (n - 1) * (percent / 100)
        low, high = (n - 1, n - 1) if at >= n - 1 else (math.floor(at), math.floor(at) + 1)
        a, b = values[low], values[high]
        if not (math.isfinite(a) and math.isfinite(b)):  # what infinities come to is numpy's to say
            with np.errstate(invalid="ignore"):
                return float(np.nanpercentile(np.array(values), percent))
        weight, apart = at - low, b - a
        return a + apart * weight if weight < 0.5 else b - apart * (1 - weight)

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
    """A trial without its rows; times are the database's, naive UTC."""

    number: int
    state: TrialState
    began: datetime | None
    ended: datetime | None


@dataclass(slots=True, eq=False)
class _Rows:
    """The rows read of one trial."""

    marks: list[int] = field(default_factory=lambda: list(NO_MARKS))
    params: list[tuple[int, str, float, str]] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Decoder:
    """Reads rows; a distribution's JSON, which thousands of rows repeat, is decoded once."""

    known: dict[str, BaseDistribution] = field(default_factory=dict)

    def distribution(self, text: str) -> BaseDistribution:
        """The distribution that `text` stands for."""
        found = self.known.get(text)
        if found is None:
            found = self.known[text] = json_to_distribution(text)
        return found

    def gathered(self, rows: Iterable[Any]) -> dict[int, _Rows]:
        """The rows (see rows_after) by trial."""
        found: dict[int, _Rows] = defaultdict(_Rows)
        for kind, row_id, trial_id, n, name, number, word in rows:
            of = found[trial_id]
            if row_id > of.marks[kind]:
                of.marks[kind] = row_id
            if kind == 2:
                of.reports[n] = number_of(number, word)
            elif kind == 0:
                of.params.append((row_id, name, number, word))
            elif kind == 3:
                of.user[name] = json.loads(word)
            elif kind == 4:
                of.system[name] = json.loads(word)
            else:
                of.values[n] = number_of(number, word)
        return found

    def grown(self, trial: FrozenTrial, rows: _Rows) -> FrozenTrial:
        """`trial` with `rows` added; a new one, for what was handed out must not change."""
        made = copy.copy(trial)
        if rows.params:
            made._params, made._distributions = dict(trial._params), dict(trial._distributions)
            for _, name, number, word in sorted(rows.params):  # in the order they were set
                distribution = self.distribution(word)
                made._params[name] = distribution.to_external_repr(number)
                made._distributions[name] = distribution
        if rows.values:
            known = dict(enumerate(trial._values or ())) | rows.values
            made._values = [known[objective] for objective in sorted(known)]
        if rows.reports:
            made.intermediate_values = {**trial.intermediate_values, **rows.reports}
        if rows.user:
            made._user_attrs = {**trial._user_attrs, **rows.user}
        if rows.system:
            made._system_attrs = {**trial._system_attrs, **rows.system}
        return made

    def whole(self, rows: Sequence[Any]) -> tuple[int, FrozenTrial]:
        """(study_id, trial) from the rows of one trial (see rows_of)."""
        (row,) = (row for row in rows if row[0] == HEAD)
        head = Head(row[3], TrialState[row[4]], row[7], row[8])
        gathered = self.gathered(row[:7] for row in rows if row[0] != HEAD)
        trial = bare(row[2], head)
        return row[1], self.grown(trial, gathered[row[2]]) if row[2] in gathered else trial


def bare(trial_id: int, head: Head) -> FrozenTrial:
    """A trial without rows."""
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
    """What is known of one study. heads: of all its trials up to `newest`, by trial_id, in order. trials: those whose
    rows were read, whole where they are finished, up to their `marks` where they are not. unread: finished ones
    whose rows were not asked for yet. rungs: what complete trials reported, once somebody has asked for that. pruned: a
    pruner asks after each report.
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
    pruned: bool = False
    _listed: dict[tuple[TrialState, ...], list[FrozenTrial]] = field(default_factory=dict)

    def complete(self) -> list[int]:
        """The trial_ids of complete trials."""
        return [trial_id for trial_id, head in self.heads.items() if head.state == TrialState.COMPLETE]

    def learn(self, changed: Iterable[Any]) -> None:
        """Take in what changed_trials found; one that has finished is to be read whole, once."""
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
            known = self.trials.get(trial_id)
            if state.is_finished():
                self.marks.pop(trial_id, None)
                if known is None or not known.state.is_finished():
                    self.trials.pop(trial_id, None)
                    self.unread.add(trial_id)
            else:
                (self.running if state == TrialState.RUNNING else self.waiting).add(trial_id)
                if known is not None:
                    known = self.trials[trial_id] = copy.copy(known)
                    known.state, known.datetime_start = state, to_local(began)
        if last is not None:
            self._listed.clear()
        if self.rungs is not None:
            self.rungs.add(done, reports)

    def keep(self, trial: FrozenTrial) -> None:
        """Take in a finished trial that was read whole, so that it is not read again."""
        known = self.trials.get(trial._trial_id)
        if known is None or not known.state.is_finished():
            self.trials[trial._trial_id] = trial
            self.unread.discard(trial._trial_id)
            for name, distribution in trial._distributions.items():
                self.distributions.setdefault(name, distribution)

    def to_read(self, states: tuple[TrialState, ...]) -> dict[int, Marks]:
        """Trials in `states` whose rows are missing, or may have grown, with the marks to read from."""
        wanted: dict[int, Marks] = {}
        if any(state.is_finished() for state in states):
            wanted = {trial_id: NO_MARKS for trial_id in self.unread if self.heads[trial_id].state in states}
        for state, ids in ((TrialState.RUNNING, self.running), (TrialState.WAITING, self.waiting)):
            if state in states:
                wanted |= {trial_id: self.marks.get(trial_id, NO_MARKS) for trial_id in ids}
        return wanted

    def grow(self, asked: Iterable[int], rows: Iterable[Any], decoder: Decoder) -> None:
        """Take in what rows_after found for the trials `asked`."""
        gathered = decoder.gathered(rows)
        for trial_id in asked:
            head, before = self.heads[trial_id], self.trials.get(trial_id)
            found = gathered.get(trial_id)
            if before is None or found is not None:
                self._listed.clear()
                trial = before or bare(trial_id, head)
                self.trials[trial_id] = trial if found is None else decoder.grown(trial, found)
                for name, distribution in self.trials[trial_id]._distributions.items():
                    self.distributions.setdefault(name, distribution)
            if head.state.is_finished():
                self.unread.discard(trial_id)
            else:
                old = self.marks.get(trial_id, NO_MARKS)
                new = NO_MARKS if found is None else found.marks
                a, b, c, d, e = map(max, old, new)
                self.marks[trial_id] = (a, b, c, d, e)

    def listed(self, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """The trials in `states`, by number; a list of the caller's own."""
        found = self._listed.get(states)
        if found is None:
            found = self._listed[states] = list(self._in(states))
        return list(found)

    def _in(self, states: tuple[TrialState, ...]) -> Iterator[FrozenTrial]:
        if any(state.is_finished() for state in states):
            yield from (self.trials[trial_id] for trial_id, head in self.heads.items() if head.state in states)
        else:  # few among thousands
            known = ((TrialState.RUNNING, self.running), (TrialState.WAITING, self.waiting))
            ids = (trial_id for state, its in known if state in states for trial_id in its)
            yield from (self.trials[trial_id] for trial_id in sorted(ids))


_SPECIAL = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}


def number_of(stored: float | None, kind: str) -> float:
    """The number that a column of values and its column of kinds stand for."""
    if kind != "FINITE":
        return _SPECIAL[kind]
    assert stored is not None
    return float(stored)


def to_local(stored: datetime | None) -> datetime | None:
    """The inverse of to_utc."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def numbers_of(reports: Iterable[Any]) -> Iterator[tuple[int, int, float]]:
    """(trial_id, step, value) of rows of reports_of."""
    for trial_id, step, value, kind in reports:
        yield trial_id, step, number_of(value, kind)
