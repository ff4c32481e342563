"""Train the best trials again with new seeds, and choose the one with the best mean score.

The best score of a study is biased: it is the maximum of noisy scores. New seeds give an unbiased mean and its spread.
Each training has a folder of its own and continues after an interruption. If the same command runs several times at
once, for example on several devices, the processes divide the trainings among them.
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

from data.files import make_folder, path_part
from search.errors import StudyError
from search.study.export import best_of, check_ending, final_run, provenance, run_of_trial
from search.study.study import Study
from search.trials import RUN, attributes_of, is_feasible, sign_of
from training.config import RunConfig, write_run
from training.errors import TrainingFailed
from training.runs import train_to_folder

N_SEEDS = 3
POLL_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Confirmed:
    """A finalist and its scores. scores: seed -> the best score of the training."""

    study: Study
    trial: FrozenTrial
    scores: Mapping[int, float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores.values())

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN for a single seed."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else math.nan


def finalists(studies: Sequence[Study], n: int) -> list[tuple[Study, FrozenTrial]]:
    """Return the at most `n` best complete, feasible trials of all `studies`, best first.

    Raises StudyError where there is none.
    """
    best_of(studies)
    sign = sign_of(studies[0].optuna.direction)
    found = [
        (study, trial)
        for study in studies
        for trial in study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.value is not None and is_feasible(trial) and RUN in attributes_of(trial)
    ]
    return sorted(found, key=lambda pair: -sign * (pair[1].value or 0.0))[:n]


def confirm(
    studies: Sequence[Study],
    n_finalists: int,
    folder: Path,
    log: Callable[[str], None],
    n_seeds: int = N_SEEDS,
) -> list[Confirmed]:
    """Train each finalist with `n_seeds` new seeds, each in a folder under `folder`; return them, best mean first.

    log: takes a line. Finalists with a failed training are left out. Raises StudyError where none remains.
    """
    chosen = finalists(studies, n_finalists)
    scores: list[dict[int, float]] = [{} for _ in chosen]
    failed: set[int] = set()
    todo = [(i, offset) for offset in range(1, n_seeds + 1) for i in range(len(chosen))]
    while todo:
        n_before = len(todo)
        for i, offset in list(todo):
            study, trial = chosen[i]
            seed = study.spec.seed + offset
            home = folder / path_part(study.name) / f"trial-{trial.number}-seed-{seed}"
            try:
                score = _train(with_seed(run_of_trial(trial, study.name, study.spec.plugins), seed), home, study)
            except Timeout:  # another process trains it
                continue
            except TrainingFailed as error:
                failed.add(i)
                log(f"trial {trial.number} of {study.name} fails with seed {seed}: {error}")
            else:
                scores[i][seed] = score
                log(f"trial {trial.number} of {study.name}, seed {seed}: {study.spec.metric} {score:+.3f}")
            todo.remove((i, offset))
        if todo and len(todo) == n_before:
            time.sleep(POLL_S)
    kept = [
        Confirmed(*pair, found) for i, (pair, found) in enumerate(zip(chosen, scores, strict=True)) if i not in failed
    ]
    if not kept:
        names = ", ".join(study.name for study in studies)
        raise StudyError(f"study {names}: no finalist trains with new seeds; export without --confirm, or with more")
    return sorted(kept, key=lambda finalist: -sign_of(finalist.study.optuna.direction) * finalist.mean)


def export_confirmed(confirmed: Sequence[Confirmed], path: Path) -> Confirmed:
    """Write the run of `confirmed`[0] to `path` (.yaml or .json), with the scores of all in its provenance.

    Returns `confirmed`[0].
    """
    check_ending(path)
    best = confirmed[0]
    document = provenance(best.study, best.trial)
    document |= {"confirmed": _scores_document(best), "finalists": list(_finalist_documents(confirmed))}
    write_run(final_run(best.study, best.trial), path, document)
    return best


def in_words(finalist: Confirmed) -> str:
    """Return a line with the trial, its mean and spread over the seeds, and its score in the search."""
    spread = "" if math.isnan(finalist.spread) else f" (spread {finalist.spread:.3f})"
    return (
        f"trial {finalist.trial.number} of {finalist.study.name}, {finalist.study.spec.metric} "
        f"{finalist.mean:+.3f}{spread} over {len(finalist.scores)} fresh seeds, {finalist.trial.value:+.3f} in the "
        "search"
    )


def with_seed(run: RunConfig, seed: int) -> RunConfig:
    """Return `run` with another seed, which changes the initial weights and the order of the data."""
    return dataclasses.replace(run, fit=dataclasses.replace(run.fit, seed=seed))


def _train(run: RunConfig, home: Path, study: Study) -> float:
    make_folder(home.parent)
    with FileLock(f"{home}.lock", timeout=0):
        return train_to_folder(run, home, {"data_fingerprint": study.fingerprint}, (), Console(quiet=True))


def _scores_document(finalist: Confirmed) -> dict[str, Any]:
    return {
        "seeds": list(finalist.scores),
        "scores": list(finalist.scores.values()),
        "mean": finalist.mean,
        "spread": None if math.isnan(finalist.spread) else finalist.spread,
    }


def _finalist_documents(confirmed: Sequence[Confirmed]) -> Iterator[dict[str, Any]]:
    for finalist in confirmed:
        trial = {"trial": finalist.trial.number, "score": finalist.trial.value}
        yield {"study": finalist.study.name, **trial, **_scores_document(finalist)}
