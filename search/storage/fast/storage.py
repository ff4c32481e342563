"""An Optuna storage on Optuna's tables with few statements: it reads only changes, and writes in one statement a call.

Other programs may use the same database through Optuna at the same time. docs/design.md has the differences to Optuna's
RDBStorage. PostgreSQL and SQLite only. It has no heartbeats, for search.queue.slots has leases.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table

from search.storage.fast import reads, writes
from search.storage.fast.base import FastStudies
from search.storage.fast.cache import Rungs, StudyCache
from search.storage.fast.decode import Head, numbers_of, trial_of
from search.storage.fast.new_trial import add_trial
from search.storage.fast.state import Batch, since
from search.storage.fast.tables import SYSTEM, USER
from search.storage.fast.writes import TrialKey, which

FRESH_S = 1.0  # a pruner does not read again what the last report has read within this time


class FastStorage(FastStudies):
    """An Optuna storage on the engine that `connect()` returns, of a database that has Optuna's tables.

    Database errors are SQLAlchemy's. May be shared by threads, pickled, and used after a fork.
    """

    # trials: writing

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        here = self._here()
        counted = here.count_from(study_id)
        with self._connection(transaction=template_trial is not None) as connection:
            added = add_trial(connection, study_id, counted, template_trial)
        if added is None:
            raise KeyError(f"no study has the id {study_id}")
        trial_id, key = added
        running = trial_of(trial_id, Head(key.number, TrialState.RUNNING, key.began, None))
        here.add_created(trial_id, key, running if template_trial is None else None)
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a param. In an open `batch`, its distribution is not compared with those of the study's other trials."""
        param = (param_name, param_value_internal, distribution)
        if (batch := self._batch_of(trial_id)) is not None:
            batch.params.setdefault(param_name, param)
            return
        here = self._here()
        key = here.key_of(trial_id) or self._read(trial_id)[0]
        with here.lock:
            cache = here.studies.get(key.study_id)
            earlier = None if cache is None else cache.distributions.get(param_name)
        if earlier is None:
            with self._connection() as connection:
                text = reads.first_distribution(connection, key.study_id, param_name)
            earlier = None if text is None else here.decoder.distribution(text)
        try:
            check_distribution_compatibility(earlier or distribution, distribution)
        except ValueError:
            self._refuse(trial_id, key)
            raise
        self._write(trial_id, lambda connection, trial: writes.put_params(connection, trial, [param]))
        with here.lock:
            if cache is not None and cache is here.studies.get(key.study_id):
                cache.distributions.setdefault(param_name, earlier or distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._flush(trial_id)
        here = self._here()
        with here.lock:
            key = here.key_of(trial_id)
            cache = None if key is None else here.studies.get(key.study_id)
            to_refresh = cache is not None and cache.has_pruner and cache.has_proof()
        if key is None or cache is None or not to_refresh or here.engine.dialect.name == "sqlite":
            self._write(
                trial_id, lambda connection, trial: writes.put_report(connection, trial, step, intermediate_value)
            )
        else:  # the pruner will read the changes next
            self._report_and_refresh(trial_id, key, writes.report_row(which(trial_id, key), step, intermediate_value))

    def _report_and_refresh(self, trial_id: int, key: TrialKey, row: dict[str, Any]) -> None:
        here = self._here()
        here.touch(trial_id)
        with here.lock:
            cache = here.studies.get(key.study_id, StudyCache())
            with self._connection() as connection:
                written, rows = reads.report_and_changed(connection, row, key.study_id, since(cache))
            if rows and cache.name and cache.is_study(*rows[0][:3]):
                here.update(key.study_id, cache, rows)
                here.thread.refreshed = cache, time.monotonic()
        if not written:
            self._refuse(trial_id, key)
        here.wrote(trial_id, key)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(USER, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(SYSTEM, trial_id, key, value)

    def _set_trial_attr(self, table: Table, trial_id: int, key: str, value: Any) -> None:
        if (batch := self._batch_of(trial_id)) is not None:
            (batch.user if table is USER else batch.system)[key] = value
        else:
            self._write(
                trial_id, lambda connection, trial: writes.put_attributes(connection, table, trial, {key: value})
            )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._flush(trial_id)
        if state == TrialState.RUNNING:
            return self._begin(trial_id, values)
        return self._write(
            trial_id,
            lambda connection, trial: writes.put_state(connection, trial, state, values),
            transaction=writes.takes_transaction(self.engine.dialect.name, values),
        )

    def _begin(self, trial_id: int, values: Sequence[float] | None) -> bool:
        """Set a waiting trial running; return False where it is running."""
        here = self._here()
        here.touch(trial_id)
        with self._connection(transaction=values is not None) as connection:
            key = writes.begin(connection, trial_id)
            if values is not None:
                writes.put_values(connection, which(trial_id, key), values, unfinished_only=True)
        if key is None:
            self._refuse(trial_id, None)
            return False
        here.wrote(trial_id, key)
        return True

    def _write(
        self, trial_id: int, write: Callable[[Connection, Mapping[str, Any]], bool], *, transaction: bool = False
    ) -> bool:
        """Execute a write for a trial, whose second argument is `writes.which`, and return whether it wrote anything.

        Raises UpdateFinishedTrialError where the trial has finished, and KeyError where it is missing, or another trial
        has its id.
        """
        here = self._here()
        key = here.key_of(trial_id)
        here.touch(trial_id)
        with self._connection(transaction=transaction) as connection:
            written = write(connection, which(trial_id, key))
        if not written:
            self._refuse(trial_id, key)
        here.wrote(trial_id, key)
        return written

    def _refuse(self, trial_id: int, key: TrialKey | None) -> None:
        """Raise the error of a write that did nothing: KeyError or UpdateFinishedTrialError.

        key: which trial was meant. Returns where it may be changed.
        """
        found, trial = self._read(trial_id)
        if key is not None and not key.is_of(found):
            raise KeyError(f"trial {key.number} with the id {trial_id} was deleted, and another trial has its id")
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial.number} has finished and cannot be changed")

    # trials: several writes in one round trip

    @contextlib.contextmanager
    def batch(self, trial_id: int) -> Iterator[None]:
        """Collect what this thread sets of the trial in the block, and write it at the end of the block."""
        thread = self._here().thread
        if thread.batches is not None and trial_id in thread.batches:  # the outer block writes
            yield
            return
        thread.batches = {**(thread.batches or {}), trial_id: Batch()}
        try:
            yield
        finally:
            try:
                self._flush(trial_id)
            finally:
                del thread.batches[trial_id]

    def _batch_of(self, trial_id: int) -> Batch | None:
        here = self._here()
        batch = None if here.thread.batches is None else here.thread.batches.get(trial_id)
        if batch is not None:
            here.touch(trial_id)
        return batch

    def _flush(self, trial_id: int) -> None:
        """Write the open batch of the trial, if there is one."""
        batch = self._batch_of(trial_id)
        n_tables = 0 if batch is None else sum(map(bool, (batch.params, batch.user, batch.system)))
        if batch is None or n_tables == 0:
            return
        params, attributes = list(batch.params.values()), ((USER, batch.user), (SYSTEM, batch.system))

        def write(connection: Connection, trial: Mapping[str, Any]) -> bool:
            written = [writes.put_params(connection, trial, params)] if params else []
            for table, values in attributes:
                written += [writes.put_attributes(connection, table, trial, values)] if values else []
            return all(written)

        try:
            self._write(trial_id, write, transaction=n_tables > 1 or self.engine.dialect.name == "sqlite")
        except (KeyError, UpdateFinishedTrialError):
            batch.clear()
            raise
        batch.clear()

    # trials: reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        here = self._here()
        if (created := here.take_created(trial_id)) is not None:
            return created
        self._flush(trial_id)
        with here.lock:
            cached = next((cache.trials[trial_id] for cache in here.studies.values() if trial_id in cache.trials), None)
        return cached if cached is not None and cached.state.is_finished() else self._read(trial_id)[1]

    def _read(self, trial_id: int) -> tuple[TrialKey, FrozenTrial]:
        """Return a trial as it is now, with its key. Raises KeyError where there is none."""
        here = self._here()
        with self._connection() as connection:
            rows = reads.rows_of(connection, trial_id)
        if not rows:
            raise KeyError(f"no trial has the id {trial_id}")
        study_id, head, trial = here.decoder.trial(rows)
        return here.add_read(study_id, head, trial), trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        wanted = tuple(state for state in TrialState if states is None or state in states)
        with self._here().lock:
            trials = self._trials_in(self._refreshed(study_id), wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def complete_trials(self, study_id: int) -> list[FrozenTrial]:
        """Return the study's complete trials for a pruner's decision; they may be FRESH_S seconds old.

        Raises KeyError.
        """
        with self._here().lock:
            return self._trials_in(self._recent(study_id), (TrialState.COMPLETE,))

    def _trials_in(self, cache: StudyCache, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """Return the trials in `states`, after reading their missing rows. Call with the lock held."""
        if marks := cache.to_read(states):
            with self._connection() as connection:
                rows = reads.rows_after(connection, marks)
            cache.add_rows(marks, rows, self._here().decoder)
        return cache.trials_in(states)

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        states = tuple(TrialState) if state is None else (state,) if isinstance(state, TrialState) else state
        with self._here().lock:
            return sum(head.state in states for head in self._refreshed(study_id).heads.values())

    def _refreshed(self, study_id: int) -> StudyCache:
        """Return the study's cache with the current states of its trials. Raises KeyError. Call with the lock held."""
        here = self._here()
        for trial_id in here.thread.batches or {}:
            self._flush(trial_id)
        cache = here.studies.get(study_id)
        if cache is None or not cache.has_proof():
            cache = StudyCache(has_pruner=cache is not None and cache.has_pruner)
        rows = self._changed(study_id, cache)
        if rows and not cache.is_study(*rows[0][:3]):  # deleted; on SQLite a new study may have the same id
            here.forget(study_id)
            cache = StudyCache()
            rows = self._changed(study_id, cache)
        if not rows:
            here.forget(study_id)
            raise KeyError(f"no study has the id {study_id}")
        here.update(study_id, cache, rows)
        return cache

    def _changed(self, study_id: int, cache: StudyCache) -> Sequence[Any]:
        with self._connection() as connection:
            return reads.changed_trials(connection, study_id, since(cache))

    @contextlib.contextmanager
    def rungs(self, study_id: int) -> Iterator[Rungs]:
        """Yield the reports of the study's complete trials for a pruner's decision, locked during the block.

        They may be FRESH_S seconds old. Raises KeyError.
        """
        with self._here().lock:
            cache = self._recent(study_id)
            if cache.rungs is None:
                rungs, complete = Rungs(), cache.complete()
                with self._connection() as connection:
                    rungs.add(complete, numbers_of(reads.reports_of(connection, complete)))
                cache.rungs = rungs
            yield cache.rungs

    def _recent(self, study_id: int) -> StudyCache:
        """Return the study's cache for a pruner: as this thread's last report has read it, if that was within FRESH_S.

        Otherwise it is read again. Raises KeyError. Call with the lock held.
        """
        here = self._here()
        refreshed, cache = here.thread.refreshed, here.studies.get(study_id)
        here.thread.refreshed = None
        if cache is None or refreshed is None or refreshed[0] is not cache or time.monotonic() - refreshed[1] > FRESH_S:
            cache = self._refreshed(study_id)
        cache.has_pruner = True
        return cache

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._here().lock:
            heads = self._refreshed(study_id).heads
            found = next((trial_id for trial_id, head in heads.items() if head.number == trial_number), None)
        if found is None:
            raise KeyError(f"the study with the id {study_id} has no trial {trial_number}")
        return found


@contextlib.contextmanager
def batch(storage: BaseStorage, trial_id: int) -> Iterator[None]:
    """Write the params and attributes that the block sets of a trial at its end, in one statement a table.

    A read of trials in the block writes them first. On storages other than FastStorage each is written at once. Errors
    of the writes are raised at the end of the block.
    """
    if isinstance(storage, FastStorage):
        with storage.batch(trial_id):
            yield
    else:
        yield


def set_user_attributes(storage: BaseStorage, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Set user attributes of a trial, on a FastStorage in one statement."""
    with batch(storage, trial_id):
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial_id, key, value)
