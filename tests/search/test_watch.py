"""The live view: what it tells of a search, within 80 columns, and as plain lines where nobody sees it."""

import dataclasses
import io
import json
from typing import Any

import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.queue.slots import claim, close, record_trial
from search.queue.workers import WorkerStatus, register, this_process, update_status
from search.study.status import Best, EndedTrial, RunningTrial, Snapshot, snapshot
from search.terminal.status import PlainLines, ended_line, plain_line, render, watch
from search.trials import REASON, RUN, Fate
from tests.support.study import record_trials

RUNNING = RunningTrial(
    12345, "4194304@a-very-long-host.example.org", "cuda:0 NVIDIA RTX 3090", 199, 200, -12.34, 7300.0
)
ENDED = EndedTrial(12344, Fate.PRUNED, -12.34, 61.0, "behind the others after epoch 199, and some more words about it")
SNAP = Snapshot(
    name="a-study-with-quite-a-long-name-wave_unet_transformer",
    metric="hr_within_5_bpm",
    direction="maximize",
    budget=100_000,
    complete=90_000,
    pruned=9_000,
    infeasible=0,
    failed=12,
    others=0,
    running=(RUNNING,) * 40,
    best_trial=Best(99_999, 0.123, 400.0),
    recent=(ENDED,) * 5,
    n_workers=40,
    last_hour=1234,
    eta_s=7300.0,
    stop_reason="",
)


def drawn(*snaps: Snapshot) -> list[str]:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(render(snaps))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("n_studies", [1, 3])
def test_the_view_fits_80_columns_and_30_lines_however_much_there_is(n_studies: int) -> None:
    lines = drawn(*[SNAP] * n_studies)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 30
    text = "\n".join(lines)
    for told in ("99000/100000", "+0.123 (trial 99999, 6 min ago)", "199/200", "-12.34", "12345", "running: ", "2 h"):
        assert told in text


def test_a_trial_that_has_lost_its_worker_is_shown_as_waiting_for_one() -> None:
    lines = drawn(dataclasses.replace(SNAP, running=(dataclasses.replace(RUNNING, worker="", device=""),)))
    assert any("waiting" in line for line in lines)


def begin(bench: Any, study: Any, score: float) -> Any:
    """A claim and its trial, with one report."""
    held = claim(bench.engine, study.identity, this_process(), 30.0)
    assert held is not None
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    trial.set_user_attr(RUN, "{}")
    trial.report(score, 0)
    record_trial(bench.engine, held, trial.number)
    return held, trial


def test_a_snapshot_knows_who_runs_a_trial_and_how_far_the_worker_is(bench: Any, make_spec: Any) -> None:
    """The worker's own epoch counts where the database missed its reports."""
    study = bench.create(make_spec(budget={"trials": 4}))
    register(bench.engine, this_process(), "cpu", 30.0)
    begin(bench, study, 0.5)
    study.optuna.ask(fixed_distributions=dict(study.space.sampled))  # a stray: nobody's
    with bench.engine.begin() as connection:
        update_status(connection, this_process(), WorkerStatus("working", study.identity, 0, 1, 0.75))
    snap = snapshot(study, bench.engine)
    held, stray = snap.running
    assert (held.number, held.device, held.epoch, held.n_epochs, held.score) == (0, "cpu", 2, 3, 0.75)
    assert held.worker.startswith(f"{this_process().pid}@")
    assert (stray.worker, stray.epoch, stray.score) == ("", 0, None)
    assert (snap.n_workers, snap.stop_reason) == (1, "")


def test_ends_are_told_newest_first_with_their_reason(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(budget={"trials": 2}))
    held, trial = begin(bench, study, 0.5)
    trial.set_user_attr(REASON, "behind the others after epoch 1")
    study.optuna.tell(trial, state=TrialState.PRUNED)
    close(bench.engine, held, "finished")
    held, trial = begin(bench, study, 0.5)
    study.optuna.tell(trial, 1.5)
    close(bench.engine, held, "finished")
    snap = snapshot(study, bench.engine)
    assert [(t.number, t.fate, t.score, t.reason) for t in snap.recent] == [
        (1, "complete", 1.5, ""),
        (0, "pruned", 0.5, "behind the others after epoch 1"),
    ]
    assert (snap.last_hour, snap.stop_reason) == (2, "its budget of 2 trials is spent")
    assert snap.best_trial is not None and snap.best_trial.number == 1
    json.dumps(dataclasses.asdict(snap), allow_nan=False)


@pytest.mark.parametrize(
    ("elapsed_s", "n_left", "eta_s"), [((0.0, 0.0), 10, 300.0), ((60.0, 30.0), 10, 255.0), ((600.0,), 1, 0.0)]
)
def test_the_time_to_go_is_what_is_left_of_the_budget_at_the_pace_of_the_last_trials(
    elapsed_s: tuple[float, ...], n_left: int, eta_s: float
) -> None:
    """Trials of 60 s: two workers with 10 to go need 300 s; what they have done of theirs comes off."""
    import datetime

    import optuna

    from search.study.status import _eta_s

    began = datetime.datetime(2026, 1, 1)
    done = optuna.trial.create_trial(value=0.0)
    done.datetime_start, done.datetime_complete = began, began + datetime.timedelta(seconds=60)
    running = [dataclasses.replace(RUNNING, seconds=seconds) for seconds in elapsed_s]
    assert _eta_s(n_left, [done, done], running, None) == pytest.approx(eta_s)
    assert _eta_s(n_left, [done], running, 7.0) == pytest.approx(min(eta_s, 7.0)), "its hours end before"
    assert _eta_s(n_left, [], running, None) is None
    assert _eta_s(n_left, [done], [dataclasses.replace(RUNNING, worker="")], None) is None


def test_plain_lines_tell_every_end_once_and_where_the_search_is_now_and_then() -> None:
    lines = PlainLines(every_s=10.0)
    assert lines.new([SNAP], 0.0) == [plain_line(SNAP)], "what ended before the first look is old"
    assert lines.new([SNAP], 1.0) == []
    later = dataclasses.replace(SNAP, complete=90_001, recent=(dataclasses.replace(ENDED, number=7), ENDED))
    assert lines.new([later], 2.0) == [ended_line(later, later.recent[0])]
    assert lines.new([later], 9.9) == []
    assert lines.new([later], 10.0) == [plain_line(later)]


def test_a_search_in_which_nothing_happens_says_so_once_a_minute_and_a_finished_one_not_again() -> None:
    """The time left changes by itself and counts as nothing; each study of several has its own time."""
    lines = PlainLines(every_s=10.0, unchanged_every_s=60.0)
    slow, done = SNAP, dataclasses.replace(SNAP, name="done", stop_reason="its budget of 100000 trials is spent")
    quick = dataclasses.replace(SNAP, name="quick")
    said: list[list[str]] = []
    for at_s in range(0, 121, 10):
        slow = dataclasses.replace(slow, eta_s=1000.0 - at_s)
        quick = dataclasses.replace(quick, running=(dataclasses.replace(RUNNING, epoch=at_s // 20),))
        said.append([line.partition(":")[0] for line in lines.new([slow, quick, done], float(at_s))])
    assert said[0] == [SNAP.name, "quick", "done"]
    assert [at for at, names in enumerate(said) if SNAP.name in names] == [0, 6, 12]
    assert [at for at, names in enumerate(said) if "quick" in names] == [0, 2, 4, 6, 8, 10, 12]
    assert [at for at, names in enumerate(said) if "done" in names] == [0]


def test_a_plain_line_has_the_first_running_trials_with_epoch_and_score() -> None:
    """Those with a worker first, by number; a trial without a report has no score."""
    running = [dataclasses.replace(RUNNING, number=n, epoch=n, n_epochs=8, score=n + 0.126) for n in (9, 3, 5, 7)]
    running[2] = dataclasses.replace(running[2], epoch=0, score=None)
    without = dataclasses.replace(RUNNING, number=1, worker="", epoch=2, n_epochs=8, score=None)
    line = plain_line(dataclasses.replace(SNAP, running=(without, *running)))
    assert line.startswith(f"{SNAP.name}: 99000/100000 finished (90000 complete, 9000 pruned, 12 failed), best ")
    assert line.endswith("; trial 3 epoch 3/8 +3.13, trial 5 epoch 0/8, trial 7 epoch 7/8 +7.13, + 2 more")
    line = plain_line(dataclasses.replace(SNAP, running=(without,)))
    assert line.endswith("; trial 1 epoch 2/8 waits for a worker")
    assert "; " not in plain_line(dataclasses.replace(SNAP, running=()))


@pytest.mark.parametrize("variables", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"TERM": "xterm-256color"}, {}])
def test_in_a_pipe_there_are_no_control_characters(
    variables: dict[str, str], drivebeat: Any, study_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI systems set FORCE_COLOR, by which rich takes any output for a terminal."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert drivebeat("create", str(study_file())).code == 0
    said = drivebeat("watch", "tiny", "--once")
    assert said.out == "tiny: 0/4 finished (0 complete, 0 pruned, 0 failed), best si_sdr_db none yet\n"


def test_watch_speaks_by_its_clock(bench: Any, make_spec: Any) -> None:
    """It looks at 0, 5 and 10 s by the clock it is given, and the second report is new from 5 s on."""
    study = bench.create(make_spec(budget={"trials": 1}))
    held, trial = begin(bench, study, 0.5)
    times = iter((0.0, 5.0, 10.0))

    def clock() -> float:
        at_s = next(times)
        if at_s == 0.0:
            trial.report(0.75, 1)
        elif at_s == 10.0:
            study.optuna.tell(trial, 1.5)
            close(bench.engine, held, "finished")
        return at_s

    console = Console(file=io.StringIO(), width=80)
    watch([study], bench.engine, console, every_s=0.001, clock=clock)
    assert isinstance(console.file, io.StringIO)
    assert [line.partition("best ")[2] for line in console.file.getvalue().splitlines()] == [
        "si_sdr_db none yet; trial 0 epoch 1/3 +0.50 waits for a worker",
        "si_sdr_db none yet; trial 0 epoch 2/3 +0.75 waits for a worker",
        "",  # the line of the trial
        "si_sdr_db +1.500 (trial 0)",
    ]


def test_watch_tells_plain_lines_where_nobody_sees_it_and_ends_with_the_search(bench: Any, make_spec: Any) -> None:
    study = bench.create(make_spec(budget={"trials": 1}))
    held, trial = begin(bench, study, 0.5)
    study.optuna.tell(trial, 1.5)
    close(bench.engine, held, "finished")
    console = Console(file=io.StringIO(), width=80)
    watch([study], bench.engine, console)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == (
        "tiny: 1/1 finished (1 complete, 0 pruned, 0 failed), best si_sdr_db +1.500 (trial 0)\n"
    )


def test_no_trial_that_ends_between_two_snapshots_is_missed(bench: Any, make_spec: Any) -> None:
    """However many end at once, and though they finish the study."""
    study = bench.create(make_spec(budget={"trials": 9}))
    looks = iter(range(9))

    def clock() -> float:
        if next(looks) == 0:
            for _ in range(9):
                study.optuna.tell(study.optuna.ask(study.space.sampled), 1.5)
            record_trials(study, bench.engine)
        return 0.0

    console = Console(file=io.StringIO(), width=200)
    watch([study], bench.engine, console, every_s=0.001, clock=clock)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum("complete" in line and "finished" not in line for line in lines) == 9
    assert lines[-1].startswith("tiny: 9/9 finished")


def test_one_look_as_json(drivebeat: Any, study_file: Any) -> None:
    assert drivebeat("create", str(study_file())).code == 0
    (found,) = json.loads(drivebeat("watch", "tiny", "--once", "--json").out)["studies"]
    assert (found["name"], found["budget"], found["running"], found["best_trial"]) == ("tiny", 4, [], None)
    assert drivebeat("watch", "tiny", "--json").err.startswith("drivebeat: ")
