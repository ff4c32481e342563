"""Run the scenarios of chaos.py on plain `study.optimize`: `python -m benchmarks.chaos.plain [--quick]`.

Optuna's own means are switched on: the heartbeat, RetryHeartbeatStaleTrialCallback and MaxTrialsCallback. The
objective takes as long as chaos.py's trials, and reports as often. A row a scenario is printed.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.chaos.site import FINISHED, Row, ended, until, wait_all
from tests.support.postgres import Postgres, private_postgres
from tests.support.program import environment

STUDY = "plain"
HEARTBEAT_S, GRACE_S, EPOCH_S = 2, 10, 0.3
LIMIT_S = 600.0


def storage_of(url: str) -> optuna.storages.RDBStorage:
    """As Optuna's documentation has it."""
    return optuna.storages.RDBStorage(
        url,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        failed_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )


def optimise(url: str, budget: int, epochs: int) -> None:
    """One worker."""

    def objective(trial: optuna.Trial) -> float:
        print(f"began {trial.number}", flush=True)
        x = trial.suggest_float("x", 0.0, 1.0)
        for epoch in range(epochs):
            time.sleep(EPOCH_S)
            trial.report(x, epoch)
        return x

    study = optuna.load_study(study_name=STUDY, storage=storage_of(url))
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    callback = optuna.study.MaxTrialsCallback(budget, states=finished)
    study.optimize(objective, callbacks=[callback])


def exactly_n(url: str, folder: Path, quick: bool) -> Row:
    """chaos.exactly_n: killed workers are replaced at once."""
    n_workers, budget, kills = (3, 10, 4) if quick else (8, 100, 20)
    optuna.create_study(study_name=STUDY, storage=url)
    draw = random.Random(4)
    workers = [_work(url, folder, budget, 2) for _ in range(n_workers)]
    everyone, killed = list(workers), 0
    with ended(everyone):
        until("a trial under way", lambda: bool(_trials(url)), LIMIT_S)
        while killed < kills and any(worker.poll() is None for worker in workers):
            i = draw.choice([i for i, worker in enumerate(workers) if worker.poll() is None])
            workers[i].kill()
            killed += 1
            workers[i] = _work(url, folder, budget, 2)
            everyone.append(workers[i])
            time.sleep(draw.uniform(0.0, 1.0 if quick else 6.0))
        codes = wait_all(workers, LIMIT_S)
        before = _states(url)
        again = [_work(url, folder, budget, 2) for _ in range(2)]
        everyone += again
        codes += wait_all(again, LIMIT_S)
    after = _states(url)
    n_before, n_after = (sum(found[state] for state in FINISHED) for found in (before, after))
    crashed = sum(code != 0 for code in codes)
    return Row(
        f"exactly N: {n_workers} workers, budget {budget}",
        f"{killed} SIGKILLs, then 2 workers more",
        f"{n_before} finished, {n_after} after 2 workers more, {after['RUNNING']} left running, {crashed} workers died",
        n_after == budget and after["RUNNING"] == 0 and crashed == 0,
    )


def kill_anything(url: str, folder: Path, quick: bool) -> Row:
    """chaos.kill_anything: a worker is killed and another is started; when does its trial run again, from where?"""
    epochs, wait_s = 8, 2 * (GRACE_S + 5.0)
    optuna.create_study(study_name=STUDY, storage=url)
    workers = [_work(url, folder, 1, epochs)]
    with ended(workers):
        until("two epochs", lambda: any(len(t.intermediate_values) >= 2 for t in _trials(url)), LIMIT_S)
        workers[0].kill()
        began = time.monotonic()
        time.sleep(wait_s)  # nobody asks: a worker that is already training does not either
        alone = _states(url)["RUNNING"]
        workers.append(_work(url, folder, 1, epochs))
        until("it runs again", lambda: any(t.number > 0 and t.intermediate_values for t in _trials(url)), LIMIT_S)
        took_s = time.monotonic() - began
        wait_all(workers, LIMIT_S)
    retried = [trial for trial in _trials(url) if trial.system_attrs.get("failed_trial") == 0]
    return Row(
        "kill anything",
        f"SIGKILL in mid-trial; grace {GRACE_S} s; a new worker after {wait_s:g} s",
        f"still RUNNING after {wait_s:g} s: {alone == 1}; began again from its first epoch {took_s:.0f} s after the "
        f"kill, as {len(retried)} new trial",
        False,
    )


def cold_start(url: str, folder: Path, quick: bool) -> Row:
    """chaos.cold_start: every process makes the study, and with it the tables, at the same moment."""
    n = 8 if quick else 32
    start_at = time.time() + 1.0
    children = [_child(url, folder, start_at) for _ in range(n)]
    crashed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    return Row(
        f"cold start: {n} processes on an empty database",
        "each runs create_study(..., load_if_exists=True), all at one moment",
        f"{crashed} crashed",
        crashed == 0,
    )


def _child(url: str, folder: Path, start_at: float) -> int:
    child = os.fork()
    if child:
        return child
    try:
        time.sleep(max(0.0, start_at - time.time()))
        optuna.create_study(study_name=STUDY, storage=url, load_if_exists=True)
        os._exit(0)
    except BaseException:
        with (folder / "plain.log").open("a") as log:
            traceback.print_exc(file=log)
        os._exit(1)


def exactly_once(url: str, folder: Path, quick: bool) -> Row:
    """chaos.exactly_once, without a dashboard."""
    n_points, n_workers = (12, 4) if quick else (500, 16)
    study = optuna.create_study(study_name=STUDY, storage=url)
    for i in range(n_points):
        study.enqueue_trial({"x": i / n_points})
    workers = [_work(url, folder, n_points, 1) for _ in range(n_workers)]
    with ended(workers):
        codes = wait_all(workers, LIMIT_S)
    # Several may take the trial that waits: each then writes to it, and it ends as whoever is last leaves it.
    log = (folder / "plain.log").read_text(errors="replace")
    starts = Counter(line.split()[1] for line in log.splitlines() if line.startswith("began "))
    found, finished = _trials(url), sum(_states(url)[state] for state in FINISHED)
    ran = {trial.params["x"] for trial in found if "x" in trial.params}
    missed = n_points - len(ran & {i / n_points for i in range(n_points)})
    twice, died = sum(count > 1 for count in starts.values()), sum(code != 0 for code in codes)
    return Row(
        f"exactly once: {n_points} enqueued points, {n_workers} workers",
        "",
        f"{twice} trials begun more than once, {missed} points not run, {finished} finished, {died} workers died",
        twice == missed == died == 0 and finished == n_points,
    )


def fencing(url: str, folder: Path, quick: bool) -> Row:
    """chaos.fencing: a worker sleeps past the grace period while another one works."""
    optuna.create_study(study_name=STUDY, storage=url)
    workers = [_work(url, folder, 3, 100)]
    with ended(workers):
        until("two epochs", lambda: any(len(t.intermediate_values) >= 2 for t in _trials(url)), LIMIT_S)
        workers[0].send_signal(signal.SIGSTOP)
        time.sleep(GRACE_S + 1.0)
        workers.append(_work(url, folder, 3, 8))
        until("its trial is taken for dead", lambda: _states(url)["FAIL"] > 0, LIMIT_S)
        workers[0].send_signal(signal.SIGCONT)
        codes = wait_all(workers, LIMIT_S)
    words = re.findall(
        r"^[\w.]*(?:Error|Exception).*", (folder / "plain.log").read_text(errors="replace"), re.MULTILINE
    )
    return Row(
        "fencing: a late result is refused, and the late worker carries on",
        f"SIGSTOP in training past the grace period of {GRACE_S} s, another worker, SIGCONT",
        f"the late worker {'dies: ' + words[-1][:90] if codes[0] and words else f'ends with {codes[0]}'}",
        codes == [0, 0],
    )


def stop_in_order(url: str, folder: Path, quick: bool) -> Row:
    """chaos.stop_in_order: SIGTERM in training."""
    optuna.create_study(study_name=STUDY, storage=url)
    workers = [_work(url, folder, 1, 100)]
    with ended(workers):
        until("two epochs", lambda: any(len(t.intermediate_values) >= 2 for t in _trials(url)), LIMIT_S)
        workers[0].terminate()
        codes = wait_all(workers, 60)
    left = _states(url)["RUNNING"]
    return Row(
        "SIGTERM: exit 0 within 10 s, the trial goes on elsewhere",
        "SIGTERM in training",
        f"exit code {codes[0]}, {left} trial left RUNNING, its epochs lost",
        codes == [0] and left == 0,
    )


def database_away(url: str, folder: Path, quick: bool, server: Postgres) -> Row:
    """chaos.database_away: the server is stopped in mid-search."""
    away_s = 5.0 if quick else 30.0
    optuna.create_study(study_name=STUDY, storage=url)
    workers = [_work(url, folder, 16, 20) for _ in range(2)]
    with ended(workers):
        until("reports", lambda: sum(len(t.intermediate_values) for t in _trials(url)) > 3, LIMIT_S)
        server.stop()
        time.sleep(away_s)
        died = sum(worker.poll() is not None for worker in workers)
        server.start()
    return Row(
        "a database that goes away costs nothing",
        f"server stopped for {away_s:g} s; 2 workers",
        f"{died} workers died",
        died == 0,
    )


def _work(url: str, folder: Path, budget: int, epochs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.chaos.plain", "--work", url, str(budget), str(epochs)]
    with (folder / "plain.log").open("ab") as log:
        return subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)


def _trials(url: str) -> list[Any]:
    return optuna.load_study(study_name=STUDY, storage=url).get_trials(deepcopy=False)


def _states(url: str) -> Counter[str]:
    return Counter(trial.state.name for trial in _trials(url))


def main() -> None:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small versions")
    parser.add_argument("--work", nargs=3, metavar=("URL", "BUDGET", "EPOCHS"), help="be a worker")
    asked = parser.parse_args()
    if asked.work:
        optimise(asked.work[0], int(asked.work[1]), int(asked.work[2]))
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # nothing is to outlive it
    with ExitStack() as stack:
        server = stack.enter_context(private_postgres())
        for database in ("SQLite", "PostgreSQL"):
            scenarios: list[Callable[[str, Path, bool], Row]] = [
                exactly_n,
                kill_anything,
                cold_start,
                exactly_once,
                fencing,
                stop_in_order,
            ]
            if database == "PostgreSQL":
                scenarios.append(partial(database_away, server=server))
            for scenario in scenarios:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-plain-")))
                url = f"sqlite:///{folder}/plain.db"
                if database == "PostgreSQL":
                    url = server.new_database().replace("postgresql:", "postgresql+psycopg:")
                row = scenario(url, folder, asked.quick)
                print(f"| {row.promise} | {row.done} | {row.result} | {database} |", flush=True)


if __name__ == "__main__":
    main()
