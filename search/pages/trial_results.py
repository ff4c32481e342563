"""The results of a trained trial for the dashboard: extra scores, a figure, sounds, its config and a note."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import upload_artifact
from torch import nn

from data.mixing.mixture import HeldOut
from search.pages.notes import WRITTEN_BY_TRIAL_RESULTS, note_of, put_note
from search.storage.fast.storage import batch, set_user_attributes
from search.storage.optuna_private import ArtifactStore
from search.trials import BEST_EPOCH, BY_SNR, MODEL, SI_SDR_AT
from training.checkpoint import load_weights
from training.config import RunConfig, write_run
from training.evaluation.estimate import estimate_mixture
from training.evaluation.scores import Row, mean_by_method, score_rows
from training.evaluation.showcase import write_showcase
from training.report import EpochReport
from training.trainer import WEIGHTS

EXTRA_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "hr_error_bpm", "snr_improvement_db")


def store_results(
    trial: optuna.Trial,
    run: RunConfig,
    model: nn.Module,
    mixture: HeldOut,
    folder: Path,
    artifacts: ArtifactStore,
    last: EpochReport,
) -> None:
    """Score the best weights in `folder` on the validation mixture, and store scores, figure, sounds, config and note.

    model: built from `run`; the weights are loaded into it. mixture: the validation mixture. last: the last report of
    the training. Raises OSError where the artifacts cannot be written.
    """
    load_weights(model, folder / WEIGHTS)
    estimates = estimate_mixture(model, run, mixture, run.fit.threads)
    rows = score_rows({"model": estimates}, mixture, EXTRA_SCORES)
    files = write_showcase(mixture, estimates, f"trial {trial.number}", folder)
    write_run(run, folder / "run.yaml")
    with batch(trial.storage, trial._trial_id):
        set_user_attributes(trial.storage, trial._trial_id, _attributes(run, rows, last))
        for path in (*files, folder / "run.yaml"):
            upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=trial)
    study_id = trial.study._study_id
    stored = trial.storage.get_trial(trial._trial_id)
    put_note(trial.storage, study_id, trial._trial_id, note_of(stored, study_id), WRITTEN_BY_TRIAL_RESULTS)


def _attributes(run: RunConfig, rows: Sequence[Row], last: EpochReport) -> dict[str, Any]:
    """Return the trial's user attributes with scores, model and best epoch. Scores that are not finite are left out."""
    means = {score: mean_by_method(rows, score)["model"] for score in EXTRA_SCORES}
    attributes: dict[str, Any] = {name: round(value, 4) for name, value in means.items() if math.isfinite(value)}
    attributes |= {f"{SI_SDR_AT}{row.snr_db:+g}": round(row.scores["si_sdr_db"], 3) for row in rows}
    attributes[BY_SNR] = {
        f"{row.snr_db:+g}": {name: round(value, 4) for name, value in row.scores.items() if math.isfinite(value)}
        for row in rows
    }
    attributes[MODEL] = run.model.name
    attributes[BEST_EPOCH] = last.best_epoch if last.best_epoch is not None else last.epoch
    return attributes
