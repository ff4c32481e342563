"""The best few trials trained again on seeds that the search has not seen, and the best of them by its mean.

A search's best score is partly luck: the more trials, the more of it. Fresh seeds take the luck away and show the
spread. Every training has a folder of its own and goes on where it stopped; the same command given several times at
once, each with its own device, shares the trainings out.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from data.files import make_folder
from search.errors import StudyError
from search.study.export import best_of, check_ending, provenance, run_of_trial
from search.study.study import Study
from search.trials import RUN, is_feasible, sign_of
from training.config import RunConfig, write_run
from training.errors import TrainingFailed
from training.runs import train_to_folder

N_SEEDS = 3
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Confirmed:
    """A finalist and its best score under each of some fresh seeds."""

    study: Study
    trial: FrozenTrial
    scores: Mapping[int, float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores.values())

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN for a single one."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else math.nan


def finalists(studies: Sequence[Study], n: int) -> list[tuple[Study, FrozenTrial]]:
    """The `n` best complete, feasible trials over several studies, best first, or as many as there are.

    Raises StudyError where there is none.
    """
    best_of(studies)
    sign = sign_of(studies[0].optuna.direction)
    found = [
        (study, trial)
        for study in studies
        for trial in study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.value is not None and is_feasible(trial) and RUN in trial.user_attrs
    ]
    return sorted(found, key=lambda pair: -sign * (pair[1].value or 0.0))[:n]


def confirm(
    studies: Sequence[Study],
    n_finalists: int,
    folder: Path,
    log: Callable[[str], None],
    n_seeds: int = N_SEEDS,
) -> list[Confirmed]:
    """Train each finalist under `n_seeds` fresh seeds in folders under `folder`; the finalists, best mean first.

    A finalist with a training that fails is left out. Raises StudyError where all are.
    """
    chosen = finalists(studies, n_finalists)
    scores: list[dict[int, float]] = [{} for _ in chosen]
    failed: set[int] = set()
    left = [(place, seed) for seed in range(1, n_seeds + 1) for place in range(len(chosen))]
    while left:
        before = len(left)
        for place, nth in list(left):
            study, trial = chosen[place]
            seed = study.spec.seed + nth
            home = folder / study.name / f"trial-{trial.number}-seed-{seed}"
            try:
                score = _train(with_seed(run_of_trial(trial, study.name), seed), home, study)
            except Timeout:  # somebody else trains it
                continue
            except TrainingFailed as error:
                failed.add(place)
                log(f"trial {trial.number} of {study.name} fails with seed {seed}: {error}")
            else:
                scores[place][seed] = score
                log(f"trial {trial.number} of {study.name}, seed {seed}: {study.spec.metric} {score:+.3f}")
            left.remove((place, nth))
        if left and len(left) == before:
            time.sleep(LOOK_EVERY_S)
    kept = [
        Confirmed(*pair, found) for i, (pair, found) in enumerate(zip(chosen, scores, strict=True)) if i not in failed
    ]
    if not kept:
        names = ", ".join(study.name for study in studies)
        raise StudyError(f"study {names}: no finalist trains under other seeds; export without --confirm, or with more")
    return sorted(kept, key=lambda one: -sign_of(one.study.optuna.direction) * one.mean)


def export_confirmed(confirmed: Sequence[Confirmed], path: Path) -> Confirmed:
    """Write the run of the first of `confirmed` to `path` (.yaml or .json); its provenance tells the spread of all."""
    check_ending(path)
    best = confirmed[0]
    story = provenance(best.study, best.trial) | {"confirmed": _told(best), "finalists": list(_lines(confirmed))}
    write_run(run_of_trial(best.trial, best.study.name), path, story)
    return best


def in_words(one: Confirmed) -> str:
    """One line: which trial, its mean and spread over the seeds, and what the search had seen."""
    spread = "" if math.isnan(one.spread) else f" (spread {one.spread:.3f})"
    return (
        f"trial {one.trial.number} of {one.study.name}, {one.study.spec.metric} {one.mean:+.3f}{spread} over "
        f"{len(one.scores)} fresh seeds, {one.trial.value:+.3f} in the search"
    )


def with_seed(run: RunConfig, seed: int) -> RunConfig:
    """`run` with other weights and another order of the data, and all else equal."""
    return dataclasses.replace(run, fit=dataclasses.replace(run.fit, seed=seed))


def _train(run: RunConfig, home: Path, study: Study) -> float:
    make_folder(home.parent)
    with FileLock(f"{home}.lock", timeout=0):
        return train_to_folder(run, home, {"data_fingerprint": study.fingerprint}, (), Console(quiet=True))


def _told(one: Confirmed) -> dict[str, Any]:
    return {
        "seeds": list(one.scores),
        "scores": list(one.scores.values()),
        "mean": one.mean,
        "spread": None if math.isnan(one.spread) else one.spread,
    }


def _lines(confirmed: Sequence[Confirmed]) -> Iterator[dict[str, Any]]:
    for one in confirmed:
        yield {"study": one.study.name, "trial": one.trial.number, "score": one.trial.value, **_told(one)}
