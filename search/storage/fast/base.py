"""The part of the fast storage that has its connections and the methods for studies."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import IntegrityError

from search.storage.fast import studies
from search.storage.fast.state import ProcessState
from search.storage.fast.tables import STUDY_SYSTEM, STUDY_USER
from search.storage.optuna_private import FrozenStudy

DEFAULT_STUDY_NAME_PREFIX = "no-name-"  # as Optuna names a study without a name


class FastStudies(BaseStorage):
    """The methods for studies of a FastStorage, which has those for trials."""

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
