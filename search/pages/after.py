"""What whoever told a trial's end does for those who look on: its note, old artifacts, the study's page."""

from collections.abc import Callable

from optuna.artifacts._protocol import ArtifactStore
from sqlalchemy import Engine

from data.corpus import Corpus
from search.pages.notes import conclude_note
from search.pages.retention import clear_others
from search.pages.study_page import draw_page
from search.queue.slots import progress
from search.storage.attributes import system_attributes
from search.storage.tables import database_time
from search.study.study import SearchStudy

PAGE_AT = "drivebeat:page_at"
PAGE_EVERY_S = 60.0


def show_end(
    search: SearchStudy,
    engine: Engine,
    trial_id: int,
    artifacts: ArtifactStore,
    corpus: Corpus,
    say: Callable[[str], None],
) -> None:
    """Write the note of a trial that was told, remove artifacts that are to go, draw the study's page if it is due.

    To be called when the slot is closed: a worker that dies in here costs a note, and no trial. It may be done twice.
    """
    conclude_note(search.study, engine, trial_id)
    clear_others(search, engine, artifacts, say)
    if _page_is_due(search, engine):
        draw_page(search, engine, corpus)


def _page_is_due(search: SearchStudy, engine: Engine) -> bool:
    """Once a minute, by the database's clock, and after the last trial; the worker that finds it due draws it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        now = database_time(connection)
    drawn = system_attributes(engine, search.study._study_id, PAGE_AT).get(PAGE_AT)
    if drawn is not None and now - float(drawn) < PAGE_EVERY_S and not progress(engine, search.name).spent:
        return False
    search.study._storage.set_study_system_attr(search.study._study_id, PAGE_AT, now)
    return True
