"""The half of the lean storage that knows studies: their names, directions and attributes, and how it connects."""

import contextlib
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.exc import IntegrityError

from search.storage.fast import writes
from search.storage.fast.tables import DIRECTIONS, STUDIES, STUDY_SYSTEM, STUDY_USER


class LeanStudies(BaseStorage):
    """Optuna's storage over `connect()`, which makes an engine on a database that has Optuna's tables.

    Errors of the database come as SQLAlchemy's own. May be shared by threads, pickled and carried over a fork.
    """

    def __init__(self, connect: Callable[[], Engine]) -> None:
        self._connect = connect
        self._begin_here()

    def _begin_here(self) -> None:
        """Begin with nothing known: when made, unpickled, or found in a forked process."""
        self.engine = self._connect()
        self._pid = os.getpid()
        self._directions: dict[int, list[StudyDirection]] = {}

    def _said(self) -> None:
        """Called before anything is said to the database."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_connect": self._connect}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_here()

    def remove_session(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _saying(self, *, whole: bool = False) -> Iterator[Connection]:
        """A connection for one statement, or with `whole` for a transaction."""
        if os.getpid() != self._pid:  # forked: the parent's connections are not ours to use, nor to close
            self.engine.dispose(close=False)
            self._begin_here()
        self._said()
        with self.engine.connect() as connection:
            # an engine for PostgreSQL is in autocommit (search.storage.open.lean_engine), and one for SQLite is not
            if self.engine.dialect.name == "sqlite":
                connection = connection if whole else connection.execution_options(isolation_level="AUTOCOMMIT")
            elif whole:
                connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin() if whole else contextlib.nullcontext():
                yield connection

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{uuid.uuid4()}" if study_name is None else study_name
        try:
            with self._saying(whole=True) as connection:
                study_id = writes.add_study(connection, name, directions)
        except IntegrityError as error:
            raise DuplicatedStudyError(f"a study {name!r} exists already") from error
        self._forget(study_id)  # SQLite gives the id of a deleted study again
        return study_id

    def delete_study(self, study_id: int) -> None:
        with self._saying(whole=True) as connection:
            there = writes.remove_study(connection, study_id)
        self._forget(study_id)
        if not there:
            raise KeyError(f"no study has the id {study_id}")

    def _forget(self, study_id: int) -> None:
        """What was known of a study is known no more."""
        self._directions.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_USER, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._set_study_attr(STUDY_SYSTEM, study_id, key, value)

    def _set_study_attr(self, table: Table, study_id: int, key: str, value: Any) -> None:
        with self._saying() as connection:
            if not writes.put_study_attribute(connection, table, study_id, key, value):
                raise KeyError(f"no study has the id {study_id}")

    def get_study_id_from_name(self, study_name: str) -> int:
        return int(self._one(select(STUDIES.c.study_id).where(STUDIES.c.study_name == study_name), study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        return str(self._one(select(STUDIES.c.study_name).where(STUDIES.c.study_id == study_id), study_id))

    def _one(self, asked: Any, what: object) -> Any:
        with self._saying() as connection:
            found = connection.execute(asked).first()
        if found is None:
            raise KeyError(f"there is no study {what!r}")
        return found[0]

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        known = self._directions.get(study_id)
        if known is None:
            c = DIRECTIONS.c
            with self._saying() as connection:
                asked = select(c.direction).where(c.study_id == study_id).order_by(c.objective)
                known = list(connection.execute(asked).scalars())
            if not known:
                raise KeyError(f"no study has the id {study_id}")
            self._directions[study_id] = known
        return list(known)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_USER, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attrs(STUDY_SYSTEM, study_id)

    def _study_attrs(self, table: Table, study_id: int) -> dict[str, Any]:
        c = table.c
        asked = (
            select(STUDIES.c.study_id, c.key, c.value_json)
            .select_from(STUDIES.outerjoin(table, c.study_id == STUDIES.c.study_id))
            .where(STUDIES.c.study_id == study_id)
        )
        with self._saying() as connection:
            rows = connection.execute(asked).all()
        if not rows:
            raise KeyError(f"no study has the id {study_id}")
        return {key: json.loads(value) for _, key, value in rows if key is not None}

    def get_all_studies(self) -> list[FrozenStudy]:
        attributes: dict[Table, dict[int, dict[str, Any]]] = {}
        directions: dict[int, list[StudyDirection]] = defaultdict(list)
        c = DIRECTIONS.c
        with self._saying() as connection:
            studies = connection.execute(select(STUDIES.c.study_id, STUDIES.c.study_name).order_by("study_id")).all()
            for study_id, direction in connection.execute(select(c.study_id, c.direction).order_by(c.objective)):
                directions[study_id].append(direction)
            for table in (STUDY_USER, STUDY_SYSTEM):
                found = attributes[table] = defaultdict(dict)
                for study_id, key, value in connection.execute(
                    select(table.c.study_id, table.c.key, table.c.value_json)
                ):
                    found[study_id][key] = json.loads(value)
        user, system = attributes[STUDY_USER], attributes[STUDY_SYSTEM]
        return [FrozenStudy(name, None, user[i], system[i], i, directions=directions[i]) for i, name in studies]
