"""Whatever other programs do to a study, its search goes on: no traceback, no endless loop, its budget met exactly.

Each act happens before any worker, while a worker trains, and after a worker was killed; on SQLite and PostgreSQL.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState

from search.queue.slots import progress, slot_trials
from search.storage.open import open_engine, open_storage
from search.storage.tables import SLOTS, STUDIES
from search.study.agreement import disagreements
from search.study.record import load_record
from search.trials import RUN
from tests.support.foreign import ACTS, DELETING, NAME, OTHER, Site, killed_worker, search
from tests.support.study import Bench

BUDGET = 2
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.fixture
def site(bench_of_each: Bench, make_spec: Any, tmp_path: Path) -> Site:
    """A study with a budget of two trials, and another study, which nothing may change."""
    spec = make_spec(epochs=2, budget={"trials": BUDGET})
    study = bench_of_each.create(spec)
    bench_of_each.create(make_spec(name=OTHER, epochs=1, budget={"trials": 1}))
    bench_of_each.close()
    return Site(bench_of_each.url, tmp_path, spec, study.fingerprint)


def before_any_worker(site: Site, act: Callable[[Site], None]) -> list[str]:
    act(site)
    return search(site, site.name)


def while_a_worker_trains(site: Site, act: Callable[[Site], None]) -> list[str]:
    return search(site, site.name, act=lambda: act(site))


def after_a_killed_worker(site: Site, act: Callable[[Site], None]) -> list[str]:
    killed_worker(site)
    act(site)
    return search(site, site.name)


WHEN = (before_any_worker, while_a_worker_trains, after_a_killed_worker)
# These leave the study in place, and happen all together before a worker in the last test.
TOGETHER = ("start ", "run ", "add ", "edit ", "copy ", "enqueue ")
FEW = ("tell failed", "delete and create again", "rename in the dashboard")  # the rest of the matrix is for CI
CASES = [(when, name) for when in WHEN for name in ACTS if when != before_any_worker or not name.startswith(TOGETHER)]


def case(when: Callable[..., list[str]], name: str) -> Any:
    marks = [] if when == while_a_worker_trains and name in FEW else [pytest.mark.matrix]
    return pytest.param(when, name, id=f"{when.__name__}-{name}", marks=marks)


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize(("when", "name"), [case(*chosen) for chosen in CASES])
def test_the_search_goes_on(site: Site, when: Callable[..., list[str]], name: str) -> None:
    before = rows_of(site, OTHER)
    log = when(site, ACTS[name])
    assert rows_of(site, OTHER) == before
    if name in DELETING:
        gone_without_a_trace(site)
    else:
        log += search(site, site.name)  # a worker that comes later
        met_exactly(site, log)


def met_exactly(site: Site, log: list[str]) -> None:
    """Assert that the study's own trials, and no others, meet its budget, in Optuna's tables and in ours."""
    storage, engine = open_storage(site.url), open_engine(site.url)
    record = load_record(site.name, storage)
    state = progress(engine, record.identity)
    assert (state.finished, state.open, state.claimed, state.spent) == (BUDGET, 0, 0, True), log
    own = slot_trials(engine, record.identity)
    trials = record.optuna.get_trials()
    assert sum(trial.number in own and trial.state in FINISHED for trial in trials) == BUDGET, log
    ran = {trial.number for trial in trials if trial.state in FINISHED and RUN in trial.user_attrs}
    assert ran <= own, "a trial that a worker ran has a slot"
    others = [found for found in disagreements(storage, engine) if "a copy" not in found.found]
    assert others == [], log
    storage.remove_session()
    engine.dispose()


def gone_without_a_trace(site: Site) -> None:
    engine = open_engine(site.url)
    with engine.begin() as connection:
        for table in (STUDIES, SLOTS):
            left = set(connection.execute(sqlalchemy.select(table.c.study)).scalars())
            assert not any(identity.startswith(NAME) for identity in left)
    engine.dispose()


def rows_of(site: Site, name: str) -> list[Any]:
    """Return all rows of a study, in Optuna's tables and in ours."""
    storage, engine = open_storage(site.url), open_engine(site.url)
    record = load_record(name, storage)
    study_id = record.optuna._study_id
    rows: list[Any] = [record.optuna.get_trials(), record.optuna.user_attrs, storage.get_study_system_attrs(study_id)]
    with engine.begin() as connection:
        for table in (STUDIES, SLOTS):
            query = sqlalchemy.select(table).where(table.c.study == record.identity)
            rows.append(connection.execute(query).all())
    storage.remove_session()
    engine.dispose()
    return rows


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_command_reads_a_study_that_others_have_written_to(site: Site, drivebeat: Any, tmp_path: Path) -> None:
    """None of them ends with a traceback."""
    for kind in TOGETHER:
        for name in ACTS:
            if name.startswith(kind):
                ACTS[name](site)
    log = search(site, site.name)
    met_exactly(site, log)
    for words in (
        ("show",),
        ("show", NAME),
        ("show", "--across"),
        ("watch", NAME, "--once"),
        ("watch", NAME, "--once", "--json"),
        ("show", "--json"),
        ("show", NAME, "--json"),
        ("show", NAME, "--csv"),
        ("workers",),
        ("export", NAME, "-o", str(tmp_path / "best.yaml")),
        ("report", NAME, "-o", str(tmp_path / "report.html"), "--no-classical"),
        ("doctor",),
    ):
        said = drivebeat(*words, "--storage", site.url)
        assert said.code == 0, (words, said.err)
    study_id = site.study._study_id
    for path in ("", "/param_importances"):
        assert site.dashboard("GET", f"/api/studies/{study_id}{path}") == 200
    assert site.dashboard("GET", "/api/studies") == 200
