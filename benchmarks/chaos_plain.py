"""What chaos.py does to the search, done to plain `study.optimize`: `python -m benchmarks.chaos_plain [--quick]`.

Optuna's own means are switched on: the heartbeat, RetryHeartbeatStaleTrialCallback and MaxTrialsCallback. The
objective takes as long as chaos.py's trials, and reports as often. A row a scenario is printed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.chaos_place import FINISHED, Row, ended, until, wait_all
from benchmarks.postgres import private_postgres

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


def _work(url: str, folder: Path, budget: int, epochs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.chaos_plain", "--work", url, str(budget), str(epochs)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / "plain.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


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
            for scenario in (exactly_n, kill_anything):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drivebeat-plain-")))
                url = f"sqlite:///{folder}/plain.db"
                if database == "PostgreSQL":
                    url = server.new_database().replace("postgresql:", "postgresql+psycopg:")
                row = scenario(url, folder, asked.quick)
                print(f"| {row.promise} | {row.done} | {row.result} | {database} |", flush=True)


if __name__ == "__main__":
    main()
