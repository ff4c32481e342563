"""The learner: a model, its moving average, its optimiser and its loss scaler, which change together in a step.

Its whole state can be saved as a checkpoint and loaded again, so that a resumed run continues bit-equal. The functions
below the class build a learner, compute the loss of a batch, and write and read checkpoints.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from data.mixing.mixture import Batch
from models.beats import WithBeats
from objectives.losses import frame_cross_entropy
from training.checkpoint import (
    WEIGHTS,
    damage,
    load_checkpoint,
    load_fitting_weights,
    load_weights,
    save_checkpoint,
    weights_file,
)
from training.config import InitConfig, RunConfig, from_document, to_document
from training.device import arithmetic, autocast
from training.ema import average_in, copy_of, ema_decay_at
from training.errors import CheckpointError, ConfigError
from training.report import EpochReport
from training.schedule import learning_rate_at


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """A model in training.

    averaged: the moving average of the model's weights; None without fit.ema_decay.
    optimiser: None for a model without parameters to train.
    scaler: scales the loss so that fp16 gradients do not vanish (Micikevicius et al. 2018); does nothing in other
        precisions.
    """

    model: nn.Module
    averaged: nn.Module | None
    optimiser: torch.optim.Optimizer | None
    scaler: torch.amp.GradScaler

    @property
    def evaluated(self) -> nn.Module:
        """Return the module that is validated and whose weights are saved: the average, if there is one."""
        return self.model if self.averaged is None else self.averaged

    def step(self, run: RunConfig, loss: torch.Tensor, step: int, n_steps: int) -> None:
        """Take one optimiser step along the gradient of `loss`.

        step, n_steps: the number of this step (from 0) and of all steps in the run.
        """
        self.backward(loss)
        self.update(run, step, n_steps)

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradient of `loss`, replacing an earlier one. Does nothing without parameters to train."""
        if self.optimiser is not None:
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self, run: RunConfig, step: int, n_steps: int) -> None:
        """Update the weights by the gradient that `backward` computed, and then their moving average."""
        if self.optimiser is None:
            return
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(run.optimiser, step, n_steps)
        if run.optimiser.clip_norm > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), run.optimiser.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.averaged is not None:
            average_in(self.averaged, self.model, ema_decay_at(run.fit.ema_decay, step))

    def state(self) -> dict[str, Any]:
        """Return the whole state as tensors and numbers."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimiser": {}}
        if self.optimiser is not None:
            state["optimiser"] = self.optimiser.state_dict()
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        if self.scaler.is_enabled():
            state["scaler"] = self.scaler.state_dict()
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state` returned for a learner of the same run. Raises an exception for any other."""
        self.model.load_state_dict(state["model"])
        if self.optimiser is not None:
            self.optimiser.load_state_dict(state["optimiser"])
            _check_moments(self.optimiser)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def _check_moments(optimiser: torch.optim.Optimizer) -> None:
    """Raise ValueError for a state whose shapes are not those of the parameters, which torch does not check."""
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape != parameter.shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


def loss_of(model: nn.Module, criterion: nn.Module, batch: Batch, precision: str) -> torch.Tensor:
    """Return the loss float[] of `model` on `batch`.

    A model with a training loss of its own (models.base) returns that; for others it is `criterion` of the estimate
    in float32 and the clean signal, plus the weighted cross-entropy of the network for beats, where there is one. The
    forward pass runs in `precision`.
    """
    own_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = getattr(model, "training_loss", None)
    with autocast(batch.noisy.device, precision):
        if own_loss is not None:
            return own_loss(batch.noisy, batch.clean)
        estimate = model(batch.noisy)
        loss: torch.Tensor = criterion(estimate.float(), batch.clean)
        if batch.labels is None or not isinstance(model, WithBeats):
            return loss
        return loss + model.weight * frame_cross_entropy(model.sounds(estimate, batch.noisy), batch.labels)


def build_learner(run: RunConfig, model: nn.Module, device: torch.device, *, starts_anew: bool) -> Learner:
    """Build the learner of `model` as `run` says, on `device`.

    starts_anew: load the weights of run.init. False for a resumed run, whose checkpoint holds all weights.

    Raises CheckpointError if the weights of run.init do not fit.
    """
    if starts_anew:
        initialise(model, run.init)
    model = model.to(device)
    # After moving the model, so that the optimiser's state lies on the device. torch refuses an empty list.
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = run.optimiser.build(parameters) if parameters else None
    averaged = copy_of(model) if run.fit.ema_decay > 0 and parameters else None
    return Learner(model, averaged, optimiser, torch.amp.GradScaler(device.type, enabled=run.fit.precision == "fp16"))


def initialise(model: nn.Module, init: InitConfig) -> tuple[int, int]:
    """Load the weights that `init` names into `model`, on the CPU.

    Return the number of tensors loaded and the number that `model` has.

    Raises CheckpointError for a file that is missing or changed, and for tensors that do not fit (training.checkpoint).
    """
    n_tensors = len(model.state_dict())
    if not init.weights:
        return 0, n_tensors
    path = weights_file(Path(init.weights))
    if init.partial:
        return load_fitting_weights(model, path, init.sha256)
    load_weights(model, path, init.sha256, advice="--partial (init.partial: true) takes the tensors that fit")
    return n_tensors, n_tensors


def save_progress(
    run: RunConfig, fingerprint: str, reports: Sequence[EpochReport], learner: Learner, path: Path
) -> None:
    """Write the checkpoint of a run after an epoch.

    fingerprint: of the recordings.
    reports: of all epochs so far.

    Raises OSError if it cannot be written.
    """
    # Learning rate, gain and random draws are functions of the run and the epoch, so the reports are all their state.
    state = {
        "run": run_text(run),
        "data_fingerprint": fingerprint,
        "reports": json.dumps([dataclasses.asdict(report) for report in reports]),
        **learner.state(),
    }
    save_checkpoint(state, path)


def load_progress(
    run: RunConfig, fingerprint: str, learner: Learner, path: Path, device: torch.device
) -> list[EpochReport]:
    """Load the checkpoint at `path` into `learner` and return its reports.

    Raises CheckpointError if it is damaged or belongs to another run or to other recordings.
    """
    state = load_checkpoint(path, device)
    with damage(path):
        if not _describes(state["run"], run):
            raise CheckpointError(f"{path}: belongs to another run; choose another folder or remove it")
        if state["data_fingerprint"] != fingerprint:
            raise CheckpointError(
                f"{path}: belongs to other recordings (fingerprint {state['data_fingerprint']}, now "
                f"{fingerprint}); put them back, or remove the checkpoint to start anew"
            )
        learner.load(state)
        return reports_in(state)


def check_progress(run: RunConfig, fingerprint: str, path: Path) -> int:
    """Return the number of epochs in the checkpoint at `path`, after a check that `run` can continue from it.

    The check loads the checkpoint into a learner on the CPU, which takes a step, and the best weights beside it into
    the model. It costs about as much as a step of training.

    Raises CheckpointError if the checkpoint or the weights are damaged, or belong to another run or other recordings.
    """
    cpu = torch.device("cpu")
    with arithmetic(run.fit.seed, cpu, run.fit.threads):
        model = run.build_model(run.data.n_channels)
        learner = build_learner(run, model, cpu, starts_anew=False)
        reports = load_progress(run, fingerprint, learner, path, cpu)
        if learner.optimiser is not None:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            with damage(path):
                learner.optimiser.step()
    if reports and reports[-1].best_epoch is not None:
        load_weights(model, path.parent / WEIGHTS)
    return len(reports)


def read_progress(path: Path) -> tuple[str, list[EpochReport]]:
    """Read the fingerprint of the recordings and the reports from a checkpoint. Raises CheckpointError."""
    state = load_checkpoint(path, torch.device("cpu"))
    with damage(path):
        return str(state["data_fingerprint"]), reports_in(state)


def run_text(run: RunConfig) -> str:
    """Return `run` as one line of JSON; equal runs give equal lines."""
    return document_text(to_document(run))


def document_text(document: Mapping[str, Any]) -> str:
    """Return a run's document as one line of JSON, without provenance and base, which do not affect the result."""
    values = {key: value for key, value in document.items() if key != "provenance"}
    if isinstance(data := values.get("data"), Mapping):
        values["data"] = {key: value for key, value in data.items() if key != "base"}
    return json.dumps(values, sort_keys=True)


def _describes(text: str, run: RunConfig) -> bool:
    """Return whether `text` is the JSON of `run`. In that of an earlier version, newer fields may be missing."""
    if text == run_text(run):
        return True
    try:
        return from_document(json.loads(text), "checkpoint") == run
    except ConfigError:
        return False


def reports_in(state: Mapping[str, Any]) -> list[EpochReport]:
    """Return the reports in the state of a checkpoint. Raises an exception for a text of other origin, see damage."""
    reports = TypeAdapter(list[EpochReport]).validate_json(state["reports"], strict=True, extra="forbid")
    if [report.epoch for report in reports] != list(range(len(reports))):
        raise ValueError("its reports are not of its first epochs, one after the other")
    return reports
