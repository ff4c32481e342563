"""The cache of the fast storage: finished trials, which do not change, and the rows read so far of the others.

Other programs write Optuna's tables too, so a row may hold anything. A row that cannot be decoded is left out: its
trial lacks that param, attribute or number, and nothing is raised.
"""

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
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.tables import HEAD, NO_MARKS, Marks

MANY = 64  # more new values than this are sorted together, fewer are inserted one by one
UNDECODABLE = object()
_SPECIAL = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}


class Head(NamedTuple):
    """The row of a trial in the table of trials. Times are naive UTC, as in the database."""

    number: int
    state: TrialState
    began: datetime | None
    ended: datetime | None

    def is_of(self, trial: FrozenTrial) -> bool:
        """Return whether the row is that of `trial`, and not of another trial that got its trial_id."""
        return self.number == trial.number and to_local(self.began) == trial.datetime_start


@dataclass(slots=True, eq=False)
class Rows:
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
    """Decodes rows. The JSON of a distribution is the same in thousands of rows, and is decoded once.

    known: None for JSON that is not a distribution.
    """

    known: dict[str, BaseDistribution | None] = field(default_factory=dict)

    def distribution(self, text: str) -> BaseDistribution | None:
        """Decode the JSON of a distribution; return None where it is none."""
        if text not in self.known:
            try:
                self.known[text] = json_to_distribution(text)
            except Exception:  # Optuna's constructors raise many kinds of errors for wrong attributes
                self.known[text] = None
        return self.known[text]

    def group(self, rows: Iterable[Any]) -> dict[int, Rows]:
        """Group rows (see reads.rows_after) by trial_id."""
        groups: dict[int, Rows] = defaultdict(Rows)
        for kind, row_id, trial_id, n, name, number, text in rows:
            group = groups[trial_id]
            if row_id > group.marks[kind]:
                group.marks[kind] = row_id
            if kind == 2 or kind == 1:
                if (value := number_of(number, text)) is not None:
                    (group.reports if kind == 2 else group.values)[n] = value
            elif kind == 0:
                group.params.append((row_id, name, number, text))
            elif (content := json_of(text)) is not UNDECODABLE and name is not None:
                (group.user if kind == 3 else group.system)[name] = content
        return groups

    def with_rows(self, trial: FrozenTrial, rows: Rows) -> FrozenTrial:
        """Return a copy of `trial` with `rows` added. A copy, for callers may hold `trial`."""
        new = copy.copy(trial)
        if rows.params:
            new._params, new._distributions = dict(trial._params), dict(trial._distributions)
            for _, name, number, text in sorted(rows.params, key=lambda param: param[0]):  # in the order they were set
                distribution = self.distribution(text)
                value = UNDECODABLE if distribution is None else param_value(distribution, number)
                if distribution is not None and value is not UNDECODABLE and name is not None:
                    new._params[name] = value
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

    def trial(self, rows: Sequence[Any]) -> tuple[int, Head, FrozenTrial]:
        """Return (study_id, head, trial) from all rows of a trial (see reads.rows_of)."""
        (row,) = (row for row in rows if row[0] == HEAD)
        head = Head(row[3], state_of(row[4]), row[7], row[8])
        groups = self.group(row[:7] for row in rows if row[0] != HEAD)
        trial = trial_of(row[2], head)
        return row[1], head, self.with_rows(trial, groups[row[2]]) if row[2] in groups else trial


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


def state_of(name: Any) -> TrialState:
    """Return the state with this name; FAIL for a name that Optuna does not have."""
    return TrialState.__members__.get(name, TrialState.FAIL)


def param_value(distribution: BaseDistribution, stored: Any) -> Any:
    """Return the value of a param; UNDECODABLE for NaN, or a number that stands for no choice."""
    if not isinstance(stored, int | float) or math.isnan(stored):
        return UNDECODABLE
    if isinstance(distribution, CategoricalDistribution) and not 0 <= stored < len(distribution.choices):
        return UNDECODABLE  # a negative index would count from the end
    try:
        return distribution.to_external_repr(stored)
    except (ValueError, OverflowError):  # an infinite integer
        return UNDECODABLE


def json_of(text: Any) -> Any:
    """Return the content of `text`; UNDECODABLE where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return UNDECODABLE


def number_of(stored: Any, kind: Any) -> float | None:
    """Return the number that Optuna stores as a value and its kind; None where it is not a number."""
    if kind != "FINITE":
        return _SPECIAL.get(kind)
    try:
        return float(stored)
    except (ValueError, TypeError):
        return None


def to_local(stored: datetime | None) -> datetime | None:
    """Convert naive UTC, as stored, to naive local time, as Optuna returns it; the inverse of writes.to_utc."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def numbers_of(reports: Iterable[Any]) -> Iterator[tuple[int, int, float]]:
    """Yield (trial_id, step, value) for the rows of reads.reports_of."""
    for trial_id, step, value, kind in reports:
        if (number := number_of(value, kind)) is not None:
            yield trial_id, step, number


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
