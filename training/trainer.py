"""The only training loop: train(run) yields a report after each epoch and knows nothing of trials."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What an epoch's steps came to: the mean loss and the mean in-band SNR of the mixtures."""

    loss: float
    snr_db: float


def train(
    run: RunConfig, corpus: Corpus, folder: Path, *, check_stop: Callable[[], None] | None = None
) -> Iterator[EpochReport]:
    """Train `run`, yielding a report after each epoch; closing the generator frees the device.

    `folder` gets the checkpoint and the best weights after every epoch. Where it holds a checkpoint of this very
    run, its reports are yielded again and training goes on after them: on a CPU to the same bits as uninterrupted.
    check_stop is called before every step; what it raises ends the run, which can be resumed from its last epoch.

    Raises TrainingFailed for a loss or a score that is not a number, CheckpointError for a checkpoint of another run
    or of other recordings.
    """
    device = resolve_device(run.fit.device)
    fit = run.fit
    with arithmetic(fit.seed, device, fit.threads):
        model = run.model.build(corpus.n_channels).to(device)
        mixture = Mixture(corpus.splits["train"], run.data, device)
        validation = held_out(corpus.splits["validation"], run.data, run.data.validation)
        # Built from the model's parameters on its device; a model without any has nothing to step.
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimiser = run.optimiser.build(parameters) if parameters else None
    n_steps = fit.steps_per_epoch or max(1, mixture.n_windows // fit.batch_size)
    reports = _resume(run, corpus, folder, device, model, optimiser)
    yield from list(reports)
    for epoch in range(len(reports), fit.epochs):
        began = time.perf_counter()
        with arithmetic(_epoch_seed(fit.seed, epoch), device, fit.threads):
            fitted = _fit_epoch(run, model, optimiser, mixture, epoch, n_steps, check_stop)
            by_snr = _validate(run, model, validation, device)
        seconds = time.perf_counter() - began
        reports.append(_report(run, epoch, n_steps, fitted, by_snr, reports, seconds))
        # Weights before the checkpoint: a run killed between the two does the epoch again and writes both.
        if reports[-1].best_epoch in (None, epoch):
            save_weights(model, folder / WEIGHTS)
        save_checkpoint(_state(run, corpus, reports, model, optimiser), folder / CHECKPOINT)
        yield reports[-1]


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
    check_stop: Callable[[], None] | None,
) -> _Fitted:
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
    # a model that is trained otherwise than by its estimate, a diffusion say, brings its own loss (models.base)
    own_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = getattr(model, "training_loss", None)
    total, snr_total = torch.zeros((), device=device), torch.zeros((), device=device)
    for step, batch in enumerate(batches):
        if check_stop is not None:
            check_stop()
        with autocast(device, fit.precision):
            if own_loss is not None:
                loss = own_loss(batch.noisy, batch.clean)
            else:
                loss = criterion(model(batch.noisy).float(), batch.clean)
        total += loss.detach()
        snr_total += batch.snr_db.mean()
        # Reading the loss waits for the device, so not at every step.
        if (step % SYNC_STEPS == 0 or step == n_steps - 1) and not math.isfinite(total.item()):
            raise TrainingFailed(f"loss is not finite in epoch {epoch}, by step {step} (learning rate too high?)")
        if optimiser is not None:
            rate = learning_rate_at(run.optimiser, epoch * n_steps + step, fit.epochs * n_steps)
            _step(run, model, optimiser, loss, rate)
    return _Fitted(total.item() / n_steps, snr_total.item() / n_steps)


def _step(run: RunConfig, model: nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if run.optimiser.clip_norm > 0:
        nn.utils.clip_grad_norm_(model.parameters(), run.optimiser.clip_norm)
    optimiser.step()


def _loss_at(run: RunConfig, epoch: int) -> LossConfig:
    """The loss with as much of its peak_weight as the schedule allows in `epoch`."""
    weight = getattr(run.loss, "peak_weight", None)
    if weight is None:
        return run.loss
    changed: dict[str, Any] = {"peak_weight": weight * peak_share_at(run.schedule, epoch, run.fit.epochs)}
    return dataclasses.replace(run.loss, **changed)


def _validate(run: RunConfig, model: nn.Module, validation: HeldOut, device: torch.device) -> dict[str, float]:
    """fit.score at each SNR of the validation mixture."""
    estimates = estimate_held_out(model, validation, device, run.fit.batch_size, run.fit.precision)
    by_snr = score_by_snr(run.fit.score, estimates, validation)
    if any(math.isnan(value) for value in by_snr.values()):
        raise TrainingFailed(
            f"score {run.fit.score} is not a number: no validation window has what it is measured against; "
            "choose another score"
        )
    return by_snr


def _report(
    run: RunConfig,
    epoch: int,
    n_steps: int,
    fitted: _Fitted,
    by_snr: dict[str, float],
    earlier: list[EpochReport],
    seconds: float,
) -> EpochReport:
    fit = run.fit
    score = sum(by_snr.values()) / len(by_snr)
    best_score = earlier[-1].best_score if earlier else None
    best_epoch = earlier[-1].best_epoch if earlier else None
    eligible = epoch >= ramps_end(run.schedule, fit.epochs)
    if eligible and (best_score is None or better(SCORES[fit.score], score, best_score)):
        best_score, best_epoch = score, epoch
    return EpochReport(
        epoch=epoch,
        n_epochs=fit.epochs,
        loss=fitted.loss,
        score=score,
        by_snr=by_snr,
        best_score=best_score,
        best_epoch=best_epoch,
        learning_rate=learning_rate_at(run.optimiser, (epoch + 1) * n_steps - 1, fit.epochs * n_steps),
        gain=gain_at(run.schedule, epoch, fit.epochs),
        peak_share=peak_share_at(run.schedule, epoch, fit.epochs),
        snr_db=fitted.snr_db,
        n_windows=n_steps * fit.batch_size,
        seconds=seconds,
    )


def _state(
    run: RunConfig,
    corpus: Corpus,
    reports: list[EpochReport],
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
) -> dict[str, Any]:
    # Learning rate, gain and random draws are functions of (run, epoch): the number of reports is their state.
    return {
        "run": _identity(run),
        "data_fingerprint": corpus.fingerprint,
        "reports": json.dumps([dataclasses.asdict(report) for report in reports]),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict() if optimiser is not None else {},
    }


def _identity(run: RunConfig) -> str:
    return json.dumps(to_document(run), sort_keys=True)


def _resume(
    run: RunConfig,
    corpus: Corpus,
    folder: Path,
    device: torch.device,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
) -> list[EpochReport]:
    path = folder / CHECKPOINT
    if not path.exists():
        return []
    state = load_checkpoint(path, device)
    if state["run"] != _identity(run):
        raise CheckpointError(f"{path}: belongs to another run; choose another folder or remove it")
    if state["data_fingerprint"] != corpus.fingerprint:
        raise CheckpointError(
            f"{path}: belongs to other recordings (fingerprint {state['data_fingerprint']}, now "
            f"{corpus.fingerprint}); put them back, or remove the checkpoint to start anew"
        )
    model.load_state_dict(state["model"])
    if optimiser is not None:
        optimiser.load_state_dict(state["optimiser"])
    return [EpochReport(**report) for report in json.loads(state["reports"])]
