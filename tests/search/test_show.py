"""Tables in the terminal fit 80 columns and hold what a reader decides by."""

import io
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy import Engine

from search.study.status import snapshot
from search.study.study import Study
from search.terminal.status import plain_line, render, show_all
from search.terminal.tables import show_study
from search.trials import REASON, RUN, Fate
from tests.support.study import record_trials


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tell(study: Study, n: int, engine: Engine) -> None:
    """n complete trials, one pruned, one failed, one running at its second epoch; each in its slot."""
    distributions = dict(study.space.sampled)
    for number in range(n):
        trial = study.optuna.ask(fixed_distributions=distributions)
        trial.set_user_attr(RUN, "{}")
        study.optuna.tell(trial, float(number))
    pruned = study.optuna.ask(fixed_distributions=distributions)
    pruned.report(0.5, 0)
    pruned.set_user_attr(REASON, "behind the others after epoch 1")
    study.optuna.tell(pruned, state=TrialState.PRUNED)
    study.optuna.tell(study.optuna.ask(), state=TrialState.FAIL)
    running = study.optuna.ask()
    running.report(1.25, 0)
    running.report(1.5, 1)
    record_trials(study, engine)


def test_every_line_fits_80_columns(bench: Any, make_spec: Any, console: Console) -> None:
    name = "a_study_with_quite_a_long_name_of_its_own"
    ranges = {"nhead": {"choices": [2, 4, 8]}}
    study = bench.create(
        make_spec(
            name=name, models=["wave_unet_transformer"], search=[], fixed={}, ranges=ranges, budget={"trials": 20}
        )
    )
    tell(study, 11, bench.engine)
    show_all([study], {}, bench.engine, console)
    console.print(render([snapshot(study, bench.engine)]))
    lines = text(console).splitlines()
    assert max(map(len, lines)) <= 80
    show_study(study, bench.engine, console)
    # its first line is for pipes, and goes on where the terminal breaks it
    table = text(console).split("parameter ")[-1]
    assert max(map(len, table.splitlines())) <= 80


def test_a_study_shows_its_space_its_progress_and_its_best(bench: Any, make_spec: Any, console: Console) -> None:
    study = bench.create(make_spec())
    tell(study, 3, bench.engine)
    show_study(study, bench.engine, console)
    shown = text(console)
    assert "4/4 finished (3 complete, 1 pruned, 1 failed), best si_sdr_db +2.000 (trial 2)" in shown
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert "one of 8, 16" in rows["width"]
    assert "0.0001 .. 0.01 log" in rows["learning_rate"]
    assert "fixed 2" in rows["levels"]
    assert "at its default" in rows["dropout"]
    best = study.optuna.get_trials()[2]
    assert f"{best.params['learning_rate']:.4g}" in rows["learning_rate"]


def test_importances_are_shown_only_where_there_are_trials_enough_to_tell(
    bench: Any, make_spec: Any, console: Console
) -> None:
    study = bench.create(make_spec(budget={"trials": 30}))
    tell(study, 5, bench.engine)
    show_study(study, bench.engine, console)
    assert "weight:" not in text(console)
    tell(study, 8, bench.engine)
    show_study(study, bench.engine, console)
    assert "weight: share of the differences" in text(console)


def test_a_snapshot_counts_what_is_finished_and_what_runs(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(budget={"trials": 9}))
    tell(study, 2, bench.engine)
    snap = snapshot(study, bench.engine)
    assert (snap.finished, snap.complete, snap.pruned, snap.failed, snap.budget) == (3, 2, 1, 1, 9)
    (running,) = snap.running
    assert (running.number, running.epoch, running.n_epochs, running.score) == (4, 2, 3, 1.5)
    assert (snap.recent[0].number, snap.recent[0].fate) == (3, Fate.FAILED)
    told = [(trial.number, trial.fate, trial.score, trial.reason) for trial in snap.recent]
    assert (2, "pruned", 0.5, "behind the others after epoch 1") in told
    assert plain_line(snap) == (
        "tiny: 3/9 finished (2 complete, 1 pruned, 1 failed), best si_sdr_db +1.000 (trial 1)"
        "; trial 4 epoch 2/3 +1.50 waits for a worker"
    )


def test_with_no_study_the_next_step_is_said(bench: Any, console: Console) -> None:
    show_all([], {}, bench.engine, console)
    assert "drivebeat create STUDY.toml" in text(console)
