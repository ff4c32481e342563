"""The only training loop: train(run) yields a report after each epoch and knows nothing of trials."""

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.corpus import Corpus
from data.mixture import HeldOut, Mixture, held_out
from objectives.losses import LossConfig
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, save_weights
from training.config import RunConfig, to_document
from training.device import arithmetic, autocast, resolve_device
from training.estimate import estimate_held_out
from training.optimiser import learning_rate_at
from training.schedule import gain_at, peak_share_at, ramps_end
from training.scores import SCORES, better, score_by_snr

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
SYNC_STEPS = 25


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message is the reason."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to.

    score: fit.score, mean over the validation SNRs; by_snr has it for each of them. best_score, best_epoch: over the
    epochs after the ramps' end, None before. snr_db: mean in-band SNR of the epoch's training mixtures.
    """

    epoch: int
    n_epochs: int
    loss: float
    score: float
    by_snr: dict[str, float]
    best_score: float | None
    best_epoch: int | None
    learning_rate: float
    gain: float
    peak_share: float
    snr_db: float
    n_windows: int
    seconds: float


def train(run: RunConfig, corpus: Corpus, folder: Path) -> Iterator[EpochReport]:
    """Train `run`, yielding a report after each epoch; closing the generator frees the device.

    `folder` gets the checkpoint and the best weights after every epoch. Where it holds a checkpoint of this very
    run, its reports are yielded again and training goes on after them: on a CPU to the same bits as uninterrupted.

    Raises TrainingFailed for a loss that is not finite, CheckpointError for a checkpoint of another run.
    """
    device = resolve_device(run.fit.device)
    fit = run.fit
    with arithmetic(fit.seed, device, fit.threads):
        model = run.model.build(corpus.n_channels).to(device)
        mixture = Mixture(corpus.splits["train"], run.data, device)
        validation = held_out(corpus.splits["validation"], run.data, run.data.validation)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = run.optimiser.build(parameters) if parameters else None
    n_steps = fit.steps_per_epoch or max(1, mixture.n_windows // fit.batch_size)
    reports = _resume(run, folder, device, model, optimiser)
    yield from list(reports)
    for epoch in range(len(reports), fit.epochs):
        began = time.perf_counter()
        with arithmetic(_epoch_seed(fit.seed, epoch), device, fit.threads):
            loss, snr_db = _fit_epoch(run, model, optimiser, mixture, epoch, n_steps)
            report = _report(run, model, validation, reports, epoch, device)
        report = dataclasses.replace(
            report,
            loss=loss,
            snr_db=snr_db,
            learning_rate=learning_rate_at(run.optimiser, (epoch + 1) * n_steps - 1, fit.epochs * n_steps),
            n_windows=n_steps * fit.batch_size,
            seconds=time.perf_counter() - began,
        )
        reports.append(report)
        if report.best_epoch in (None, epoch):
            save_weights(model, folder / WEIGHTS)
        save_checkpoint(_state(run, reports, model, optimiser), folder / CHECKPOINT)
        yield report


def _epoch_seed(seed: int, epoch: int) -> int:
    """Every epoch draws from its own seed, so what is drawn does not depend on where a run was resumed."""
    return (seed * 1_000_003 + epoch + 1) % 2**63


def _fit_epoch(
    run: RunConfig,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    mixture: Mixture,
    epoch: int,
    n_steps: int,
) -> tuple[float, float]:
    fit, device = run.fit, mixture.device
    model.train()
    criterion = _loss_at(run, epoch).build().to(device)
    generator = torch.Generator(device).manual_seed(_epoch_seed(fit.seed, epoch))
    batches = mixture.epoch(
        n_steps,
        fit.batch_size,
        generator,
        gain=gain_at(run.schedule, epoch, fit.epochs),
        spread_db=run.schedule.gain_spread_db,
        per_window=run.schedule.mixing == "snr",
    )
    total, snr_total = torch.zeros((), device=device), torch.zeros((), device=device)
    for step, batch in enumerate(batches):
        with autocast(device, fit.precision):
            estimate = model(batch.noisy)
        loss = criterion(estimate.float(), batch.clean)
        total += loss.detach()
        snr_total += batch.snr_db.mean()
        # reading the loss waits for the device, so not at every step
        if (step % SYNC_STEPS == 0 or step == n_steps - 1) and not math.isfinite(total.item()):
            raise TrainingFailed(f"loss is not finite in epoch {epoch}, by step {step} (learning rate too high?)")
        if optimiser is None:
            continue
        rate = learning_rate_at(run.optimiser, epoch * n_steps + step, fit.epochs * n_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if run.optimiser.clip_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), run.optimiser.clip_norm)
        optimiser.step()
    return total.item() / n_steps, snr_total.item() / n_steps


def _loss_at(run: RunConfig, epoch: int) -> LossConfig:
    """The loss with as much of its peak_weight as the schedule allows in `epoch`."""
    weight = getattr(run.loss, "peak_weight", None)
    if weight is None:
        return run.loss
    changed: dict[str, Any] = {"peak_weight": weight * peak_share_at(run.schedule, epoch, run.fit.epochs)}
    return dataclasses.replace(run.loss, **changed)


def _report(
    run: RunConfig,
    model: nn.Module,
    validation: HeldOut,
    earlier: list[EpochReport],
    epoch: int,
    device: torch.device,
) -> EpochReport:
    estimates = estimate_held_out(model, validation, device, run.fit.batch_size, run.fit.precision)
    by_snr = score_by_snr(run.fit.score, estimates, validation)
    score = sum(by_snr.values()) / len(by_snr)
    best_score = earlier[-1].best_score if earlier else None
    best_epoch = earlier[-1].best_epoch if earlier else None
    eligible = epoch >= ramps_end(run.schedule, run.fit.epochs)
    if eligible and (best_score is None or better(SCORES[run.fit.score], score, best_score)):
        best_score, best_epoch = score, epoch
    return EpochReport(
        epoch=epoch,
        n_epochs=run.fit.epochs,
        loss=math.nan,
        score=score,
        by_snr=by_snr,
        best_score=best_score,
        best_epoch=best_epoch,
        learning_rate=math.nan,
        gain=gain_at(run.schedule, epoch, run.fit.epochs),
        peak_share=peak_share_at(run.schedule, epoch, run.fit.epochs),
        snr_db=math.nan,
        n_windows=0,
        seconds=0.0,
    )


def _state(
    run: RunConfig, reports: list[EpochReport], model: nn.Module, optimiser: torch.optim.Optimizer | None
) -> dict[str, Any]:
    # learning rate, gain and random draws are functions of (run, epoch), so the epoch is their whole state
    return {
        "run": json.dumps(to_document(run), sort_keys=True),
        "reports": json.dumps([dataclasses.asdict(report) for report in reports]),
        "rng_seed": _epoch_seed(run.fit.seed, len(reports)),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict() if optimiser else {},
    }


def _resume(
    run: RunConfig,
    folder: Path,
    device: torch.device,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
) -> list[EpochReport]:
    path = folder / CHECKPOINT
    if not path.exists():
        return []
    state = load_checkpoint(path, device)
    if state["run"] != json.dumps(to_document(run), sort_keys=True):
        raise CheckpointError(f"{path}: belongs to another run; choose another folder or remove it")
    model.load_state_dict(state["model"])
    if optimiser is not None:
        optimiser.load_state_dict(state["optimiser"])
    return [EpochReport(**report) for report in json.loads(state["reports"])]
