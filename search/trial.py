"""One trial: sample -> RunConfig -> train -> report or prune -> score, figure, sound, config."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna_dashboard import save_note

from data.corpus import Corpus
from data.mixture import HeldOut, held_out
from objectives.cost import latency_ms, n_parameters
from search.space import sample
from search.spec import ConstraintSpec, run_of
from search.study import SearchStudy
from training.checkpoint import load_weights
from training.config import RunConfig, to_document, write_run
from training.device import arithmetic, resolve_device
from training.estimate import estimate_held_out
from training.evaluate import mean_by_method, score_rows, write_showcase
from training.trainer import WEIGHTS, EpochReport, train

RUN = "run"
EXTRA_SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm", "snr_improvement_db")


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How a trial ended: state is "complete", "pruned" or "infeasible"; value is the study's metric."""

    state: str
    value: float | None
    n_epochs: int
    reason: str = ""


def run_trial(
    trial: optuna.Trial,
    search: SearchStudy,
    corpus: Corpus,
    artifacts: FileSystemArtifactStore,
    threads: int | None,
    check_stop: Callable[[], None],
) -> TrialOutcome:
    """Train what `trial` proposes and tell its story in its attributes and artifacts; telling the state is left to
    the caller. check_stop is called after every epoch and may raise to end the trial.

    Raises TrainingFailed, and whatever else the run comes to.
    """
    began = time.monotonic()
    params = sample(trial, search.space)
    run = with_threads(run_of(search.spec, search.space, params, f"trial {trial.number}"), threads)
    # the whole run is stored before training, so that even a killed trial says what it was
    trial.set_user_attr(RUN, json.dumps(to_document(run)))
    violated = _apply_constraints(trial, run, search.spec.constraints, corpus)
    if violated:
        return TrialOutcome("infeasible", None, 0, violated)
    with tempfile.TemporaryDirectory(prefix="drivebeat-trial-") as name:
        folder = Path(name)
        last, pruned = _train(trial, run, corpus, folder, check_stop)
        _tell_story(trial, run, corpus, folder, artifacts, last)
    trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
    trial.set_user_attr("device", str(resolve_device(run.fit.device)))
    if pruned:
        return TrialOutcome("pruned", None, last.epoch + 1, f"behind the others after epoch {last.epoch + 1}")
    assert last.best_score is not None, "the last epoch is always past the ramps"
    return TrialOutcome("complete", last.best_score, last.epoch + 1)


def with_threads(run: RunConfig, threads: int | None) -> RunConfig:
    """`run` with the worker's share of CPU threads written into it, unless the study fixes one."""
    from dataclasses import replace

    if run.fit.threads is not None or threads is None:
        return run
    return replace(run, fit=replace(run.fit, threads=threads))


def _train(
    trial: optuna.Trial, run: RunConfig, corpus: Corpus, folder: Path, check_stop: Callable[[], None]
) -> tuple[EpochReport, bool]:
    report: EpochReport | None = None
    reports = train(run, corpus, folder)
    try:
        for report in reports:
            trial.report(report.score, report.epoch)
            check_stop()
            if report.epoch + 1 < report.n_epochs and trial.should_prune():
                return report, True
    finally:
        reports.close()  # type: ignore[attr-defined]  # a generator: frees model and device
    assert report is not None
    return report, False


def _apply_constraints(trial: optuna.Trial, run: RunConfig, limits: ConstraintSpec, corpus: Corpus) -> str:
    """Measure what the model costs, set it as constraints (feasible <= 0), and name the first one broken."""
    with arithmetic(run.fit.seed, torch.device("cpu"), run.fit.threads):
        model = run.model.build(corpus.n_channels)
        size = n_parameters(model)
        trial.set_user_attr("n_parameters", size)
        broken = ""
        if limits.max_parameters is not None:
            trial.set_constraint("n_parameters", size - limits.max_parameters)
            if size > limits.max_parameters:
                broken = f"{size:,} parameters, {limits.max_parameters:,} allowed"
        if limits.max_latency_ms is not None:
            latency = latency_ms(model, corpus.n_channels, run.data.window_samples)
            trial.set_user_attr("latency_ms", round(latency, 2))
            trial.set_constraint("latency_ms", latency - limits.max_latency_ms)
            if latency > limits.max_latency_ms:
                broken = broken or f"{latency:.1f} ms a window, {limits.max_latency_ms:g} ms allowed"
    return broken


def _tell_story(
    trial: optuna.Trial,
    run: RunConfig,
    corpus: Corpus,
    folder: Path,
    artifacts: FileSystemArtifactStore,
    last: EpochReport,
) -> None:
    """Extra scores on the validation mixture, figure, sounds and config, where the dashboard shows them."""
    mixture, estimates = estimate_validation(run, corpus, folder / WEIGHTS)
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
    picture = identifiers["window.png"]
    save_note(
        trial,
        f"**{run.model.name}**, {trial.user_attrs['n_parameters']:,} parameters\n\n"
        + _score_table(rows)
        + f"\n\n![noisy, clean, estimate](/artifacts/{trial.study._study_id}/{trial._trial_id}/{picture})\n",
    )


def _score_table(rows: list) -> str:  # type: ignore[type-arg]
    lines = ["| mixture | SI-SDR dB | event F1 | heart rate < 5 bpm |", "|---|---|---|---|"]
    lines += [
        f"| {row.snr_db:+g} dB | {row.scores['si_sdr_db']:.2f} | {row.scores['event_f1']:.2f} "
        f"| {row.scores['hr_within_5_bpm']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def estimate_validation(run: RunConfig, corpus: Corpus, weights: Path) -> tuple[HeldOut, NDArray[np.float32]]:
    """The validation mixture and the estimates of the model with `weights`: float32[snr, window, time]."""
    device = resolve_device(run.fit.device)
    with arithmetic(run.fit.seed, device, run.fit.threads):
        model = run.model.build(corpus.n_channels)
        load_weights(model, weights)
        mixture = held_out(corpus.splits["validation"], run.data, run.data.validation)
        return mixture, estimate_held_out(model.to(device), mixture, device, run.fit.batch_size, run.fit.precision)
