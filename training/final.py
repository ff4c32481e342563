"""Final training: the trainings that a run's section `final` asks for, of which the best is kept."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data.files import atomic, file_errors
from training.calibration import BEATS_FILE
from training.checkpoint import WEIGHTS
from training.config import RUN_FILE, RunConfig, as_trial, finalised, read_run_with_provenance, write_run
from training.errors import ConfigError
from training.evaluation.scores import SCORES, better
from training.lengthen import differences, epochs_before
from training.lineage import resolve_init
from training.report import EpochReport
from training.runs import override, train_run
from training.switches import Switches

SEEDS = "seeds"  # in the provenance of the best of several: the best score of each seed


def trainings(run: RunConfig, *, only_trial: bool, **fit: Any) -> tuple[RunConfig, ...]:
    """Return the runs to train for `run`: those of its section `final`, or its trial as it was.

    fit: values that replace those of the section `fit`, None leaves one as it is.
    """
    chosen = (as_trial(run),) if only_trial else finalised(run)
    return tuple(override(single, **fit) for single in chosen)


def train_all(
    runs: Sequence[RunConfig],
    folder: Path,
    provenance: Mapping[str, Any],
    trackers: Sequence[str],
    console: Console,
    switches: Switches | None = None,
) -> EpochReport:
    """Train runs that differ in their seed, and return the last report of the best.

    A single run is trained into `folder` itself. Several are trained into its subfolders seed-0, seed-1 ...; then
    `folder` gets run.yaml, weights and beats.json of the best by its best score. Interrupted trainings are resumed,
    and shorter ones lengthened.

    Raises as training.runs.train_run does, and ConfigError if `folder` holds another run, or seeds that `runs` lacks.
    """
    path = folder / RUN_FILE
    with file_errors(path, "read"):
        is_run = path.exists()
    if is_run:
        _check_folder(runs, folder)
    if len(runs) == 1:
        return train_run(runs[0], folder, provenance, trackers, console, switches)
    reports: list[EpochReport] = []
    for run in runs:
        console.print(f"seed {run.fit.seed}, {len(reports) + 1} of {len(runs)}", highlight=False)
        home = folder / f"seed-{run.fit.seed}"
        reports.append(train_run(run, home, provenance, trackers, console, switches))
    scores = {run.fit.seed: report.best_score for run, report in zip(runs, reports, strict=True)}
    best, best_score = 0, reports[0].best_score
    for i, report in enumerate(reports):
        assert report.best_score is not None and best_score is not None, "the last epoch is always past the ramps"
        if better(SCORES[runs[i].fit.score], report.best_score, best_score):
            best, best_score = i, report.best_score
    home = folder / f"seed-{runs[best].fit.seed}"
    with atomic(folder / WEIGHTS) as temporary:
        shutil.copyfile(home / WEIGHTS, temporary)
    if (home / BEATS_FILE).exists():  # one of other weights that is left here would not be used
        with atomic(folder / BEATS_FILE) as temporary:
            shutil.copyfile(home / BEATS_FILE, temporary)
    kept, own = read_run_with_provenance(home / RUN_FILE)
    write_run(kept, path, {**own, SEEDS: scores})
    console.print(f"kept seed {runs[best].fit.seed} of {', '.join(map(str, scores))}", highlight=False)
    return reports[best]


def _check_folder(runs: Sequence[RunConfig], folder: Path) -> None:
    """Raise ConfigError if `folder` holds another run than `runs`, or the best of seeds that are not among theirs."""
    stored, provenance = read_run_with_provenance(folder / RUN_FILE)
    seeds = provenance.get(SEEDS)
    if not isinstance(seeds, Mapping):
        if len(runs) > 1:
            words = f"one training, not {len(runs)} seeds; choose another folder with -o, or remove it"
            raise ConfigError(
                f"{folder}: holds another run: {words if stored in runs else differences(stored, runs[0])}"
            )
        return  # train_run compares them
    run = next((run for run in runs if run.fit.seed == stored.fit.seed), runs[0])
    if stored != run:  # that of an older version has no lineage
        epochs_before(resolve_init(run), folder)
    left_out = sorted(set(seeds) - {run.fit.seed for run in runs})
    if left_out:
        raise ConfigError(
            f"{folder}: holds the best of {len(seeds)} seeds, and {', '.join(map(str, left_out))} would be left out; "
            "train as many again (final.seeds), or choose another folder with -o"
        )
