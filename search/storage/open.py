"""Open a database: Optuna's storage and engines for our own tables, with settings for many concurrent workers."""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from search.errors import StorageError
from search.storage.fast.storage import FastStorage
from search.storage.idle import close_when_idle
from search.storage.locks import exclusive
from search.storage.tables import create_tables

DEFAULT_URL = "sqlite:///studies.db"
EXAMPLES = "write it like sqlite:///studies.db or postgresql://user@host/name"
BUSY_S = 60
# File systems, as proc_pid_mountinfo(5) names their types, to which other machines may write at the same time.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs", "gfs2", "glusterfs", "davfs", "moosefs", "panfs", "wekafs"}
)
FUSE_ON_DISK = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs"})
MOUNTS = Path("/proc/self/mountinfo")


def file_system(mountinfo: str, path: PurePosixPath) -> str:
    """Return the type of the file system of the absolute `path`; "" where mountinfo (proc(5)) has none.

    The last of several mounts at the same point counts, for it hides the others.
    """
    found, depth = "", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after.strip():
            continue
        point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split()[0], len(point.parts)
    return found


def is_network(kind: str) -> bool:
    """Return whether file systems of this type are shared over a network. FUSE counts, except for known local ones."""
    return kind in NETWORK or (kind.startswith("fuse.") and kind not in FUSE_ON_DISK)


def network_file_system(path: Path) -> str:
    """Return the type of the network file system of `path`; "" for a local one, or without /proc."""
    try:
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kind = file_system(mountinfo, PurePosixPath(path.resolve()))
    return kind if is_network(kind) else ""


def storage_url(option: str | None) -> str:
    """Return the URL to use: the option, else DRIVEBEAT_STORAGE, else studies.db in the working directory."""
    return option or os.environ.get("DRIVEBEAT_STORAGE") or DEFAULT_URL


def sqlite_file(url: str | sqlalchemy.URL) -> Path | None:
    """Return the file of a SQLite database; None for another database, one in memory, and an invalid URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:"
    return Path(str(parsed.database)) if is_file else None


def masked(url: str) -> str:
    """Return `url` with *** for passwords, also in its query."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(not a database URL)"
    secret = {name: "***" for name in parsed.query if "pass" in name.lower()}
    return parsed.update_query_dict(secret).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def places(url: str, artifacts: str | None = None, logs: Path | None = None) -> str:
    """Return where a command reads and writes, with absolute paths: its database, artifacts and the workers' logs."""
    found = ["database " + masked(url)]
    if (file := sqlite_file(url)) is not None:
        found = [f"database {file.absolute()}"]
    if artifacts is not None:
        is_url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", artifacts) is not None
        found.append(f"artifacts {artifacts if is_url else Path(artifacts).absolute()}")
    if logs is not None:
        found.append(f"logs of workers {logs.absolute()}")
    return ", ".join(found)


def open_storage(url: str, *, fast: bool = True) -> BaseStorage:
    """Open a storage for Optuna on `url`, and create Optuna's and our tables where they are missing.

    fast: use a FastStorage on PostgreSQL and SQLite. Otherwise, and on MySQL and MariaDB, it is Optuna's RDBStorage
    with its cache of finished trials. On SQLite, WAL, a busy timeout and immediate transactions are set, without which
    parallel workers run trials twice.

    Raises StorageError for an invalid URL, an unavailable database, or tables of another version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own log has what Optuna's would
    with explained(url), explained_on_open(url):
        engine = open_engine(url)
        options = engine_options(url)
        with exclusive(engine, "schema"):
            create_tables(engine)
            first = check_optuna_version(url, options)
            first.remove_session()
            first.engine.dispose()
        if fast and engine.dialect.name in ("sqlite", "postgresql"):
            engine.dispose()
            return FastStorage(partial(fast_engine, url))
        storage = RDBStorage(driver_url(url), engine_kwargs=options, skip_table_creation=True)
        _tune(storage.engine)
        engine.dispose()
        return get_storage(storage)


def check_optuna_version(url: str, options: dict[str, object], *, create: bool = True) -> RDBStorage:
    """Return Optuna's storage. Raises StorageError where its tables are of another version.

    options: of create_engine. create: create the tables where they are missing.
    """
    try:
        return RDBStorage(driver_url(url), engine_kwargs=options, skip_table_creation=not create)
    except RuntimeError as error:
        if "compatible with the table schema" not in str(error):
            raise
        version = str(error).partition("(set up by ")[2].partition(")")[0] or "another optuna"
        older = "storage upgrade" in str(error)
        hint = "stop all workers, then run: drivebeat storage upgrade" if older else "pip install -U optuna"
        raise StorageError(
            f"storage {masked(url)}: its tables are of {version}, this is optuna {optuna.__version__}; {hint}"
        ) from error


def open_engine(url: str) -> Engine:
    """Return a SQLAlchemy engine for our own tables, with the settings of open_storage. Raises StorageError."""
    with explained(url), explained_on_open(url):
        engine = sqlalchemy.create_engine(checked_url(url), **engine_options(url))
        _tune(engine)
        return engine


def fast_engine(url: str) -> Engine:
    """Return the engine of a FastStorage, on a database that has its tables.

    On PostgreSQL it keeps one connection, and closes it after some seconds without use: a trial writes several times
    in a row, and opening a connection takes longer than the writes.
    """
    options = engine_options(url)
    if options.pop("poolclass", None) is None:
        engine = sqlalchemy.create_engine(driver_url(url), isolation_level="AUTOCOMMIT", **options)
    else:
        engine = sqlalchemy.create_engine(
            driver_url(url),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=-1,
            pool_reset_on_return=None,  # no transaction is open then: autocommit, or a block that ends its transaction
            isolation_level="AUTOCOMMIT",
            **options,
        )
        close_when_idle(engine)
    _tune(engine, transactions=False)
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _plan_once)
    return engine


def _plan_once(connection: Any, record: object) -> None:
    """Make PostgreSQL keep one generic plan a statement, for planning takes longer than executing them."""
    with connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
    connection.commit()


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise StorageError, with a hint what to do, for an error of the database at `url` in the block."""
    try:
        yield
    except ArgumentError as error:
        shown = "(hidden, for it may hold a password)" if "@" in url else repr(url)
        raise StorageError(f"storage {shown} is not a database URL; {EXAMPLES}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        sqlite = url.startswith("sqlite")
        hint = "is it a database file, in a folder that can be written?" if sqlite else "is it running and reachable?"
        raise StorageError(f"storage {masked(url)} cannot be used: {_reason(error)}; {hint}") from error


@contextlib.contextmanager
def explained_on_open(url: str) -> Iterator[None]:
    """Raise StorageError for errors that occur only while a database is opened: a missing driver, a lock file."""
    try:
        yield
    except ImportError as error:
        hint = "write postgresql:// and pip install 'drivebeat[postgres]'"
        if url.startswith(("mysql", "mariadb")):
            hint = "or use PostgreSQL, which this is tested with"
        raise StorageError(f"storage {masked(url)} cannot be used: {error}; {hint}") from error
    except OSError as error:
        raise StorageError(f"storage {masked(url)} cannot be used: {error}; can its folder be written?") from error


def _reason(error: BaseException) -> str:
    """Return the driver's message, without what SQLAlchemy and Optuna add."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    words = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return words.removesuffix(".")[:200]


def checked_url(url: str) -> sqlalchemy.URL:
    """Return `url` with its driver. Raises StorageError for a database that is not supported or cannot be shared."""
    parsed = make_url(driver_url(url))
    _check(parsed)
    return parsed


def require_file(url: str) -> None:
    """Raise StorageError where `url` names a SQLite file that does not exist, so that a typing error makes none."""
    with explained(url), explained_on_open(url):
        path = sqlite_file(checked_url(url))
    if path is not None and not path.exists():
        raise StorageError(
            f"storage {masked(url)}: there is no file {path.absolute()}; start in the folder of your database, name it "
            "with --storage, or create a study: drivebeat create STUDY.toml"
        )


def _check(url: sqlalchemy.URL) -> None:
    """Raise StorageError for a database that is not supported, or a SQLite file that cannot be shared."""
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql", "mysql"):
        raise StorageError(f"storage {masked(str(url))}: {backend} is not supported; {EXAMPLES}")
    if backend != "sqlite":
        return
    if not url.database or url.database == ":memory:":
        raise StorageError("storage sqlite:// without a file cannot be shared; write sqlite:///studies.db")
    if url.database.startswith("file:"):
        raise StorageError(f"storage {masked(str(url))}: a file: URI is not supported; {EXAMPLES}")
    path = Path(url.database)
    if path.is_dir():
        raise StorageError(f"storage {masked(str(url))}: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise StorageError(f"storage {masked(str(url))}: the folder {path.parent} does not exist; make it")
    if kind := network_file_system(path):
        raise StorageError(
            f"storage {masked(str(url))}: {path} is on a network file system ({kind}), where SQLite's locks fail; "
            "put it on a local disk, or use postgresql://user@host/name"
        )


def driver_url(url: str) -> str:
    """Return `url` with the name of its driver.

    postgresql:// stands for psycopg 3 (SQLAlchemy's default is psycopg2), mysql:// and mariadb:// for PyMySQL or
    mysqlclient, whichever is installed. Raises ArgumentError, ImportError.
    """
    try:
        parsed = make_url(url)
    except ValueError as error:  # the port is not a number
        raise ArgumentError(str(error)) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() in ("mysql", "mariadb"):
        # "mysql" for MariaDB too, for Optuna compares the name where both need the same SQL
        driver = parsed.drivername.partition("+")[2] or _mysql_driver()
        parsed = parsed.set(drivername=f"mysql+{driver}")
    return parsed.render_as_string(hide_password=False)


def _refuse_ascii(engine: Engine, connection: object, record: object) -> None:
    """Raise StorageError for a PostgreSQL database without an encoding, which returns bytes for texts."""
    info = getattr(connection, "info", None)  # of psycopg
    if info is not None and info.parameter_status("server_encoding") == "SQL_ASCII":
        name = engine.url.database
        raise StorageError(
            f"storage {masked(str(engine.url))}: its encoding is SQL_ASCII, UTF8 is needed; create another database: "
            f"createdb --encoding=UTF8 --template=template0 {name}_utf8"
        )


def _mysql_driver() -> str:
    for module, driver in (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")):
        if importlib.util.find_spec(module):
            return driver
    raise ImportError("no MySQL driver is installed (pip install pymysql)")


def engine_options(url: str) -> dict[str, object]:
    """Return the arguments of create_engine for `url`."""
    if make_url(driver_url(url)).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    # Many workers execute few statements each, so a connection is opened for each transaction. The default pool keeps
    # two a worker: 50 workers exhaust a server's 100 connections, and a restart of the server leaves broken ones.
    return {"poolclass": NullPool, "connect_args": {"connect_timeout": 10}}


def _tune(engine: Engine, *, transactions: bool = True) -> None:
    """Add our settings to an engine. transactions: begin immediate ones (SQLite); False: statements are autocommitted.

    Raises nothing itself; a connection may raise StorageError.
    """
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", partial(_refuse_ascii, engine), insert=True)  # before SQLAlchemy's listener
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _on_connect(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3 must not begin on its own
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    if transactions:

        @event.listens_for(engine, "begin")
        def _on_begin(connection: sqlalchemy.Connection) -> None:
            if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
                return  # a single statement is atomic, and a read must not wait for a writer
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # closes connections that were opened without the listeners
