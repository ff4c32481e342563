"""The one function that opens any storage URL the right way, and the schema behind it."""

import contextlib
import importlib.util
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from search.errors import StorageError
from search.storage.fast.storage import FastStorage
from search.storage.locks import exclusive
from search.storage.tables import create_tables

# The types of proc_pid_mountinfo(5) that other machines may write to at the same time.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs", "gfs2", "glusterfs", "davfs", "moosefs", "panfs", "wekafs"}
)
FUSE_ON_DISK = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs"})
MOUNTS = Path("/proc/self/mountinfo")


def file_system(mountinfo: str, path: PurePosixPath) -> str:
    """The type of the file system that the absolute `path` is on, "" where mountinfo (proc(5)) does not say.

    Of several mounts at one place the last one counts: it hides the others.
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
    """Whether file systems of this type are shared over a network; FUSE counts, but for those known to be local."""
    return kind in NETWORK or (kind.startswith("fuse.") and kind not in FUSE_ON_DISK)


def network_file_system(path: Path) -> str:
    """The type of network file system that `path` is on; "" for a local one, or where there is no /proc to tell."""
    try:
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kind = file_system(mountinfo, PurePosixPath(path.resolve()))
    return kind if is_network(kind) else ""


IDLE_S = 5.0
FRESH_S = 1.0  # a connection used so recently is taken to live


@dataclass(slots=True, eq=False)
class _Watch:
    """When the engine's connections were last used, and whether somebody looks."""

    used_s: float = 0.0
    looking: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def close_when_idle(engine: Engine, idle_s: float = IDLE_S) -> None:
    """Close the connections that the engine's pool keeps once none was used for idle_s.

    A connection that was kept unused for more than FRESH_S is asked whether it lives before it is used again, so that
    a server's restart in between goes unnoticed.
    """
    watch = _Watch()

    def look() -> None:
        with watch.lock:
            rest_s = watch.used_s + idle_s - time.monotonic()
            watch.looking = rest_s > 0 or engine.pool.checkedout() > 0  # type: ignore[attr-defined]
        if watch.looking:
            _later(max(rest_s, idle_s / 5), look)
        else:
            engine.pool.dispose()  # the engine's own dispose would change pools under whoever connects just now

    @event.listens_for(engine, "checkin")
    def _used(connection: Any, record: Any) -> None:
        with watch.lock:
            watch.used_s = record.info["used_s"] = time.monotonic()
            begin, watch.looking = not watch.looking, True
        if begin:
            _later(idle_s, look)

    @event.listens_for(engine, "checkout")
    def _lives(connection: Any, record: Any, proxy: Any) -> None:
        used_s = record.info.get("used_s")
        if used_s is not None and time.monotonic() - used_s > FRESH_S:
            try:
                alive = engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                alive = False
            if not alive:
                raise DisconnectionError


def _later(after_s: float, call: Any) -> None:
    timer = threading.Timer(after_s, call)
    timer.daemon = True
    timer.start()


DEFAULT_URL = "sqlite:///studies.db"
EXAMPLES = "write it like sqlite:///studies.db or postgresql://user@host/name"
BUSY_S = 60


def storage_url(option: str | None) -> str:
    """The URL to use: the option, else DRIVEBEAT_STORAGE, else studies.db in the working directory."""
    return option or os.environ.get("DRIVEBEAT_STORAGE") or DEFAULT_URL


def masked(url: str) -> str:
    """`url` with *** for its password, wherever it stands."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "(not a database URL)"
    secret = {name: "***" for name in parsed.query if "pass" in name.lower()}
    return parsed.update_query_dict(secret).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def open_storage(url: str, *, fast: bool = True) -> BaseStorage:
    """Optuna's storage on `url`, its schema and ours made if need be: our own (search.storage.fast.storage) on
    PostgreSQL and SQLite; without `lean`, and on MySQL and MariaDB, Optuna's RDBStorage behind its cache of finished
    trials.

    SQLite: WAL, a busy timeout and immediate transactions, without which parallel workers run trials twice.
    Raises StorageError in one line for a URL that is none, a database that does not answer, or a schema of another
    version, with the command that upgrades it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own lines say what Optuna's would
    with explained(url), opening(url):
        engine = open_engine(url)
        options = engine_options(url)
        with exclusive(engine, "schema"):
            create_tables(engine)
            first = _checked(url, options)
            first.remove_session()
            first.engine.dispose()
        if fast and engine.dialect.name in ("sqlite", "postgresql"):
            engine.dispose()
            return FastStorage(partial(fast_engine, url))
        storage = RDBStorage(driver_url(url), engine_kwargs=options, skip_table_creation=True)
        _tune(storage.engine)
        engine.dispose()
        return get_storage(storage)


def _checked(url: str, options: dict[str, object]) -> RDBStorage:
    """Optuna's storage with its tables made. Raises StorageError where they are of another version."""
    try:
        return RDBStorage(driver_url(url), engine_kwargs=options)
    except RuntimeError as error:
        if "compatible with the table schema" not in str(error):
            raise
        made = str(error).partition("(set up by ")[2].partition(")")[0] or "another optuna"
        older = "storage upgrade" in str(error)
        hint = "stop all workers, then run: drivebeat storage upgrade" if older else "pip install -U optuna"
        raise StorageError(
            f"storage {masked(url)}: its tables are of {made}, this is optuna {optuna.__version__}; {hint}"
        ) from error


def open_engine(url: str) -> Engine:
    """A SQLAlchemy engine for our own tables, tuned like the storage's. Raises StorageError."""
    with explained(url), opening(url):
        parsed = make_url(driver_url(url))
        _check(parsed)
        engine = sqlalchemy.create_engine(parsed, **engine_options(url))
        _tune(engine)
        return engine


def fast_engine(url: str) -> Engine:
    """The engine of a FastStorage on a database whose schema is made. On PostgreSQL it keeps one connection while it is
    in use, and none once it was idle for a few seconds: a trial says things in bursts, and opening a connection
    costs more than saying them.
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
            pool_reset_on_return=None,  # nothing is left open: autocommit, or a transaction that ends with its block
            isolation_level="AUTOCOMMIT",
            **options,
        )
        close_when_idle(engine)
    _tune(engine, transactions=False)
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _plan_once)
    return engine


def _plan_once(connection: Any, record: object) -> None:
    """Planning the lean storage's statements takes PostgreSQL longer than doing them, and one plan serves them all."""
    with connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
    connection.commit()


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn errors of the database at `url` into one line that says what to do."""
    try:
        yield
    except ArgumentError as error:
        raise StorageError(f"storage {masked(url)} is not a database URL; {EXAMPLES}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        sqlite = url.startswith("sqlite")
        hint = "is it a database file, in a folder that can be written?" if sqlite else "is it running and reachable?"
        raise StorageError(f"storage {masked(url)} cannot be used: {_reason(error)}; {hint}") from error


@contextlib.contextmanager
def opening(url: str) -> Iterator[None]:
    """The same for what only opening meets: a missing driver, a lock file that cannot be had."""
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
    """The driver's own words, which SQLAlchemy and Optuna wrap."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    words = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return words.removesuffix(".")[:200]


def _check(url: sqlalchemy.URL) -> None:
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
    """`url` with its driver: postgresql:// means psycopg 3 (SQLAlchemy's own default would be psycopg2), mysql:// and
    mariadb:// whichever of PyMySQL and mysqlclient is installed. Raises ArgumentError, ImportError.
    """
    try:
        parsed = make_url(url)
    except ValueError as error:  # a port that is no number
        raise ArgumentError(str(error)) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() in ("mysql", "mariadb"):
        # MariaDB too is "mysql" from here on: Optuna asks for that name where the two speak alike
        driver = parsed.drivername.partition("+")[2] or _mysql_driver()
        parsed = parsed.set(drivername=f"mysql+{driver}")
    return parsed.render_as_string(hide_password=False)


def _refuse_ascii(engine: Engine, connection: object, record: object) -> None:
    """A database that knows no encoding hands out bytes for texts. Raises StorageError."""
    info = getattr(connection, "info", None)  # psycopg's
    if info is not None and info.parameter_status("server_encoding") == "SQL_ASCII":
        name = engine.url.database
        raise StorageError(
            f"storage {masked(str(engine.url))}: its encoding is SQL_ASCII, UTF8 is needed; make another database: "
            f"createdb --encoding=UTF8 --template=template0 {name}_utf8"
        )


def _mysql_driver() -> str:
    for module, driver in (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")):
        if importlib.util.find_spec(module):
            return driver
    raise ImportError("no MySQL driver is installed (pip install pymysql)")


def engine_options(url: str) -> dict[str, object]:
    if make_url(driver_url(url)).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    # Many workers, few statements each: a connection for each transaction, none idle between. The default pool would
    # keep two a worker, which 50 workers fill a server of 100 with, and hand out dead ones after a restart.
    return {"poolclass": NullPool, "connect_args": {"connect_timeout": 10}}


def _tune(engine: Engine, *, transactions: bool = True) -> None:
    """transactions: begin each at once (SQLite); without, statements are autocommitted."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", partial(_refuse_ascii, engine), insert=True)  # before SQLAlchemy asks anything
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
                return  # one statement at a time, which SQLite makes atomic by itself; reading waits for no writer
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before the listeners stood do not count
