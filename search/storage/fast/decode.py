"""Decodes the rows of Optuna's tables.

Other programs write these tables too, so a row may hold anything. A row that cannot be decoded is left out: its trial
lacks that param, attribute or number, and nothing is raised.
"""

import copy
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from search.storage.fast.tables import HEAD, NO_MARKS

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


def attributes_of(rows: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Return name -> content for rows of (name, JSON), without those that are not JSON."""
    decoded = ((name, json_of(text)) for name, text in rows if name is not None)
    return {name: content for name, content in decoded if content is not UNDECODABLE}


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
