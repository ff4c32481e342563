"""What a trained trial shows in the dashboard: extra scores, a figure, sounds, its config and a note."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.artifacts import upload_artifact
from optuna.artifacts._protocol import ArtifactStore

from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from search.pages.notes import BY_SNR, TRAINED, note_of, put_note
from training.checkpoint import load_weights
from training.config import RunConfig, write_run
from training.device import arithmetic, resolve_device
from training.evaluation.estimate import estimate_held_out
from training.evaluation.evaluate import mean_by_method, score_rows, write_showcase
from training.report import EpochReport
from training.trainer import WEIGHTS

EXTRA_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "hr_error_bpm", "snr_improvement_db")


def tell_story(
    trial: optuna.Trial,
    run: RunConfig,
    corpus: Corpus,
    folder: Path,
    artifacts: ArtifactStore,
    last: EpochReport,
) -> None:
    """Put the best weights in `folder` to the validation mixture, and the results where the dashboard shows them."""
    mixture, estimates = _estimate_validation(run, corpus, folder / WEIGHTS)
    rows = score_rows({"model": estimates}, mixture, EXTRA_SCORES)
    for score in EXTRA_SCORES:
        value = mean_by_method(rows, score)["model"]
        if math.isfinite(value):  # an estimate without a heart rate is infinitely wrong
            trial.set_user_attr(score, round(value, 4))
    for row in rows:
        trial.set_user_attr(f"si_sdr_db@{row.snr_db:+g}", round(row.scores["si_sdr_db"], 3))
    trial.set_user_attr(BY_SNR, {f"{row.snr_db:+g}": _finite(row.scores) for row in rows})
    trial.set_user_attr("model", run.model.name)
    trial.set_user_attr("best_epoch", last.best_epoch if last.best_epoch is not None else last.epoch)
    files = write_showcase(mixture, estimates, f"trial {trial.number}", folder)
    write_run(run, folder / "run.yaml")
    for path in (*files, folder / "run.yaml"):
        upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=trial)
    study_id = trial.study._study_id
    stored = trial.storage.get_trial(trial._trial_id)
    put_note(trial.storage, study_id, trial._trial_id, note_of(stored, study_id), TRAINED)


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items() if math.isfinite(value)}


def _estimate_validation(run: RunConfig, corpus: Corpus, weights: Path) -> tuple[HeldOut, NDArray[np.float32]]:
    """The validation mixture and the estimates of the model with `weights`: float32[snr, window, time]."""
    device = resolve_device(run.fit.device)
    with arithmetic(run.fit.seed, device, run.fit.threads, run.fit.precision):
        model = run.build_model(corpus.n_channels)
        load_weights(model, weights)
        mixture = held_out(corpus.splits["validation"], run.data, run.data.validation)
        return mixture, estimate_held_out(model.to(device), mixture, device, run.fit.batch_size, run.fit.precision)
