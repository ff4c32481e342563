"""The scaling benchmark runs, counts what it says it counts, and its trials leave what real ones leave."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.site import Site
from benchmarks.scaling.__main__ import TABLES, main
from benchmarks.scaling.site import EPOCHS, Worker, attributes_of, closed, create_study, past, worker
from search.artifacts.open import open_artifacts
from search.pages.notes import put_note
from search.queue.slots import progress
from search.trials import FATE, WORKER, Fate
from search.worker.trial import run_trial
from tests.support.worker import worker_context


@pytest.fixture
def site(tmp_path: Path, recordings: Path) -> Site:
    return Site(tmp_path, f"sqlite:///{tmp_path}/studies.db", recordings, None)


@pytest.fixture
def one(site: Site) -> Iterator[Worker]:
    create_study(site, "simulated", "random", n_trials=3)
    found = worker(site.url, "simulated")
    yield found
    closed(found)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_benchmark_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--database", "sqlite"])
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 2 * len(TABLES)  # a title and a table each
    for table in tables[1::2]:
        widths = {row.count("|") for row in table.splitlines()}
        assert len(widths) == 1, table
        assert len(table.splitlines()) >= 4
    growth = next(table for title, table in zip(tables[::2], tables[1::2], strict=True) if "finished" in title)
    assert re.findall(r"^\| (\d+) \| (\w+)", growth, re.MULTILINE) == [
        ("20", "random"),
        ("20", "tpe"),
        ("20", "gp"),
        ("60", "random"),
        ("60", "tpe"),
        ("60", "gp"),
    ]


@pytest.mark.slow
def test_it_measures_postgresql_too(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--database", "postgresql", "--only", "statements", "--only", "sizes"])
    said = capsys.readouterr().out
    assert "(PostgreSQL)" in said
    for table in ("trial_user_attributes", "trial_params", "drivebeat_slots"):
        assert re.search(rf"^\| {table} \| [\d,]+ \|$", said, re.MULTILINE), said
    assert re.search(r"^\| connections opened \| \d+ \| [1-9]\d* \|$", said, re.MULTILINE), said


def test_simulated_trials_spend_the_budget_and_no_more(one: Worker) -> None:
    assert [one.trial() for _ in range(4)] == [True, True, True, False]
    assert progress(one.engine, one.study.identity).finished == 3
    trials = one.study.optuna.get_trials()
    assert [len(trial.intermediate_values) for trial in trials] == [EPOCHS] * 3


def test_statements_are_counted_by_step_and_owner(one: Worker) -> None:
    one.trial()
    said = one.meter.statements
    assert said["report", "Optuna"] >= EPOCHS
    assert said["report", "ours"] == said["prune", "ours"] == 0
    assert said["turn", "ours"] > 0 < said["turn", "Optuna"]


def test_trials_of_the_past_are_to_optuna_as_if_they_had_run(one: Worker, site: Site) -> None:
    one.trial()
    study = one.study
    past(study, site.url, 1)
    past(study, site.url, 2, "RUNNING")
    ran, written, *running = study.optuna.get_trials()
    assert written.params.keys() == ran.params.keys()
    assert written.distributions == ran.distributions
    assert written.user_attrs.keys() == ran.user_attrs.keys()
    assert written.intermediate_values.keys() == ran.intermediate_values.keys()
    assert len(written.system_attrs) == len(ran.system_attrs)
    assert [trial.state.name for trial in (ran, written, *running)] == ["COMPLETE", "COMPLETE", "RUNNING", "RUNNING"]
    assert progress(one.engine, one.study.identity).finished == 2


def test_simulated_trials_leave_the_attributes_of_real_ones(
    bench: Any, make_spec: Any, corpus: Any, tmp_path: Path
) -> None:
    study = bench.create(make_spec(budget={"trials": 1}, epochs=1))
    result = run_trial(worker_context(study, bench.engine, corpus, open_artifacts(tmp_path)))
    assert result is not None
    assert result.fate == Fate.COMPLETE
    (real,) = study.optuna.get_trials()
    assert real.user_attrs[FATE] == Fate.COMPLETE
    assert real.user_attrs.keys() - {WORKER, FATE} == attributes_of(study, real.params).keys()


def test_a_note_is_written_without_reading_those_of_other_trials(one: Worker) -> None:
    """optuna_dashboard keeps the notes of all trials with the study; its save_note reads them all."""
    from optuna_dashboard import get_note

    trial, study_id = one.study.optuna.ask(), one.study.optuna._study_id
    with one.meter.at("few"):
        put_note(one.storage, study_id, trial._trial_id, "one", 1)
    for i in range(20):
        one.storage.set_study_system_attr(study_id, f"dashboard:{i + 1000}:note_ver", 1)
    with one.meter.at("many"):
        put_note(one.storage, study_id, trial._trial_id, "two " * 1000, 2)  # longer than one attribute holds
    assert get_note(trial) == "two " * 1000
    assert one.meter.statements["many", "Optuna"] <= 2 * one.meter.statements["few", "Optuna"]
