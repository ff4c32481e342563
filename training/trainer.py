"""The only training loop: train(run) yields a report after each epoch and knows nothing of trials."""

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
from data.mixing.mixture import HeldOut, Mixture, held_out
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

SYNC_STEPS = 25


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What an epoch's steps came to: the mean loss, the mean in-band SNR of the mixtures, and the windows drawn."""

    loss: float
    snr_db: float
    n_windows: int


@dataclass(frozen=True, slots=True)
class _Validated:
    """What an epoch's weights came to: fit.score at each SNR, and what the estimates are like."""

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
    """Train `run`, yielding a report after each epoch; closing the generator frees the device.

    model: of `run`, on the CPU, with the weights that its seed draws; validation: the run's validation mixture. Both
    are made where they are not given.

    `folder` gets the checkpoint and the best weights after every epoch. Where it holds a checkpoint of this very
    run, its reports are yielded again and training goes on after them: on a CPU to the same bits as uninterrupted.
    check_stop is called before every step; what it raises ends the run, which can be resumed from its last epoch.
    A run whose output collapsed goes on: its reports say so, and whoever reads them decides.

    Raises TrainingFailed for a loss or a score that is not a number, CheckpointError for a checkpoint of another run
    or of other recordings and for weights to start from that do not fit, ConfigError for a device or a precision
    that is not there.
    """
    device = resolve_device(run.fit.device)
    fit = run.fit
    check_precision(device, fit.precision)
    checkpoint = folder / CHECKPOINT
    resumed = checkpoint.exists()
    with arithmetic(fit.seed, device, fit.threads, fit.precision):
        model = model or run.build_model(corpus.n_channels)
        learner = build_learner(run, model, device, begins=not resumed)
        mixture = Mixture(corpus.splits["train"], run.data, device)
        validation = validation or held_out(corpus.splits["validation"], run.data, run.data.validation)
    n_steps = fit.steps_per_epoch or max(1, mixture.n_windows // run.data.batch_windows(fit.batch_size))
    reports = load_progress(run, corpus.fingerprint, learner, checkpoint, device) if resumed else []
    yield from list(reports)
    while not (reports and reports[-1].last):
        epoch = len(reports)
        began = time.perf_counter()
        with arithmetic(_epoch_seed(fit.seed, epoch), device, fit.threads, fit.precision):
            fitted = _fit_epoch(run, learner, mixture, epoch, n_steps, check_stop)
            validated = _validate(run, learner, validation, device)
        seconds = time.perf_counter() - began
        reports.append(_report(run, epoch, n_steps, fitted, validated, reports, learner, seconds))
        # Weights before the checkpoint: a run killed between the two does the epoch again and writes both.
        if reports[-1].best_epoch in (None, epoch):
            save_weights(learner.judged, folder / WEIGHTS)
        save_progress(run, corpus.fingerprint, reports, learner, checkpoint)
        yield reports[-1]


def _epoch_seed(seed: int, epoch: int) -> int:
    """Every epoch draws from its own seed, so what is drawn does not depend on where a run was resumed."""
    return (seed * 1_000_003 + epoch + 1) % 2**63


def _fit_epoch(
    run: RunConfig,
    learner: Learner,
    mixture: Mixture,
    epoch: int,
    n_steps: int,
    check_stop: Callable[[], None] | None,
) -> _Fitted:
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
        per_window=run.schedule.mixing == "snr",
    )
    total, snr_total = torch.zeros((), device=device), torch.zeros((), device=device)
    n_windows = 0  # counted, for the mixture rounds a batch to whole groups
    for step, batch in enumerate(batches):
        if check_stop is not None:
            check_stop()
        loss = loss_of(model, criterion, batch, fit.precision)
        total += loss.detach()
        snr_total += batch.snr_db.mean()
        n_windows += len(batch.noisy)
        # Reading the loss waits for the device, so not at every step.
        if (step % SYNC_STEPS == 0 or step == n_steps - 1) and not math.isfinite(total.item()):
            raise TrainingFailed(f"loss is not finite in epoch {epoch}, by step {step} (learning rate too high?)")
        learner.step(run, loss, epoch * n_steps + step, fit.epochs * n_steps)
    return _Fitted(total.item() / n_steps, snr_total.item() / n_steps if gain > 0 else math.inf, n_windows)


def _loss_at(run: RunConfig, epoch: int) -> LossConfig:
    """The loss with as much of its peak_weight as the schedule allows in `epoch`."""
    weight = getattr(run.loss, "peak_weight", None)
    if weight is None:
        return run.loss
    changed: dict[str, Any] = {"peak_weight": weight * peak_share_at(run.schedule, epoch, run.fit.epochs)}
    return dataclasses.replace(run.loss, **changed)


def _validate(run: RunConfig, learner: Learner, validation: HeldOut, device: torch.device) -> _Validated:
    """What the judged weights make of the validation mixture."""
    estimates = estimate_held_out(learner.judged, validation, device, run.fit.batch_size, run.fit.precision)
    by_snr = score_by_snr(run.fit.score, estimates, validation)
    if any(math.isnan(value) for value in by_snr.values()):
        raise TrainingFailed(
            f"score {run.fit.score} is not a number: no validation window has what it is measured against; "
            "choose another score"
        )
    return _Validated(by_snr, measure_output(estimates, validation))


def _report(
    run: RunConfig,
    epoch: int,
    n_steps: int,
    fitted: _Fitted,
    validated: _Validated,
    earlier: list[EpochReport],
    learner: Learner,
    seconds: float,
) -> EpochReport:
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
        loss=fitted.loss,
        score=score,
        by_snr=validated.by_snr,
        best_score=best_score,
        best_epoch=best_epoch,
        learning_rate=learning_rate_at(run.optimiser, (epoch + 1) * n_steps - 1, fit.epochs * n_steps),
        gain=gain_at(run.schedule, epoch, fit.epochs),
        peak_share=peak_share_at(run.schedule, epoch, fit.epochs),
        snr_db=fitted.snr_db,
        n_windows=fitted.n_windows,
        seconds=seconds,
        precision=fit.precision,
        output_db=validated.output.output_db,
        input_likeness=validated.output.input_likeness,
        stopped=_stopped(run, epoch, best_epoch),
    )
    # the floor, which has no parameters, is its input by design
    is_floor = next(learner.model.parameters(), None) is None
    return report if is_floor else dataclasses.replace(report, collapsed=collapse_of(run, report, before))


def _stopped(run: RunConfig, epoch: int, best_epoch: int | None) -> str:
    patience = run.fit.patience
    if patience is None or best_epoch is None or epoch - best_epoch < patience:
        return ""
    return f"no better {run.fit.score} in {patience} epochs"
