"""The training loop. `train` yields a report after each epoch; it knows nothing of trials and studies."""

import dataclasses
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.corpus import Corpus
from data.mixing.mixture import HeldOut, Mixture, Special, held_out
from objectives.losses import LossConfig
from training.checkpoint import CHECKPOINT as CHECKPOINT
from training.checkpoint import WEIGHTS as WEIGHTS
from training.checkpoint import save_weights
from training.config import RunConfig
from training.device import arithmetic, check_precision, resolve_device
from training.errors import TrainingFailed
from training.evaluation.estimate import estimate_held_out
from training.evaluation.scores import SCORES, better, score_by_snr
from training.learner import Learner, build_learner, load_progress, loss_of, save_progress
from training.report import EpochReport, Output, collapse_of, measure_output
from training.schedule import gain_at, learning_rate_at, peak_share_at, ramps_end
from training.sounds import labels_of, note_shares

SYNC_STEPS = 25  # steps between two checks of the loss, each of which waits for the device


@dataclass(frozen=True, slots=True)
class _TrainingResult:
    """The result of an epoch: mean loss, mean in-band SNR of windows with heart and noise, number of windows."""

    loss: float
    snr_db: float
    n_windows: int


@dataclass(frozen=True, slots=True)
class _ValidationResult:
    """The result of an epoch's validation: fit.score at each SNR, and level and likeness of the estimates."""

    by_snr: dict[str, float]
    output: Output


def train(
    run: RunConfig,
    corpus: Corpus,
    folder: Path,
    *,
    model: nn.Module | None = None,
    validation: HeldOut | None = None,
    check_stop: Callable[[], None] | None = None,
) -> Generator[EpochReport, None, None]:
    """Train `run` and yield a report after each epoch. Closing the generator frees the device.

    The checkpoint and the best weights are written to `folder` after every epoch. If the folder holds a checkpoint of
    the same run, the reports in it are yielded again and training continues after them; on a CPU the result is
    bit-equal to that of an uninterrupted run. A collapsed output does not end the run: the reports record it, and the
    caller decides.

    corpus: the recordings of run.data.
    model: the model of `run` on the CPU, with weights drawn from its seed; None builds it.
    validation: the validation mixture of `run`; None makes it.
    check_stop: called before every step. An exception that it raises ends the run, which can be resumed from its last
        complete epoch.

    Raises TrainingFailed for a loss or score that is not a number, CheckpointError for a checkpoint of another run or
    of other recordings and for initial weights that do not fit, ConfigError for a device or precision that is not
    available.
    """
    device = resolve_device(run.fit.device)
    fit = run.fit
    check_precision(device, fit.precision)
    checkpoint = folder / CHECKPOINT
    resumed = checkpoint.exists()
    with arithmetic(fit.seed, device, fit.threads, fit.precision):
        model = model or run.build_model(corpus.n_channels)
        labels = labels_of(run, corpus.splits["train"].clean, device)
        learner = build_learner(run, model, device, starts_anew=not resumed)
        if labels is not None:  # after initial weights, which bring the shares of their own training
            own = (learner.model, *(() if learner.averaged is None else (learner.averaged,)))
            note_shares(own, labels, run.schedule.heartless_share)
        mixture = Mixture(corpus.splits["train"], run.data, device, labels)
        validation = validation or held_out(corpus.splits["validation"], run.data, run.data.validation)
    n_steps = fit.steps_per_epoch or max(1, mixture.n_windows // run.data.batch_windows(fit.batch_size))
    reports = load_progress(run, corpus.fingerprint, learner, checkpoint, device) if resumed else []
    yield from list(reports)
    while not (reports and reports[-1].last):
        epoch = len(reports)
        start_s = time.perf_counter()
        with arithmetic(_epoch_seed(fit.seed, epoch), device, fit.threads, fit.precision):
            trained = _train_epoch(run, learner, mixture, epoch, n_steps, check_stop)
            validated = _validate(run, learner, validation, device)
        seconds = time.perf_counter() - start_s
        reports.append(_report(run, epoch, n_steps, trained, validated, reports, learner, seconds))
        # Weights before the checkpoint: a run killed between the two repeats the epoch and writes both.
        if reports[-1].best_epoch in (None, epoch):
            save_weights(learner.evaluated, folder / WEIGHTS)
        save_progress(run, corpus.fingerprint, reports, learner, checkpoint)
        yield reports[-1]


def _epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of an epoch. Each epoch has its own, so draws do not depend on where a run was resumed."""
    return (seed * 1_000_003 + epoch + 1) % 2**63


def _train_epoch(
    run: RunConfig,
    learner: Learner,
    mixture: Mixture,
    epoch: int,
    n_steps: int,
    check_stop: Callable[[], None] | None,
) -> _TrainingResult:
    """Take the optimiser steps of an epoch. Raises TrainingFailed for a loss that is not finite."""
    fit, device, model = run.fit, mixture.device, learner.model
    model.train()
    criterion = _loss_at(run, epoch).build().to(device)
    generator = torch.Generator(device).manual_seed(_epoch_seed(fit.seed, epoch))
    gain = gain_at(run.schedule, epoch, fit.epochs)
    batches = mixture.epoch(
        n_steps,
        fit.batch_size,
        generator,
        gain=gain,
        spread_db=run.schedule.gain_spread_db,
        special=Special(
            run.schedule.quiet_share,
            run.schedule.quiet_spread_db,
            run.schedule.noiseless_share,
            run.schedule.heartless_share,
        ),
        per_window=run.schedule.mixing == "snr",
    )
    total, snr_total = torch.zeros((), device=device), torch.zeros((), device=device)
    n_noisy = torch.zeros((), device=device)
    n_windows = 0  # counted because the mixture rounds batches to whole groups
    for step, batch in enumerate(batches):
        if check_stop is not None:
            check_stop()
        loss = loss_of(model, criterion, batch, fit.precision)
        total += loss.detach()
        is_noisy = batch.snr_db.isfinite()
        snr_total += torch.where(is_noisy, batch.snr_db, 0.0).sum()
        n_noisy += is_noisy.sum()
        n_windows += len(batch.noisy)
        # Reading the loss waits for the device, so it is not done at every step.
        if (step % SYNC_STEPS == 0 or step == n_steps - 1) and not math.isfinite(total.item()):
            raise TrainingFailed(
                f"loss is not finite in epoch {epoch + 1}, by step {step + 1} (learning rate too high?)"
            )
        learner.step(run, loss, epoch * n_steps + step, fit.epochs * n_steps)
    mean_snr_db = (snr_total / n_noisy).item() if n_noisy > 0 else math.inf
    return _TrainingResult(total.item() / n_steps, mean_snr_db, n_windows)


def _loss_at(run: RunConfig, epoch: int) -> LossConfig:
    """Return the loss config of an epoch: its peak_weight is scaled by the schedule's ramp."""
    weight = getattr(run.loss, "peak_weight", None)
    if weight is None:
        return run.loss
    changed: dict[str, Any] = {"peak_weight": weight * peak_share_at(run.schedule, epoch, run.fit.epochs)}
    return dataclasses.replace(run.loss, **changed)


def _validate(run: RunConfig, learner: Learner, validation: HeldOut, device: torch.device) -> _ValidationResult:
    """Score the evaluated weights on the validation mixture. Raises TrainingFailed for a score that is not a number."""
    estimates = estimate_held_out(learner.evaluated, validation, device, run.fit.batch_size, run.fit.precision)
    by_snr = score_by_snr(run.fit.score, estimates, validation)
    if any(math.isnan(value) for value in by_snr.values()):
        raise TrainingFailed(
            f"score {run.fit.score} is not a number: no validation window has what it is measured against; "
            "choose another score"
        )
    return _ValidationResult(by_snr, measure_output(estimates, validation))


def _report(
    run: RunConfig,
    epoch: int,
    n_steps: int,
    trained: _TrainingResult,
    validated: _ValidationResult,
    earlier: list[EpochReport],
    learner: Learner,
    seconds: float,
) -> EpochReport:
    """Return the report of an epoch, with the best score so far, a collapse and the end of the run."""
    fit = run.fit
    score = sum(validated.by_snr.values()) / len(validated.by_snr)
    before = earlier[-1] if earlier else None
    best_score = before.best_score if before else None
    best_epoch = before.best_epoch if before else None
    eligible = epoch >= ramps_end(run.schedule, fit.epochs)
    if eligible and (best_score is None or better(SCORES[fit.score], score, best_score)):
        best_score, best_epoch = score, epoch
    report = EpochReport(
        epoch=epoch,
        n_epochs=fit.epochs,
        loss=trained.loss,
        score=score,
        by_snr=validated.by_snr,
        best_score=best_score,
        best_epoch=best_epoch,
        learning_rate=learning_rate_at(run.optimiser, (epoch + 1) * n_steps - 1, fit.epochs * n_steps),
        gain=gain_at(run.schedule, epoch, fit.epochs),
        peak_share=peak_share_at(run.schedule, epoch, fit.epochs),
        snr_db=trained.snr_db,
        n_windows=trained.n_windows,
        seconds=seconds,
        precision=fit.precision,
        output_db=validated.output.output_db,
        input_likeness=validated.output.input_likeness,
        stopped=_stop_reason(run, epoch, best_epoch),
    )
    # A model without parameters (identity) copies its input by design.
    is_trained = next(learner.model.parameters(), None) is not None
    return dataclasses.replace(report, collapsed=collapse_of(run, report, before)) if is_trained else report


def _stop_reason(run: RunConfig, epoch: int, best_epoch: int | None) -> str:
    """Return why the run ends after `epoch`, before its last epoch; "" if it goes on."""
    patience = run.fit.patience
    if patience is None or best_epoch is None or epoch - best_epoch < patience:
        return ""
    return f"no better {run.fit.score} in {patience} epochs"
