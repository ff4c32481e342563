"""The results and artifacts of a trial (figures, sounds, config): stored at its end, removed if not retained."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import upload_artifact
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine
from torch import nn

from data.mixing.mixture import HeldOut
from search.artifacts.base import remove_artifact
from search.pages.notes import WRITTEN_BY_RETENTION, note_of, replace_note
from search.storage.fast.reads import system_attributes, trial_of_key
from search.storage.fast.storage import batch, set_user_attributes
from search.storage.optuna_private import ArtifactStore
from search.study.spec import ArtifactSpec
from search.study.study import Study
from search.trials import BEST_EPOCH, BY_SNR, MODEL, REMOVED, SI_SDR_AT, artifacts_of, ranked
from training.checkpoint import load_weights
from training.config import RunConfig, write_run
from training.evaluation.estimate import estimate_mixture
from training.evaluation.scores import Row, means_of, score_rows
from training.evaluation.showcase import write_showcase
from training.report import EpochReport
from training.trainer import WEIGHTS

EXTRA_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "hr_error_bpm", "snr_improvement_db")
USABLE_TIME = "usable_time"


def store_results(
    trial: optuna.Trial,
    run: RunConfig,
    model: nn.Module,
    mixture: HeldOut,
    folder: Path,
    artifacts: ArtifactStore,
    last: EpochReport,
) -> None:
    """Score the best weights in `folder` on the validation mixture, and store scores, figure, sounds and config.

    model: built from `run`; the weights are loaded into it. mixture: the validation mixture. last: the last report of
    the training. Raises OSError where the artifacts cannot be written.
    """
    load_weights(model, folder / WEIGHTS)
    estimates = estimate_mixture(model, run, mixture, run.fit.threads)
    rows = score_rows({"model": estimates}, mixture, _extra_scores(run))
    files = write_showcase(mixture, estimates, f"trial {trial.number}", folder)
    write_run(run, folder / "run.yaml")
    with batch(trial.storage, trial._trial_id):
        set_user_attributes(trial.storage, trial._trial_id, _attributes(run, rows, last))
        for path in (*files, folder / "run.yaml"):
            upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=trial)


def _extra_scores(run: RunConfig) -> tuple[str, ...]:
    """Return the scores of a trial. Usable time takes 40 ms a window, so only runs that seek beats have it."""
    seeks_beats = run.beats.beats_weight > 0 or run.fit.score == USABLE_TIME
    return (*EXTRA_SCORES, USABLE_TIME) if seeks_beats else EXTRA_SCORES


def _attributes(run: RunConfig, rows: Sequence[Row], last: EpochReport) -> dict[str, Any]:
    """Return the trial's user attributes with scores, model and best epoch. Scores that are not finite are left out."""
    means = means_of(rows, "model")
    attributes: dict[str, Any] = {name: round(value, 4) for name, value in means.items() if math.isfinite(value)}
    attributes |= {f"{SI_SDR_AT}{row.snr_db:+g}": round(row.scores["si_sdr_db"], 3) for row in rows}
    attributes[BY_SNR] = {
        f"{row.snr_db:+g}": {name: round(value, 4) for name, value in row.scores.items() if math.isfinite(value)}
        for row in rows
    }
    attributes[MODEL] = run.model.name
    attributes[BEST_EPOCH] = last.best_epoch if last.best_epoch is not None else last.epoch
    return attributes


def retained(trials: Sequence[FrozenTrial], keep: ArtifactSpec, direction: StudyDirection) -> frozenset[int]:
    """Return the numbers of the trials whose artifacts are kept.

    These are the `keep.best` best complete, feasible trials, the `keep.last` that ended last, and those that have not
    ended.
    """
    best = ranked(trials, direction)[: keep.best]
    ended = [(t.datetime_complete, t.number) for t in trials if t.state.is_finished() and t.datetime_complete]
    last = [number for _, number in sorted(ended, reverse=True)[: keep.last]]
    running = [t.number for t in trials if not t.state.is_finished()]
    return frozenset([*(t.number for t in best), *last, *running])


def remove_artifacts(
    study: Study,
    trials: Sequence[FrozenTrial],
    engine: Engine,
    artifacts: ArtifactStore,
    log: Callable[[str], None],
) -> int:
    """Remove the artifacts of trials that are not retained, and rewrite their notes.

    trials: all trials of the study. Another worker may do the same at the same time, or complete the removal after this
    one dies. An error of the store is logged, and the rest is removed in the next call.

    Returns the number of trials whose artifacts were removed.
    """
    study_id, storage = study.optuna._study_id, study.optuna._storage
    kept = retained(trials, study.spec.artifacts, study.optuna.direction)
    own = [t for t in trials if t.number >= study.n_copied]  # those of copied trials are the original's
    candidates = [t for t in own if t.number not in kept and artifacts_of(t.system_attrs)]
    if not candidates:
        return 0
    done = {trial_of_key(key) for key in system_attributes(engine, study_id, f"{REMOVED}%")}
    n_removed = 0
    for trial in candidates:
        if trial._trial_id in done:
            continue
        try:
            for identifier in artifacts_of(trial.system_attrs).values():
                remove_artifact(artifacts, identifier)
        except OSError as error:
            log(f"artifacts of trial {trial.number} are not removed yet: {error}")
            break
        _record_removal(storage, engine, study_id, trial)
        n_removed += 1
    return n_removed


def _record_removal(storage: BaseStorage, engine: Engine, study_id: int, trial: FrozenTrial) -> None:
    # in attributes of the study, for Optuna's finished trials are read-only
    note = note_of(trial, study_id, removed=True)
    replace_note(storage, engine, study_id, trial._trial_id, note, WRITTEN_BY_RETENTION)
    storage.set_study_system_attr(study_id, f"{REMOVED}{trial._trial_id}", len(artifacts_of(trial.system_attrs)))
