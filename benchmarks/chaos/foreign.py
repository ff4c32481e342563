"""A scenario of chaos.py: other programs change the study while its workers are killed."""

import random
import time
from collections import Counter
from collections.abc import Callable

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from benchmarks.chaos.site import FINISHED, Row, Site, ended, make, slots, spec_of, trials, until, wait_all, words, work
from search.storage.open import driver_url
from search.study.study import Study

LIMIT_S = 1200.0
LEASE_S = 10.0


class Stranger:
    """Stock Optuna and SQL on the database of a site. name: of the study now. done: number of acts by kind."""

    def __init__(self, site: Site, study: Study, draw: random.Random) -> None:
        options = {"timeout": 60} if site.server is None else {}
        self.storage = RDBStorage(
            driver_url(site.url),
            engine_kwargs={"poolclass": NullPool, "connect_args": options},
            skip_table_creation=True,
        )
        self.site, self.name, self.draw, self.done = site, study.name, draw, Counter[str]()

    def act(self) -> None:
        """Do something at random."""
        acts: list[Callable[[], bool]] = [self.tell, self.enqueue, self.rename, self.delete_another]
        chosen = self.draw.choice(acts)
        self.done[chosen.__name__] += chosen()

    def tell(self) -> bool:
        """Tell a running trial, as somebody who cleans up; return whether there was one."""
        study = optuna.load_study(study_name=self.name, storage=self.storage)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return False
        number = self.draw.choice(running).number
        try:
            match self.draw.choice(("complete", "pruned", "failed")):
                case "complete":
                    study.tell(number, -50.0)
                case "pruned":
                    study.tell(number, state=TrialState.PRUNED)
                case _:
                    study.tell(number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # its worker was faster
            return False
        return True

    def enqueue(self) -> bool:
        """Enqueue a point, which may be impossible."""
        study = optuna.load_study(study_name=self.name, storage=self.storage)
        width = self.draw.choice((8, 16, 999, "8", None))
        study.enqueue_trial({"width": width, "learning_rate": self.draw.uniform(5e-4, 5e-3)})
        return True

    def rename(self) -> bool:
        """Rename the study by SQL."""
        new = f"renamed-{self.draw.randrange(10**6)}"
        with self.storage.engine.begin() as connection:
            text = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")
            connection.execute(text, {"new": new, "old": self.name})
        self.name = new
        return True

    def delete_another(self) -> bool:
        """Create a study and delete it by Optuna."""
        name = f"another-{self.draw.randrange(10**6)}"
        make(self.site, spec_of(self.site, name, 3, epochs=1))
        optuna.delete_study(study_name=name, storage=self.storage)
        return True


def foreign_acts(site: Site, quick: bool) -> Row:
    """Workers are killed at random moments while other programs tell, enqueue, rename and delete."""
    n_workers, budget, kills = (2, 8, 3) if quick else (6, 60, 20)
    study = make(site, spec_of(site, "foreign", budget, epochs=2))
    draw = random.Random(11)
    stranger = Stranger(site, study, draw)
    alive = [work(site, study.identity, f"{i}.log", lease_s=LEASE_S) for i in range(n_workers)]
    everyone = list(alive)
    killed = 0
    with ended(everyone):
        until("a trial under way", lambda: bool(trials(site, study)), LIMIT_S)
        deadline = time.monotonic() + LIMIT_S
        while killed < kills and any(process.poll() is None for process in alive) and time.monotonic() < deadline:
            time.sleep(draw.uniform(0.0, 1.0 if quick else 3.0))
            stranger.act()
            at_work = {row.pid for row in slots(site, study) if row.state in ("claimed", "telling")}
            targets = [i for i, process in enumerate(alive) if process.poll() is None and process.pid in at_work]
            if targets and draw.random() < 0.5:
                i = draw.choice(targets)
                alive[i].kill()
                killed += 1
                alive[i] = work(site, study.identity, f"{i}.log", lease_s=LEASE_S)
                everyone.append(alive[i])
        codes = wait_all(alive, LIMIT_S)
        again = [work(site, study.identity, "again.log") for _ in range(2)]
        everyone += again
        codes += wait_all(again, LIMIT_S)
    found = {trial.number: trial.state.name for trial in trials(site, study)}
    rows = slots(site, study)
    in_slots = [row.trial for row in rows if row.state == "finished"]
    n_finished = sum(found[number] in FINISHED for number in in_slots)
    left = sum(row.state in ("open", "claimed", "telling") for row in rows)
    running = sum(state == "RUNNING" for state in found.values())
    tracebacks = words(site).count("Traceback")
    return Row(
        f"foreign acts: {n_workers} workers, budget {budget}",
        f"{killed} SIGKILLs beside "
        + ", ".join(f"{count} times {name.replace('_', ' ')}" for name, count in sorted(stranger.done.items())),
        f"{n_finished} finished, {left} slots and {running} trials left, {tracebacks} tracebacks",
        killed == kills
        and n_finished == len(in_slots) == len(set(in_slots)) == budget
        and left == running == tracebacks == 0
        and set(codes) == {0},
    )
