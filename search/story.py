"""What a trained trial shows in the dashboard: extra scores, a figure, sounds, its config and a note."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.artifacts import upload_artifact
from optuna.artifacts._protocol import ArtifactStore
from optuna_dashboard._note import note_ver_key, split_body

from data.corpus import Corpus
from data.mixture import HeldOut, held_out
from training.checkpoint import load_weights
from training.config import RunConfig, write_run
from training.device import arithmetic, resolve_device
from training.estimate import estimate_held_out
from training.evaluate import Row, mean_by_method, score_rows, write_showcase
from training.report import EpochReport
from training.trainer import WEIGHTS

EXTRA_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "snr_improvement_db")


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
        trial.set_user_attr(score, round(mean_by_method(rows, score)["model"], 4))
    for row in rows:
        trial.set_user_attr(f"si_sdr_db@{row.snr_db:+g}", round(row.scores["si_sdr_db"], 3))
    trial.set_user_attr("best_epoch", last.best_epoch if last.best_epoch is not None else last.epoch)
    files = write_showcase(mixture, estimates, f"trial {trial.number}", folder)
    write_run(run, folder / "run.yaml")
    identifiers = {
        path.name: upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=trial)
        for path in (*files, folder / "run.yaml")
    }
    picture = f"/artifacts/{trial.study._study_id}/{trial._trial_id}/{identifiers['window.png']}"
    put_note(
        trial,
        f"**{run.model.name}**, {trial.user_attrs['n_parameters']:,} parameters\n\n"
        f"{f'**Collapsed**: {last.collapsed}' if last.collapsed else ''}\n\n"
        f"{_score_table(rows)}\n\n![noisy, clean, estimate]({picture})\n",
    )


def put_note(trial: optuna.Trial, body: str) -> None:
    """The trial's note in the dashboard, in Markdown: the first one, or one of no more text than was there.

    As optuna_dashboard.save_note, which reads the notes of all the study's trials, twice, to write one.
    """
    study_id = trial.study._study_id
    for key, value in {note_ver_key(trial._trial_id): 1, **split_body(body, trial._trial_id)}.items():
        trial.storage.set_study_system_attr(study_id, key, value)


def _estimate_validation(run: RunConfig, corpus: Corpus, weights: Path) -> tuple[HeldOut, NDArray[np.float32]]:
    """The validation mixture and the estimates of the model with `weights`: float32[snr, window, time]."""
    device = resolve_device(run.fit.device)
    with arithmetic(run.fit.seed, device, run.fit.threads, run.fit.precision):
        model = run.model.build(corpus.n_channels)
        load_weights(model, weights)
        mixture = held_out(corpus.splits["validation"], run.data, run.data.validation)
        return mixture, estimate_held_out(model.to(device), mixture, device, run.fit.batch_size, run.fit.precision)


def _score_table(rows: Sequence[Row]) -> str:
    lines = ["| mixture | SI-SDR dB | event F1 | heart rate < 5 bpm |", "|---|---|---|---|"]
    lines += [
        f"| {row.snr_db:+g} dB | {row.scores['si_sdr_db']:.2f} | {row.scores['event_f1']:.2f} "
        f"| {row.scores['hr_within_5_bpm']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)
