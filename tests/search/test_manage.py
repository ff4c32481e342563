"""The life of a stored study by command: enqueue, cancel, rename, copy, adopt, delete."""

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.artifacts.open import open_artifacts
from search.queue.slots import progress
from search.storage.open import driver_url, open_engine, open_storage
from search.storage.readable import open_readable
from search.storage.tables import SLOTS, STUDIES
from search.study.agreement import disagreements
from search.study.record import load_record, name_now, new_identity, stored_identity
from search.study.study import load_study
from search.trials import Fate, fate_of
from search.worker.worker import work
from tests.support.study import Bench, record_trials

Drivebeat = Callable[..., Any]


def test_an_identity_begins_with_the_name_and_is_fit_for_a_folder() -> None:
    first, second = new_identity("a study/of mine"), new_identity("a study/of mine")
    assert first != second
    assert first.startswith("a-study-of-mine-") and len(first) == len("a-study-of-mine-") + 12
    assert new_identity("../..").startswith("study-")
    assert len(new_identity("x" * 500)) <= 53


# enqueue


def test_enqueue_gives_the_next_trial_its_values(bench: Bench, make_spec: Any, drivebeat: Drivebeat) -> None:
    study = bench.create(make_spec())
    said = drivebeat("enqueue", "tiny", "width=16", "learning_rate=0.002", "--storage", bench.url)
    assert (said.code, said.out) == (0, "study tiny: enqueued width 16, learning_rate 0.002\n")
    (trial,) = study.optuna.get_trials()
    assert trial.system_attrs["fixed_params"] == {"width": 16, "learning_rate": 0.002}
    again = drivebeat("enqueue", "tiny", "width=16", "learning_rate=0.002", "--storage", bench.url)
    assert again.out == "study tiny: width 16, learning_rate 0.002 has a trial already\n"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("width=999", "width is '999'; one of 8, 16 is allowed"),
        ("width=abc", "width is 'abc'; one of 8, 16 is allowed"),
        ("learning_rate=5", "learning_rate is 5; 0.0001 .. 0.01 log is allowed"),
        ("lerning_rate=0.001", "has no parameter 'lerning_rate', did you mean 'learning_rate'?"),
        ("levels=3", "levels is 3, but the study fixes it at 2"),
        ("width", "'width': not NAME=VALUE; write it like width=16"),
    ],
)
def test_enqueue_refuses_what_cannot_run(
    value: str, reason: str, bench: Bench, make_spec: Any, drivebeat: Drivebeat
) -> None:
    study = bench.create(make_spec())
    said = drivebeat("enqueue", "tiny", value, "--storage", bench.url)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert reason.split(", did")[0] in said.err
    assert study.optuna.get_trials() == []


# cancel


def test_a_cancelled_trial_fails_and_a_finished_one_stays(tiny: Any, bench: Bench, drivebeat: Drivebeat) -> None:
    tiny.optuna.enqueue_trial({"width": 8})
    said = drivebeat("cancel", "tiny", "2", "--yes", "--storage", bench.url)
    assert (said.code, said.out) == (0, "study tiny: trial 2, which was waiting, is cancelled\n")
    trial = tiny.optuna.get_trials()[2]
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "cancelled")
    for number, reason in (
        ("0", "trial 0 of study 'tiny' has ended"),
        ("9", "has no trial 9; it has the trials 0 to 2"),
    ):
        said = drivebeat("cancel", "tiny", number, "--yes", "--storage", bench.url)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert reason in said.err


def test_what_destroys_asks_first(tiny: Any, bench: Bench, drivebeat: Drivebeat) -> None:
    tiny.optuna.enqueue_trial({"width": 8})
    for command in (("delete", "tiny"), ("cancel", "tiny", "2")):
        said = drivebeat(*command, "--storage", bench.url)
        assert said.code == 2
        assert "add --yes" in said.err
    assert bench.progress().finished == 2


# rename


def test_a_renamed_study_keeps_identity_budget_and_trials(tiny: Any, bench: Bench, drivebeat: Drivebeat) -> None:
    said = drivebeat("rename", "tiny", "better", "--storage", bench.url)
    assert (said.code, said.out) == (0, "study tiny is now called better\n")
    renamed = load_study("better", bench.storage)
    assert renamed.identity == tiny.identity
    assert progress(bench.engine, renamed.identity).finished == 2
    assert name_now(bench.engine, tiny.optuna._study_id, tiny.identity) == (tiny.optuna._study_id, "better")
    assert "better" in drivebeat("show", "--storage", bench.url).out
    said = drivebeat("rename", "tiny", "other", "--storage", bench.url)
    assert (said.code, said.err.startswith("drivebeat: no study 'tiny'")) == (2, True)


def test_a_name_that_exists_is_refused(tiny: Any, bench: Bench, make_spec: Any, drivebeat: Drivebeat) -> None:
    bench.create(make_spec(name="other"))
    said = drivebeat("rename", "tiny", "other", "--storage", bench.url)
    assert (said.code, "a study 'other' exists already" in said.err) == (2, True)
    assert bench.progress().finished == 2


# copy and adopt


def test_a_copy_in_another_database_goes_on_with_the_rest_of_the_budget(
    tiny: Any, bench: Bench, postgres_server: Any, tmp_path: Path, drivebeat: Drivebeat
) -> None:
    target = postgres_server.new_database()
    try:
        said = drivebeat("copy", "tiny", "--to", target, "--storage", bench.url)
        assert said.code == 0, said.err
        storage, engine = open_storage(target), open_engine(target)
        copied = load_study("tiny", storage)
        assert copied.identity != tiny.identity
        assert [t.params for t in copied.optuna.get_trials()] == [t.params for t in tiny.optuna.get_trials()]
        state = progress(engine, copied.identity)
        assert (state.finished, state.budget) == (2, 3)
        notes = {key for key in storage.get_study_system_attrs(copied.optuna._study_id) if ":note_ver" in key}
        ids = {trial._trial_id for trial in copied.optuna.get_trials()}
        assert {int(key.split(":")[1]) for key in notes if key.split(":")[1].isdigit()} <= ids
        assert disagreements(storage, engine) == []
        work(["tiny"], target, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None)
        assert len(copied.optuna.get_trials()) == 3
        assert len(tiny.optuna.get_trials()) == 2, "the first one is as it was"
        said = drivebeat("copy", "tiny", "--to", target, "--storage", bench.url)
        assert (said.code, "a study 'tiny' exists already; choose another name: --name NAME" in said.err) == (2, True)
        storage.remove_session()
        engine.dispose()
    finally:
        postgres_server.drop(target)


def test_a_copy_by_optuna_has_no_budget_until_it_is_adopted(
    tiny: Any, bench: Bench, tmp_path: Path, drivebeat: Drivebeat
) -> None:
    target = f"sqlite:///{tmp_path}/other.db"
    optuna.copy_study(from_study_name="tiny", from_storage=RDBStorage(driver_url(bench.url)), to_storage=target)
    shown = drivebeat("show", "--storage", target)
    assert (shown.code, shown.err.count("\n")) == (2, 1)
    drivebeat("init", "--storage", target)
    shown = drivebeat("show", "--storage", target)
    assert "not shown: study" in shown.out and "drivebeat adopt" in shown.out
    said = drivebeat("adopt", "tiny", "--storage", target)
    assert (said.code, said.out) == (0, "study tiny: 2 of 3 trials of its budget have finished\n")
    again = drivebeat("adopt", "tiny", "--storage", target)
    assert (again.code, "has its budget already: 2 of 3 trials finished" in again.err) == (2, True)
    storage, engine = open_storage(target), open_engine(target)
    assert disagreements(storage, engine) == []
    storage.remove_session()
    engine.dispose()


# delete


def test_a_deleted_study_leaves_nothing(
    tiny: Any, bench: Bench, make_spec: Any, tmp_path: Path, drivebeat: Drivebeat
) -> None:
    bench.create(make_spec(name="other"))
    folder = Path(bench.url[10:]).parent / "artifacts"
    assert any(folder.iterdir())
    said = drivebeat("delete", "tiny", "--yes", "--storage", bench.url, "--artifacts", str(folder))
    assert (said.code, said.out) == (0, "study tiny with 2 trials is deleted\n")
    assert not [path for path in folder.rglob("*") if path.is_file()]
    with bench.engine.begin() as connection:
        for table in (STUDIES, SLOTS):
            left = set(connection.execute(sqlalchemy.select(table.c.study)).scalars())
            assert tiny.identity not in left
    assert optuna.get_all_study_names(bench.storage) == ["other"]


# changed by others


def test_the_doctor_counts_other_programs_studies_and_lists_their_running_trials(
    tiny: Any, bench: Bench, drivebeat: Drivebeat
) -> None:
    stock = RDBStorage(driver_url(bench.url))
    optuna.create_study(study_name="theirs", storage=stock)
    number = optuna.load_study(study_name="tiny", storage=stock).ask().number
    said = " ".join(drivebeat("doctor", "--storage", bench.url).out.split())
    assert "1 study and 1 of other programs" in said
    assert f"study tiny: trial {number} of another program running" in said
    assert f"drivebeat cancel tiny {number}" in said
    drivebeat("cancel", "tiny", str(number), "--yes", "--storage", bench.url)
    assert "of another program" not in drivebeat("doctor", "--storage", bench.url).out


def test_a_changed_study_file_is_named_and_the_others_are_shown(
    tiny: Any, bench: Bench, make_spec: Any, drivebeat: Drivebeat
) -> None:
    other = bench.create(make_spec(name="other"))
    for spoiled in ("[1, 2]", "{}", "no JSON", '{"name": "other", "metric": 3}'):
        other.optuna.set_user_attr("drivebeat:spec", spoiled)
        said = drivebeat("show", "--storage", bench.url)
        assert said.code == 0
        assert (
            "2/3" in said.out and "not shown: study 'other': its attribute drivebeat:spec is no study file" in said.out
        )
        alone = drivebeat("show", "other", "--storage", bench.url)
        assert (alone.code, alone.err.count("\n")) == (2, 1)


# directions


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "maximize"]])
def test_a_study_of_another_direction_is_refused(
    directions: Any, bench: Bench, study_file: Any, drivebeat: Drivebeat
) -> None:
    optuna.create_study(study_name="tiny", storage=RDBStorage(driver_url(bench.url)), directions=directions)
    said = drivebeat("create", str(study_file()), "--storage", bench.url)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"exists with the direction{'s' if len(directions) > 1 else ''} {', '.join(directions)}" in said.err
    assert "si_sdr_db needs maximize" in said.err


def test_an_empty_study_of_the_right_direction_is_taken_over(bench: Bench, make_spec: Any) -> None:
    optuna.create_study(study_name="tiny", storage=RDBStorage(driver_url(bench.url)), direction="maximize")
    study = bench.create(make_spec())
    assert stored_identity(study.optuna.user_attrs) is not None
    assert bench.progress().budget == 4


# reading


def test_reading_makes_no_file_and_changes_none(tiny: Any, bench: Bench, tmp_path: Path, drivebeat: Drivebeat) -> None:
    bench.close()
    source = Path(bench.url[10:])
    home = tmp_path / "read only"
    home.mkdir()
    with sqlite3.connect(source) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    copy = home / "studies.db"
    copy.write_bytes(source.read_bytes())
    before = copy.read_bytes()
    url = f"sqlite:///{copy}"
    output = tmp_path / "output"
    output.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    copy.chmod(stat.S_IRUSR)
    try:
        for command in (
            ("show",),
            ("show", "tiny"),
            ("watch", "tiny", "--once"),
            ("workers",),
            ("export", "tiny", "-o", str(output / "best.yaml")),
            ("report", "tiny", "-o", str(output / "report.html"), "--no-classical"),
            ("doctor",),
        ):
            said = drivebeat(*command, "--storage", url)
            assert said.code == 0, (command, said)
    finally:
        home.chmod(stat.S_IRWXU)
    assert copy.read_bytes() == before
    assert [path.name for path in home.iterdir()] == ["studies.db"]
    assert {path.name for path in tmp_path.iterdir()} <= {"read only", "output", "artifacts", source.name, "runs"} | {
        f"{source.name}-{ending}" for ending in ("wal", "shm")
    } | {path.name for path in tmp_path.glob("*.lock*")}


@pytest.mark.parametrize(
    "command", [("show",), ("show", "x"), ("watch", "x"), ("export", "x"), ("workers",), ("launch", "x"), ("work", "x"),
                ("report", "x", "-o", "report.html"), ("delete", "x", "--yes"), ("rename", "x", "y"), ("adopt", "x")]
)  # fmt: skip
def test_a_mistyped_path_is_named_and_not_created(
    command: tuple[str, ...], tmp_path: Path, drivebeat: Drivebeat
) -> None:
    said = drivebeat(*command, "--storage", f"sqlite:///{tmp_path}/typo.db")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"there is no file {tmp_path}/typo.db" in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [("show",), ("export",), ("report", "-o", "report.html"), ("delete", "--yes"), ("rename", "other"),
                ("adopt",), ("enqueue", "width=8"), ("cancel", "0", "--yes"), ("launch",)]
)  # fmt: skip
def test_a_misspelt_name_is_refused_with_the_nearest(
    command: tuple[str, ...], tiny: Any, bench: Bench, drivebeat: Drivebeat
) -> None:
    verb, *rest = command
    said = drivebeat(verb, "tinny", *rest, "--storage", bench.url)
    assert (said.code, said.err) == (2, "drivebeat: no study 'tinny' (did you mean 'tiny'?); known: tiny\n")


def test_a_reader_sees_writes_that_are_not_checkpointed_yet(tiny: Any, bench: Bench) -> None:
    assert Path(f"{bench.url[10:]}-wal").exists()
    opened = open_readable(bench.url)
    assert progress(opened.engine, load_record("tiny", opened.storage).identity).finished == 2
    with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"), opened.engine.begin() as connection:
        connection.execute(sqlalchemy.delete(SLOTS))
    opened.close()


def test_trials_of_other_programs_are_counted_apart(tiny: Any, bench: Bench, drivebeat: Drivebeat) -> None:
    stock = optuna.load_study(study_name="tiny", storage=RDBStorage(driver_url(bench.url)))
    for value in (1.0, 2.0):
        stock.tell(stock.ask(), value)
    said = drivebeat("watch", "tiny", "--once", "--storage", bench.url)
    assert "tiny: 2/3 finished (2 complete, 0 pruned, 0 failed; 2 by other programs)" in said.out
    record_trials(load_study("tiny", bench.storage), bench.engine)
    assert bench.progress().finished == 4


# artifacts that studies share


@pytest.mark.parametrize("how", ["copy", "optuna"])
def test_a_deleted_copy_leaves_the_artifacts_of_its_original(
    how: str, tiny: Any, bench: Bench, drivebeat: Drivebeat
) -> None:
    folder = Path(bench.url[10:]).parent / "artifacts"
    before = sorted(path.name for path in folder.iterdir() if path.is_file())
    if how == "copy":
        assert drivebeat("copy", "tiny", "--to", bench.url, "--name", "twin", "--storage", bench.url).code == 0
    else:
        stock = RDBStorage(driver_url(bench.url))
        optuna.copy_study(from_study_name="tiny", from_storage=stock, to_storage=stock, to_study_name="twin")
    said = drivebeat("delete", "twin", "--yes", "--storage", bench.url, "--artifacts", str(folder))
    assert said.code == 0, said.err
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == before
    assert len(tiny.optuna.get_trials()) == 2


def test_a_copy_in_another_database_keeps_the_files_of_copied_trials_and_removes_its_own(
    tiny: Any, bench: Bench, tmp_path: Path, drivebeat: Drivebeat
) -> None:
    folder = Path(bench.url[10:]).parent / "artifacts"
    before = sorted(path.name for path in folder.iterdir() if path.is_file())
    target = f"sqlite:///{tmp_path}/other.db"
    assert drivebeat("copy", "tiny", "--to", target, "--storage", bench.url).code == 0
    work(["tiny"], target, open_artifacts(folder), threads=1, log=lambda line: None)
    assert len(list(folder.iterdir())) > len(before)
    said = drivebeat("delete", "tiny", "--yes", "--storage", target, "--artifacts", str(folder))
    assert "the artifacts of 2 copied trials are kept" in said.err
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == before


def test_a_point_enqueued_after_the_budget_is_spent_is_said_to_wait(
    bench: Bench, make_spec: Any, drivebeat: Drivebeat
) -> None:
    study = bench.create(make_spec(budget={"trials": 1}))
    study.optuna.tell(study.optuna.ask(dict(study.space.sampled)), 1.0)
    record_trials(study, bench.engine)
    said = drivebeat("enqueue", "tiny", "width=8", "learning_rate=0.002", "--storage", bench.url)
    assert said.code == 0
    assert "warning: its budget of 1 trials is spent; raise [budget]" in said.err


def test_a_cancelled_point_can_be_enqueued_again(bench: Bench, make_spec: Any, drivebeat: Drivebeat) -> None:
    study = bench.create(make_spec())
    for _ in range(2):
        assert "enqueued" in drivebeat("enqueue", "tiny", "width=16", "--storage", bench.url).out
        number = len(study.optuna.get_trials()) - 1
        assert drivebeat("cancel", "tiny", str(number), "--yes", "--storage", bench.url).code == 0
    said = drivebeat("watch", "tiny", "--once", "--storage", bench.url)
    assert "2 failed)" in said.out, "cancelled trials are the study's own"


def test_a_trial_that_another_program_prunes_is_pruned(bench: Bench, make_spec: Any) -> None:
    study = bench.create(make_spec())
    study.optuna.tell(study.optuna.ask(), state=TrialState.PRUNED)
    assert fate_of(study.optuna.get_trials()[0]) == Fate.PRUNED


def test_a_refused_copy_makes_no_database(bench: Bench, tmp_path: Path, drivebeat: Drivebeat) -> None:
    said = drivebeat("copy", "missing", "--to", f"sqlite:///{tmp_path}/c.db", "--storage", bench.url)
    assert (said.code, "no study 'missing'" in said.err) == (2, True)
    assert not list(tmp_path.glob("c.db*"))


def test_a_study_file_names_its_own_studies_and_no_copies(bench: Bench, make_spec: Any, drivebeat: Drivebeat) -> None:
    bench.create(make_spec())
    assert drivebeat("rename", "tiny", "tinytoo", "--storage", bench.url).code == 0
    said = drivebeat("show", "tiny", "--storage", bench.url)
    assert (said.code, "no study 'tiny'" in said.err) == (2, True)


def test_a_study_of_an_older_version_that_was_renamed_keeps_its_rows_from_a_stranger_with_its_old_name(
    bench: Bench, make_spec: Any, drivebeat: Drivebeat
) -> None:
    """Its identity is its old name, which a study by stock Optuna may have now."""
    study = bench.create(make_spec()).optuna
    with bench.engine.begin() as connection:  # as an older version has left it
        connection.execute(sqlalchemy.update(STUDIES).values(study="tiny"))
        connection.execute(sqlalchemy.text("DELETE FROM study_user_attributes WHERE key = 'drivebeat:identity'"))
    assert drivebeat("rename", "tiny", "kept", "--storage", bench.url).code == 0
    optuna.create_study(study_name="tiny", storage=RDBStorage(driver_url(bench.url)))
    assert drivebeat("delete", "tiny", "--yes", "--storage", bench.url).code == 0
    assert bench.progress("kept").budget == 4
    assert stored_identity(study.user_attrs) is not None
