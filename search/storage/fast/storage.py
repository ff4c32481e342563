"""An Optuna storage on Optuna's tables with few statements: it reads only changes, and writes in one statement a call.

Other programs may use the same database through Optuna at the same time. docs/design.md has the differences to Optuna's
RDBStorage. PostgreSQL and SQLite only. It has no heartbeats, for search.queue.slots has leases.
"""

import contextlib
import copy
import os
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import IntegrityError

from search.storage.fast import reads, writes
from search.storage.fast.batch import Batch, ThreadState
from search.storage.fast.cache import Decoder, Rungs, StudyCache, numbers_of
from search.storage.fast.tables import STUDY_SYSTEM, STUDY_USER, SYSTEM, USER
from search.storage.optuna_private import FrozenStudy

FRESH_S = 1.0  # a pruner does not read again what the last report has read within this time
DEFAULT_STUDY_NAME_PREFIX = "no-name-"  # as Optuna names a study without a name


class FastStorage(BaseStorage):
    """An Optuna storage on the engine that `connect()` returns, of a database that has Optuna's tables.

    Database errors are SQLAlchemy's. May be shared by threads, pickled, and used after a fork.
    """

    def __init__(self, connect: Callable[[], Engine]) -> None:
        self._connect = connect
        self._start()

    def _start(self) -> None:
        """Initialise with an empty cache: in a new or unpickled object, or after a fork."""
        self.engine = self._connect()
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._decoder = Decoder()
        self._directions: dict[int, list[StudyDirection]] = {}
        self._studies: dict[int, StudyCache] = {}
        self._study_of: dict[int, int] = {}
        self._thread = ThreadState()

    def __getstate__(self) -> dict[str, Any]:
        return {"_connect": self._connect}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def remove_session(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _connection(self, *, transaction: bool = False) -> Iterator[Connection]:
        """Yield a connection for one statement, or for a transaction."""
        if os.getpid() != self._pid:  # after a fork the connections belong to the parent, and must not be closed here
            self.engine.dispose(close=False)
            self._start()
        self._thread.created = self._thread.refreshed = None
        with self.engine.connect() as connection:
            if not transaction:  # the engine is in autocommit (search.storage.open.fast_engine)
                yield connection
                return
            sqlite = self.engine.dialect.name == "sqlite"
            if not sqlite:
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                if sqlite:  # lock at once: two transactions that first read and then write would block each other
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection

    def _forget(self, study_id: int) -> None:
        """Remove a study from the cache."""
        with self._lock:
            self._directions.pop(study_id, None)
            self._studies.pop(study_id, None)
            for trial_id in [trial for trial, study in self._study_of.items() if study == study_id]:
                del self._study_of[trial_id]

    # studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{uuid.uuid4()}" if study_name is None else study_name
        try:
            with self._connection(transaction=True) as connection:
                study_id = writes.add_study(connection, name, directions)
        except IntegrityError as error:
            raise DuplicatedStudyError(f"a study {name!r} exists already") from error
        self._forget(study_id)  # SQLite reuses the id of a deleted study
        return study_id

    def delete_study(self, study_id: int) -> None:
        with self._connection(transaction=True) as connection:
            removed = writes.remove_study(connection, study_id)
        self._forget(study_id)
        if not removed:
            raise KeyError(f"no study has the id {study_id}")

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_USER, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_SYSTEM, study_id, key, value)

    def _set_study_attr(self, table: Table, study_id: int, key: str, value: Any) -> None:
        with self._connection() as connection:
            if not writes.put_study_attribute(connection, table, study_id, key, value):
                raise KeyError(f"no study has the id {study_id}")

    def get_study_id_from_name(self, study_name: str) -> int:
        with self._connection() as connection:
            study_id = reads.study_id_of(connection, study_name)
        if study_id is None:
            raise KeyError(f"there is no study {study_name!r}")
        return study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        with self._connection() as connection:
            name = reads.study_name_of(connection, study_id)
        if name is None:
            raise KeyError(f"no study has the id {study_id}")
        return name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        directions = self._directions.get(study_id)
        if directions is None:
            with self._connection() as connection:
                directions = reads.directions_of(connection, study_id)
            if not directions:
                raise KeyError(f"no study has the id {study_id}")
            self._directions[study_id] = directions
        return list(directions)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_USER, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_SYSTEM, study_id)

    def _study_attrs(self, table: Table, study_id: int) -> dict[str, Any]:
        with self._connection() as connection:
            found = reads.study_attributes(connection, table, study_id)
        if found is None:
            raise KeyError(f"no study has the id {study_id}")
        return found

    def get_all_studies(self) -> list[FrozenStudy]:
        with self._connection() as connection:
            return reads.all_studies(connection)

    # trials: writing

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._lock:
            cache = self._studies.get(study_id)
            newest, n_cached = (cache.newest, len(cache.heads)) if cache else (0, 0)
        with self._connection(transaction=template_trial is not None) as connection:
            added = writes.add_trial(connection, study_id, newest, n_cached, template_trial)
        if added is None:
            raise KeyError(f"no study has the id {study_id}")
        trial_id, number, began = added
        self._study_of[trial_id] = study_id
        if template_trial is None:
            self._thread.created = FrozenTrial(
                number, TrialState.RUNNING, None, began, None, {}, {}, {}, {}, {}, trial_id
            )
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        study_id = self._study_of_trial(trial_id)
        with self._lock:
            cache = self._studies.get(study_id)
            earlier = None if cache is None else cache.distributions.get(param_name)
        if earlier is None:
            with self._connection() as connection:
                text = reads.first_distribution(connection, study_id, param_name)
            earlier = distribution if text is None else self._decoder.distribution(text)
        try:
            check_distribution_compatibility(earlier, distribution)
        except ValueError:
            self._refuse_finished(trial_id)
            raise
        with self._lock:
            if (cache := self._studies.get(study_id)) is not None:
                cache.distributions.setdefault(param_name, earlier)
        param = (param_name, param_value_internal, distribution)
        if (batch := self._batch_of(trial_id)) is not None:
            batch.params.setdefault(param_name, param)
        else:
            self._write(trial_id, lambda connection: writes.put_params(connection, trial_id, [param]))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._flush(trial_id)
        cache = self._studies.get(self._study_of.get(trial_id, -1))
        if cache is None or not cache.has_pruner or self.engine.dialect.name == "sqlite":
            self._write(trial_id, lambda connection: writes.put_report(connection, trial_id, step, intermediate_value))
        else:  # the pruner will read the changes next
            self._report_and_refresh(self._study_of[trial_id], writes.report_row(trial_id, step, intermediate_value))

    def _report_and_refresh(self, study_id: int, row: dict[str, Any]) -> None:
        with self._lock:
            cache = self._studies.get(study_id, StudyCache(""))
            with self._connection() as connection:
                written, rows = reads.report_and_changed(connection, row, study_id, _since(cache))
            if rows and rows[0][0] == cache.name:
                self._update(study_id, cache, rows)
                self._thread.refreshed = study_id, time.monotonic()
        if not written:
            self._refuse_finished(row["trial"])

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(USER, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_trial_attr(SYSTEM, trial_id, key, value)

    def _set_trial_attr(self, table: Table, trial_id: int, key: str, value: Any) -> None:
        if (batch := self._batch_of(trial_id)) is not None:
            (batch.user if table is USER else batch.system)[key] = value
        else:
            self._write(trial_id, lambda connection: writes.put_attributes(connection, table, trial_id, {key: value}))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._flush(trial_id)
        begins = state == TrialState.RUNNING
        transaction = writes.takes_transaction(self.engine.dialect.name, values) or (begins and values is not None)
        with self._connection(transaction=transaction) as connection:
            moved = writes.put_state(connection, trial_id, state, None if begins else values)
            if begins and values is not None:
                writes.put_values(connection, trial_id, values)
        if not moved:
            self._refuse_finished(trial_id)
        return moved

    def _write(self, trial_id: int, write: Callable[[Connection], bool]) -> None:
        with self._connection() as connection:
            written = write(connection)
        if not written:
            self._refuse_finished(trial_id)

    def _refuse_finished(self, trial_id: int) -> None:
        """Raise the error of a write to a finished or missing trial: UpdateFinishedTrialError or KeyError."""
        trial = self._read(trial_id)
        if trial.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial.number} has finished and cannot be changed")

    # trials: several writes in one round trip

    @contextlib.contextmanager
    def batch(self, trial_id: int) -> Iterator[None]:
        """Collect what this thread sets of the trial in the block, and write it at the end of the block."""
        thread = self._thread
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
        return None if self._thread.batches is None else self._thread.batches.get(trial_id)

    def _flush(self, trial_id: int) -> None:
        """Write the open batch of the trial, if there is one."""
        batch = self._batch_of(trial_id)
        n_tables = 0 if batch is None else sum(map(bool, (batch.params, batch.user, batch.system)))
        if batch is None or n_tables == 0:
            return
        transaction = n_tables > 1 or self.engine.dialect.name == "sqlite"
        with self._connection(transaction=transaction) as connection:
            written = [writes.put_params(connection, trial_id, list(batch.params.values()))] if batch.params else []
            for table, values in ((USER, batch.user), (SYSTEM, batch.system)):
                written += [writes.put_attributes(connection, table, trial_id, values)] if values else []
        batch.params, batch.user, batch.system = {}, {}, {}
        if not all(written):
            self._refuse_finished(trial_id)

    # trials: reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        created = self._thread.created
        if created is not None and created._trial_id == trial_id:  # created by this thread's previous call
            self._thread.created = None
            return created
        self._flush(trial_id)
        with self._lock:
            cache = self._studies.get(self._study_of.get(trial_id, -1))
            cached = None if cache is None else cache.trials.get(trial_id)
        return cached if cached is not None and cached.state.is_finished() else self._read(trial_id)

    def _read(self, trial_id: int) -> FrozenTrial:
        with self._connection() as connection:
            rows = reads.rows_of(connection, trial_id)
        if not rows:
            raise KeyError(f"no trial has the id {trial_id}")
        study_id, trial = self._decoder.trial(rows)
        self._study_of[trial_id] = study_id
        with self._lock:
            if trial.state.is_finished() and (cache := self._studies.get(study_id)) is not None:
                cache.add_finished(trial)
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
            trials = self._trials_in(self._refreshed(study_id), wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def complete_trials(self, study_id: int) -> list[FrozenTrial]:
        """Return the study's complete trials for a pruner's decision; they may be FRESH_S seconds old.

        Raises KeyError.
        """
        with self._lock:
            return self._trials_in(self._recent(study_id), (TrialState.COMPLETE,))

    def _trials_in(self, cache: StudyCache, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """Return the trials in `states`, after reading their missing rows. Call with the lock held."""
        if marks := cache.to_read(states):
            with self._connection() as connection:
                rows = reads.rows_after(connection, marks)
            cache.add_rows(marks, rows, self._decoder)
        return cache.trials_in(states)

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        states = tuple(TrialState) if state is None else (state,) if isinstance(state, TrialState) else state
        with self._lock:
            return sum(head.state in states for head in self._refreshed(study_id).heads.values())

    def _refreshed(self, study_id: int) -> StudyCache:
        """Return the study's cache with the current states of its trials. Raises KeyError. Call with the lock held."""
        for trial_id in self._thread.batches or {}:
            self._flush(trial_id)
        while True:
            cache = self._studies.get(study_id, StudyCache(""))
            with self._connection() as connection:
                rows = reads.changed_trials(connection, study_id, _since(cache))
            name = rows[0][0] if rows else None
            if cache.name == name or study_id not in self._studies:
                break
            self._forget(study_id)  # deleted; on SQLite a new study may have the same id
        if name is None:
            raise KeyError(f"no study has the id {study_id}")
        cache.name = name
        self._update(study_id, cache, rows)
        return cache

    def _update(self, study_id: int, cache: StudyCache, rows: Sequence[Any]) -> None:
        self._studies[study_id] = cache
        cache.update(rows)
        self._study_of |= {row[1]: study_id for row in rows if row[1] is not None}

    @contextlib.contextmanager
    def rungs(self, study_id: int) -> Iterator[Rungs]:
        """Yield the reports of the study's complete trials for a pruner's decision, locked during the block.

        They may be FRESH_S seconds old. Raises KeyError.
        """
        with self._lock:
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
        refreshed, cache = self._thread.refreshed, self._studies.get(study_id)
        self._thread.refreshed = None
        if cache is None or refreshed is None or refreshed[0] != study_id or time.monotonic() - refreshed[1] > FRESH_S:
            cache = self._refreshed(study_id)
        cache.has_pruner = True
        return cache

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        with self._lock:
            ids = list(self._refreshed(study_id).heads)
        if not 0 <= trial_number < len(ids):
            raise KeyError(f"the study with the id {study_id} has no trial {trial_number}")
        return ids[trial_number]


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


def _since(cache: StudyCache) -> reads.Since:
    """Return what the cache has, from which reads.changed_trials continues."""
    return reads.Since(cache.newest, cache.running, cache.waiting, cache.rungs is not None)
