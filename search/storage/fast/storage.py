"""An Optuna storage on Optuna's own tables that says little: increments are read, and each write is one statement.

Stock Optuna, its CLI and its dashboard may use the same database at the same time. What stands apart from Optuna's
RDBStorage, and why, is in docs/design.md. PostgreSQL and SQLite; no heartbeats, for search.queue.slots has leases.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table

from search.storage.fast import writes
from search.storage.fast.cache import Decoder, StudyCache
from search.storage.fast.reads import (
    changed_trials,
    first_distribution,
    report_and_changed,
    reports_of,
    rows_after,
    rows_of,
)
from search.storage.fast.rungs import Rungs
from search.storage.fast.studies import LeanStudies
from search.storage.fast.tables import SYSTEM, USER
from search.storage.fast.thread import FRESH_S, Held, OfThread


class LeanStorage(LeanStudies):
    """Optuna's storage over `connect()`, which makes an engine on a database that has Optuna's tables.

    Errors of the database come as SQLAlchemy's own. May be shared by threads, pickled and carried over a fork.
    """

    def _begin_here(self) -> None:
        super()._begin_here()
        self._lock = threading.RLock()
        self._decoder = Decoder()
        self._studies: dict[int, StudyCache] = {}
        self._study_of: dict[int, int] = {}
        self._thread = OfThread()

    def _said(self) -> None:
        self._thread.made = self._thread.asked = None

    def _forget(self, study_id: int) -> None:
        with self._lock:
            super()._forget(study_id)
            self._studies.pop(study_id, None)
            for trial_id in [trial for trial, study in self._study_of.items() if study == study_id]:
                del self._study_of[trial_id]

    # trials: writing

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._lock:
            known = self._studies.get(study_id)
            newest, n_known = (known.newest, len(known.heads)) if known else (0, 0)
        with self._saying(whole=template_trial is not None) as connection:
            added = writes.add_trial(connection, study_id, newest, n_known, template_trial)
        if added is None:
            raise KeyError(f"no study has the id {study_id}")
        trial_id, number, began = added
        self._study_of[trial_id] = study_id
        if template_trial is None:
            self._thread.made = FrozenTrial(number, TrialState.RUNNING, None, began, None, {}, {}, {}, {}, {}, trial_id)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        study_id = self._study_of_trial(trial_id)
        with self._lock:
            cache = self._studies.get(study_id)
            before = None if cache is None else cache.distributions.get(param_name)
        if before is None:
            with self._saying() as connection:
                text = first_distribution(connection, study_id, param_name)
            before = distribution if text is None else self._decoder.distribution(text)
        try:
            check_distribution_compatibility(before, distribution)
        except ValueError:
            self._refuse_finished(trial_id)
            raise
        with self._lock:
            if (cache := self._studies.get(study_id)) is not None:
                cache.distributions.setdefault(param_name, before)
        param = (param_name, param_value_internal, distribution)
        if (held := self._held(trial_id)) is not None:
            held.params.setdefault(param_name, param)
        else:
            self._write(trial_id, lambda connection: writes.put_params(connection, trial_id, [param]))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._let_go(trial_id)
        cache = self._studies.get(self._study_of.get(trial_id, -1))
        if cache is None or not cache.pruned or self.engine.dialect.name == "sqlite":
            self._write(trial_id, lambda connection: writes.put_report(connection, trial_id, step, intermediate_value))
        else:  # a pruner will ask next what has changed
            self._report_and_ask(self._study_of[trial_id], writes.report_row(trial_id, step, intermediate_value))

    def _report_and_ask(self, study_id: int, row: dict[str, Any]) -> None:
        with self._lock:
            cache = self._studies.get(study_id, StudyCache(""))
            with self._saying() as connection:
                written, rows = report_and_changed(connection, row, study_id, cache.since())
            if rows and rows[0][0] == cache.name:
                self._learn(study_id, cache, rows)
                self._thread.asked = study_id, time.monotonic()
        if not written:
            self._refuse_finished(row["trial"])

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(USER, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(SYSTEM, trial_id, key, value)

    def _set_trial_attr(self, table: Table, trial_id: int, key: str, value: Any) -> None:
        if (held := self._held(trial_id)) is not None:
            (held.user if table is USER else held.system)[key] = value
        else:
            self._write(trial_id, lambda connection: writes.put_attributes(connection, table, trial_id, {key: value}))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._let_go(trial_id)
        begins = state == TrialState.RUNNING
        whole = writes.takes_transaction(self.engine.dialect.name, values) or (begins and values is not None)
        with self._saying(whole=whole) as connection:
            moved = writes.put_state(connection, trial_id, state, None if begins else values)
            if begins and values is not None:
                writes.put_values(connection, trial_id, values)
        if not moved:
            self._refuse_finished(trial_id)
        return moved

    def _write(self, trial_id: int, write: Callable[[Connection], bool]) -> None:
        with self._saying() as connection:
            written = write(connection)
        if not written:
            self._refuse_finished(trial_id)

    def _refuse_finished(self, trial_id: int) -> None:
        """Say why nothing was written, as Optuna does. Raises KeyError, UpdateFinishedTrialError."""
        trial = self._read(trial_id)
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial.number} has finished and cannot be changed")

    # trials: several writes in one round trip (see together)

    @contextlib.contextmanager
    def holding(self, trial_id: int) -> Iterator[None]:
        """Keep what the block sets of the trial in this thread, and write it when the block ends."""
        thread = self._thread
        if thread.held is not None and trial_id in thread.held:  # the outer block writes it
            yield
            return
        thread.held = {**(thread.held or {}), trial_id: Held()}
        try:
            yield
        finally:
            try:
                self._let_go(trial_id)
            finally:
                del thread.held[trial_id]

    def _held(self, trial_id: int) -> Held | None:
        return None if self._thread.held is None else self._thread.held.get(trial_id)

    def _let_go(self, trial_id: int) -> None:
        held = self._held(trial_id)
        if held is None or not (held.params or held.user or held.system):
            return
        n_tables = sum(map(bool, (held.params, held.user, held.system)))
        with self._saying(whole=n_tables > 1 or self.engine.dialect.name == "sqlite") as connection:
            done = [writes.put_params(connection, trial_id, list(held.params.values()))] if held.params else []
            for table, values in ((USER, held.user), (SYSTEM, held.system)):
                done += [writes.put_attributes(connection, table, trial_id, values)] if values else []
        held.params, held.user, held.system = {}, {}, {}
        if not all(done):
            self._refuse_finished(trial_id)

    # trials: reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        made = self._thread.made
        if made is not None and made._trial_id == trial_id:  # the call before this one made it
            self._thread.made = None
            return made
        self._let_go(trial_id)
        with self._lock:
            cache = self._studies.get(self._study_of.get(trial_id, -1))
            known = None if cache is None else cache.trials.get(trial_id)
        return known if known is not None and known.state.is_finished() else self._read(trial_id)

    def _read(self, trial_id: int) -> FrozenTrial:
        with self._saying() as connection:
            rows = rows_of(connection, trial_id)
        if not rows:
            raise KeyError(f"no trial has the id {trial_id}")
        study_id, trial = self._decoder.whole(rows)
        self._study_of[trial_id] = study_id
        with self._lock:
            if trial.state.is_finished() and (cache := self._studies.get(study_id)) is not None:
                cache.keep(trial)
        return trial

    def _study_of_trial(self, trial_id: int) -> int:
        if trial_id not in self._study_of:
            self._read(trial_id)
        return self._study_of[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        wanted = tuple(state for state in TrialState if states is None or state in states)
        with self._lock:
            trials = self._listed(self._refreshed(study_id), wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def complete_trials(self, study_id: int) -> list[FrozenTrial]:
        """The study's complete trials for one pruner's decision, as new as `rungs` has them. Raises KeyError."""
        with self._lock:
            return self._listed(self._recent(study_id), (TrialState.COMPLETE,))

    def _listed(self, cache: StudyCache, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """What `cache` holds in `states`, rows that are missing read first. With the lock held."""
        if asked := cache.to_read(states):
            with self._saying() as connection:
                rows = rows_after(connection, asked)
            cache.grow(asked, rows, self._decoder)
        return cache.listed(states)

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        states = tuple(TrialState) if state is None else (state,) if isinstance(state, TrialState) else state
        with self._lock:
            return sum(head.state in states for head in self._refreshed(study_id).heads.values())

    def _refreshed(self, study_id: int) -> StudyCache:
        """The study's cache with the newest states of its trials. Raises KeyError. With the lock held."""
        for trial_id in self._thread.held or {}:
            self._let_go(trial_id)
        while True:
            cache = self._studies.get(study_id, StudyCache(""))
            with self._saying() as connection:
                rows = changed_trials(connection, study_id, cache.since())
            name = rows[0][0] if rows else None
            if cache.name == name or study_id not in self._studies:
                break
            self._forget(study_id)  # deleted, and on SQLite perhaps another one made of the same id
        if name is None:
            raise KeyError(f"no study has the id {study_id}")
        cache.name = name
        self._learn(study_id, cache, rows)
        return cache

    def _learn(self, study_id: int, cache: StudyCache, rows: Sequence[Any]) -> None:
        self._studies[study_id] = cache
        cache.learn(rows)
        self._study_of |= {row[1]: study_id for row in rows if row[1] is not None}

    @contextlib.contextmanager
    def rungs(self, study_id: int) -> Iterator[Rungs]:
        """What the study's complete trials reported, for one pruner's decision; nobody else looks in the block.
        Raises KeyError."""
        with self._lock:
            cache = self._recent(study_id)
            if cache.rungs is None:
                rungs, done = Rungs(), cache.complete()
                with self._saying() as connection:
                    rungs.add(done, reports_of(connection, done))
                cache.rungs = rungs
            yield cache.rungs

    def _recent(self, study_id: int) -> StudyCache:
        """The study's cache for a pruner: as it is now, or as it was when this thread's last call told a report, if
        that was within FRESH_S. Raises KeyError. With the lock held."""
        asked, cache = self._thread.asked, self._studies.get(study_id)
        self._thread.asked = None
        if cache is None or asked is None or asked[0] != study_id or time.monotonic() - asked[1] > FRESH_S:
            cache = self._refreshed(study_id)
        cache.pruned = True
        return cache

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._lock:
            ids = list(self._refreshed(study_id).heads)
        if not 0 <= trial_number < len(ids):
            raise KeyError(f"the study with the id {study_id} has no trial {trial_number}")
        return ids[trial_number]
