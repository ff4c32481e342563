"""Several processes at one database: `python -m tests.support.crowd MODE N URL [STUDY]`, a line of JSON from each.

open: make or open the schema, all at the same moment. turns: take turns of STUDY until there are none, each told a
value made of its point. Every third trial is told pruned.
"""

import json
import os
import subprocess
import sys
import time
import traceback

from optuna.trial import TrialState

from search.storage.open import open_engine, open_storage
from tests.support.program import environment


def run_crowd(mode: str, n: int, url: str, *study: str) -> subprocess.CompletedProcess[str]:
    """Run this module in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.crowd", mode, str(n), url, *study],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=55,
        check=False,
    )


def main() -> None:
    mode, n, url, *rest = sys.argv[1:]
    if mode == "turns":
        import tests.support.worker  # noqa: F401 - once, before the processes part
    start_at = time.time() + 0.3
    children = []
    for _ in range(int(n)):
        child = os.fork()
        if child == 0:
            try:
                said = opened(url, start_at) if mode == "open" else turns(url, *rest)
                sys.stdout.write(json.dumps(said) + "\n")
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


def opened(url: str, start_at: float) -> list[str]:
    time.sleep(max(0.0, start_at - time.time()))
    storage = open_storage(url)
    return [study.study_name for study in storage.get_all_studies()]


def turns(url: str, name: str) -> list[list[object]]:
    from search.queue.slots import close
    from search.queue.workers import this_process
    from search.study.study import load_study
    from tests.support.worker import next_assignment_of

    engine = open_engine(url)
    study = load_study(name, open_storage(url))
    done: list[list[object]] = []
    while (turn := next_assignment_of(study, engine, this_process(), 60.0)) is not None:
        value = float(turn.params["learning_rate"]) if "learning_rate" in turn.params else 0.0
        turn.trial.report(value, 0)
        if turn.trial.number % 3 == 2:
            study.optuna.tell(turn.trial, state=TrialState.PRUNED)
        else:
            study.optuna.tell(turn.trial, value)
        close(engine, turn.claim, "finished")
        done.append([turn.trial.number, dict(turn.params)])
    return done


if __name__ == "__main__":
    main()
