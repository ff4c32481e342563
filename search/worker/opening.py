"""A worker's way in: its studies, once the database answers."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from search.queue.workers import device_name, enrol
from search.storage.open import open_engine, open_storage
from search.storage.retry import is_starting, patiently
from search.storage.tables import Process
from search.study.study import SearchStudy, select


def enter(
    names: Sequence[str],
    url: str,
    process: Process,
    lease_s: float,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[Engine, list[SearchStudy]]:
    """Open the database at `url`, load the studies (or families) called `names`, each once, and enrol the worker.

    A database that is being started, refuses connections or has no room for one is waited for, as a worker at work
    waits for it: a worker may be started, or started again, in just that moment. A wrong URL is told at once. Raises
    StorageError, StudyError, and what `check` ends the waiting with.
    """

    def once() -> tuple[Engine, list[SearchStudy]]:
        storage, engine = open_storage(url), open_engine(url)
        searches = {search.name: search for name in names for search in select(name, storage)}
        enrol(engine, process, device_name(), lease_s)
        return engine, list(searches.values())

    return patiently(once, say, passes=is_starting, check=check)
