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
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import IntegrityError

from search.storage.fast import reads, studies, writes
from search.storage.fast.cache import Decoder, Head, Rungs, StudyCache, numbers_of, trial_of
from search.storage.fast.reads import Since
from search.storage.fast.studies import Counted, add_trial
from search.storage.fast.tables import STUDY_SYSTEM, STUDY_USER, SYSTEM, USER
from search.storage.fast.writes import Param, TrialKey
from search.storage.optuna_private import FrozenStudy

DEFAULT_STUDY_NAME_PREFIX = "no-name-"  # as Optuna names a study without a name
FRESH_S = 1.0  # a pruner does not read again what the last report has read within this time
CREATED_S = 0.1  # a trial that was created this long ago is no longer returned without reading it


@dataclass(slots=True, eq=False)
class Batch:
    """Params and attributes that a block has set of one trial, and that are not written yet."""

    params: dict[str, Param] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    def clear(self) -> None:
        """Drop what is held, after it was written or refused."""
        self.params, self.user, self.system = {}, {}, {}


class ThreadState(threading.local):
    """What each thread keeps between its calls.

    created: the trial that its last statement created, and when (time.monotonic). refreshed: the cache that its last
    statement updated, and when. batches: open batches by trial_id.
    """

    created: tuple[FrozenTrial, float] | None = None
    refreshed: tuple[StudyCache, float] | None = None
    batches: dict[int, Batch] | None = None


class ProcessState:
    """What a FastStorage keeps in one process; a fork gets another one, for it may have copied a lock that is held.

    Threads share it. `directions` and `studies` are accessed with `lock` held; the methods acquire it themselves.

    A trial is remembered by its key, so that a write for a trial of a deleted study does nothing to another trial that
    got its trial_id. The keys of trials that this storage has created, begun or written to (`_own`) stay when its study
    is read again and is another one by then: a worker may still write to the old trial.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lock = threading.RLock()
        self.decoder = Decoder()
        self.directions: dict[int, list[StudyDirection]] = {}
        self.studies: dict[int, StudyCache] = {}
        self.thread = ThreadState()
        self._own: dict[int, TrialKey] = {}
        self._read: dict[int, TrialKey] = {}  # of trials that were read on their own
        self.new: set[int] = set()  # trials that nobody has read or written to since a thread created them

    def forget(self, study_id: int, *, own: bool = False) -> None:
        """Remove a study from the cache. own: also the keys of trials that this storage has written to."""
        with self.lock:
            self.directions.pop(study_id, None)
            self.studies.pop(study_id, None)
            for keys in (self._read, self._own) if own else (self._read,):
                for trial_id in [trial_id for trial_id, key in keys.items() if key.study_id == study_id]:
                    del keys[trial_id]

    def update(self, study_id: int, cache: StudyCache, rows: Sequence[Any]) -> None:
        """Add the rows of reads.changed_trials to the cache of a study."""
        with self.lock:
            self.studies[study_id] = cache
            cache.update(rows)
            trial_ids = {row[3] for row in rows if row[3] is not None}
            for trial_id in trial_ids & self._own.keys():
                if self._own[trial_id].study_id != study_id:
                    del self._own[trial_id]
            for other in [i for i, c in self.studies.items() if i != study_id and trial_ids & c.heads.keys()]:
                self.forget(other)  # it was deleted, and its trials' ids are given to this study's

    # keys of trials

    def key_of(self, trial_id: int) -> TrialKey | None:
        """Return the key of a trial as this storage has created or read it; None for an unknown trial."""
        with self.lock:
            if trial_id in self._own:
                return self._own[trial_id]
            for study_id, cache in self.studies.items():
                if (head := cache.heads.get(trial_id)) is not None:
                    return TrialKey(study_id, head.number, head.began)
            return self._read.get(trial_id)

    def wrote(self, trial_id: int, key: TrialKey | None) -> None:
        """Remember the key of a trial that this storage has written to."""
        if key is not None:
            with self.lock:
                self._own[trial_id] = key

    def add_read(self, study_id: int, head: Head, trial: FrozenTrial) -> TrialKey:
        """Remember a trial that was read on its own, and return its key."""
        trial_id, key = trial._trial_id, TrialKey(study_id, head.number, head.began)
        with self.lock:
            for other, cache in list(self.studies.items()):
                known = cache.heads.get(trial_id)
                if known is not None and not TrialKey(other, known.number, known.began).is_of(key):
                    self.forget(other)  # another study has its id by now
            self._read[trial_id] = key
            if trial.state.is_finished() and (found := self.studies.get(study_id)) is not None:
                found.add_finished(trial)
        return key

    # trials that were just created

    def count_from(self, study_id: int) -> Counted:
        """Return from which trials the number of a new one is counted."""
        with self.lock:
            cache = self.studies.get(study_id)
            if cache is None or cache.proof_began is None:
                return Counted()
            return Counted(cache.newest, len(cache.heads), cache.proof, cache.proof_began)

    def add_created(self, trial_id: int, key: TrialKey, trial: FrozenTrial | None) -> None:
        """Remember a trial that this thread has created. trial: what its next get_trial returns, else it reads."""
        with self.lock:
            cache = self.studies.get(key.study_id)
            if cache is not None and trial_id <= cache.newest:
                self.forget(key.study_id)  # the cache is of another study that had the id
            self._own[trial_id] = key
            if trial is not None:
                self.new.add(trial_id)
                self.thread.created = trial, time.monotonic()

    def take_created(self, trial_id: int) -> FrozenTrial | None:
        """Return the trial that this thread has just created, once, and only if nobody has used it since."""
        created = self.thread.created
        if created is None or created[0]._trial_id != trial_id:
            self.touch(trial_id)
            return None
        fresh = time.monotonic() - created[1] <= CREATED_S
        self.thread.created = None
        with self.lock:
            unused = trial_id in self.new
            self.new.discard(trial_id)
        return created[0] if fresh and unused else None

    def touch(self, trial_id: int) -> None:
        """Note that a trial is used, so that it is read from the database from now on."""
        with self.lock:
            self.new.discard(trial_id)

    def start_statement(self) -> None:
        """Drop what is valid only until this thread's next statement."""
        thread = self.thread
        if thread.created is not None:
            self.touch(thread.created[0]._trial_id)
        thread.created = thread.refreshed = None


def which(trial_id: int, key: TrialKey | None) -> dict[str, Any]:
    """Return the parameters that name a trial in these statements. key: None where nothing of it is known."""
    study_id, number, began = key or (None, None, None)
    return {"trial": trial_id, "of_study": study_id, "of_number": number, "of_began": began}


def since(cache: StudyCache) -> Since:
    """Return what the cache has, from which reads.changed_trials continues."""
    return Since(cache.proof, cache.newest, cache.running, cache.waiting, cache.rungs is not None)


class FastStorage(BaseStorage):
    """An Optuna storage on the engine that `connect()` returns, of a database that has Optuna's tables.

    Database errors are SQLAlchemy's. May be shared by threads, pickled, and used after a fork.
    """

    def __init__(self, connect: Callable[[], Engine]) -> None:
        self.__setstate__({"_connect": connect})

    def __getstate__(self) -> dict[str, Any]:
        return {"_connect": self._connect}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._connect: Callable[[], Engine] = state["_connect"]
        self._states: dict[int, ProcessState] = {}  # by pid
        self._here()

    @property
    def engine(self) -> Engine:
        """The engine of this process."""
        return self._here().engine

    def _here(self) -> ProcessState:
        """Return the state of this process. After a fork that is a new one: the parent's locks may be held."""
        pid = os.getpid()
        state = self._states.get(pid)
        if state is None:
            state = self._states.setdefault(pid, ProcessState(self._connect()))
            for parent in [other for other in list(self._states) if other != pid]:
                if (old := self._states.pop(parent, None)) is not None:
                    old.engine.dispose(close=False)  # the connections belong to the parent, and must not be closed here
        return state

    def remove_session(self) -> None:
        """Close the connections that are not in use. Optuna calls this after each trial of study.optimize."""
        self.engine.pool.dispose()  # engine.dispose() would replace the pool while another thread uses it

    @contextlib.contextmanager
    def _connection(self, *, transaction: bool = False) -> Iterator[Connection]:
        """Yield a connection for one statement, or for a transaction."""
        here = self._here()
        if here.thread.created is not None or here.thread.refreshed is not None:
            here.start_statement()
        with here.engine.connect() as connection:
            if not transaction:  # the engine is in autocommit (search.storage.open.fast_engine)
                yield connection
                return
            sqlite = here.engine.dialect.name == "sqlite"
            if not sqlite:
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                if sqlite:  # lock at once: two transactions that first read and then write would block each other
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection

    def _forget(self, study_id: int) -> None:
        """Remove a study from the cache."""
        self._here().forget(study_id)

    # studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{uuid.uuid4()}" if study_name is None else study_name
        try:
            with self._connection(transaction=True) as connection:
                study_id = studies.add_study(connection, name, directions)
        except IntegrityError as error:
            raise DuplicatedStudyError(f"a study {name!r} exists already") from error
        self._here().forget(study_id, own=True)  # SQLite reuses the id of a deleted study
        return study_id

    def delete_study(self, study_id: int) -> None:
        with self._connection(transaction=True) as connection:
            removed = studies.remove_study(connection, study_id)
        self._forget(study_id)
        if not removed:
            raise KeyError(f"no study has the id {study_id}")

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_USER, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_SYSTEM, study_id, key, value)

    def _set_study_attr(self, table: Table, study_id: int, key: str, value: Any) -> None:
        with self._connection() as connection:
            if not studies.put_study_attribute(connection, table, study_id, key, value):
                raise KeyError(f"no study has the id {study_id}")

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study. Optuna's load_study begins with it, so a cache of an earlier study is dropped."""
        here = self._here()
        with here.lock:
            cache = next((cache for cache in here.studies.values() if cache.name == study_name), None)
            proof = 0 if cache is None else cache.proof
        with self._connection() as connection:
            found = studies.study_named(connection, study_name, proof)
        if found is None:
            raise KeyError(f"there is no study {study_name!r}")
        with here.lock:
            same = cache is not None and cache is here.studies.get(found.study_id) and cache.has_proof()
            # another proof by now: another thread has read the study since, and has compared it
            if cache is None or not same or (cache.proof == proof and not cache.is_study(*found[1:])):
                here.forget(found.study_id, own=True)
        return found.study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        with self._connection() as connection:
            name = studies.study_name_of(connection, study_id)
        if name is None:
            raise KeyError(f"no study has the id {study_id}")
        return name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        here = self._here()
        with here.lock:
            if study_id not in here.directions:
                with self._connection() as connection:
                    found = studies.directions_of(connection, study_id)
                if not found:
                    raise KeyError(f"no study has the id {study_id}")
                here.directions[study_id] = found
            return list(here.directions[study_id])

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_USER, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_SYSTEM, study_id)

    def _study_attrs(self, table: Table, study_id: int) -> dict[str, Any]:
        with self._connection() as connection:
            found = studies.study_attributes(connection, table, study_id)
        if found is None:
            raise KeyError(f"no study has the id {study_id}")
        return found

    def get_all_studies(self) -> list[FrozenStudy]:
        with self._connection() as connection:
            return studies.all_studies(connection)

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
        if trial_id in here.new:
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
        if trial_id in here.new:
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
        """Execute a write for a trial, whose second argument is `which`, and return whether it wrote anything.

        Raises UpdateFinishedTrialError where the trial has finished, and KeyError where it is missing, or another trial
        has its id.
        """
        here = self._here()
        key = here.key_of(trial_id)
        if trial_id in here.new:
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
        if batch is not None and trial_id in here.new:
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
        if cache is None or (cache.identity is None and cache.proof_began is None):  # see StudyCache.has_proof
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
