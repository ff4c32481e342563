"""Our own tables in Optuna's database.

A study's key in them is its identity (search.study.record). studies: budgets. slots: the trials of a budget, with
leases and fencing tokens (search.queue.slots). workers: their status and last heartbeat (search.queue.workers). Times
are seconds since 1970 by the database's clock, for the clocks of machines differ.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    text,
    update,
)

from search.errors import StorageError

SCHEMA_VERSION = 2  # 2: the index of slots by state, and their column `reached`
METADATA = MetaData()
# MySQL's FLOAT without a precision has 24 bits, which resolves seconds since 1970 to two minutes.
REAL = Float(53)

SCHEMA = Table("drivebeat_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

STUDIES = Table(
    "drivebeat_studies",
    METADATA,
    Column("study", String(200), primary_key=True),
    Column("n_trials", Integer, nullable=False),
    Column("hours", REAL),
    Column("started_at", REAL),
)

SLOTS = Table(
    "drivebeat_slots",
    METADATA,
    Column("study", String(200), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # open, claimed, telling, finished, failed
    Column("token", Integer, nullable=False),
    Column("worker", String(200), nullable=False),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", BigInteger),
    Column("trial", Integer),
    Column("outcome", Text),
    Column("deaths", Integer, nullable=False),  # of workers in a row without an epoch between them
    Column("beats", Integer, nullable=False),  # renewals of the lease
    Column("expires_at", REAL, nullable=False),
    Column("reached", Integer),  # the last epoch reported when the previous worker died
    # a claim reads the unfinished slots, which are few even in a long study
    Index("drivebeat_slots_by_state", "study", "state"),
)

WORKERS = Table(
    "drivebeat_workers",
    METADATA,
    Column("worker", String(200), primary_key=True),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", BigInteger),
    Column("device", String(100), nullable=False),
    Column("state", String(16), nullable=False),  # working, waiting, stopped, or died
    Column("study", String(200)),
    Column("trial", Integer),
    Column("epoch", Integer),
    Column("score", REAL),
    Column("lease_s", REAL, nullable=False),
    Column("started_at", REAL, nullable=False),
    Column("seen_at", REAL, nullable=False),
)


def create_tables(engine: Engine) -> None:
    """Create our tables where they are missing. Raises StorageError for tables of another version."""
    METADATA.create_all(engine, checkfirst=True)
    with engine.begin() as connection:
        version = connection.execute(select(func.max(SCHEMA.c.version))).scalar_one()
        if version is None:
            connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
        else:
            check_version(version)


def check_version(version: int | None) -> None:
    """Raise StorageError where `version` is not that of our tables."""
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"the database's Drivebeat tables have version {version}, this Drivebeat needs {SCHEMA_VERSION}; "
            + ("run: drivebeat storage upgrade" if (version or 0) < SCHEMA_VERSION else "use a newer Drivebeat")
        )


def set_budget(engine: Engine, study: str, n_trials: int, hours: float | None) -> None:
    """Insert or update the budget of the study with the identity `study`."""
    with engine.begin() as connection:
        row = {"n_trials": n_trials, "hours": hours}
        changed = connection.execute(update(STUDIES).where(STUDIES.c.study == study).values(row))
        if changed.rowcount == 0:
            connection.execute(insert(STUDIES).values(study=study, **row))


def database_time(connection: Connection) -> float:
    """Return the time by the database's clock, in seconds since 1970."""
    clocks = {
        "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
        "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
        "mysql": "SELECT unix_timestamp(now(6))",
        "mariadb": "SELECT unix_timestamp(now(6))",
    }
    return float(connection.execute(text(clocks[connection.dialect.name])).scalar_one())
