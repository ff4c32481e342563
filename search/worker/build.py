"""Build a trial's run, its model and the validation mixture."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from objectives.cost import latency_ms, n_parameters
from search.errors import ConfigError
from search.storage.fast.storage import batch, set_user_attributes
from search.study.spec import ConstraintSpec, run_of
from search.trials import DEVICE, LATENCY_MS, N_PARAMETERS, RUN
from search.worker.context import Assignment, WorkerContext
from training.config import RunConfig, from_document, to_document
from training.device import arithmetic, resolve_device
from training.plugins.plugin import referenced


class Infeasible(Exception):
    """The trial's parameters give no model, or a model over a limit of the study. The message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class BuiltTrial:
    """What a trial trains.

    model: on the CPU, with its initial weights. validation: the mixture that the metric is computed on. continued:
    whether another worker started the trial.
    """

    run: RunConfig
    model: nn.Module
    validation: HeldOut
    continued: bool


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of a model.

    attributes: user attributes for the trial. excess: constraint -> cost minus its limit (feasible <= 0). reason: which
    limit is exceeded; "" where none is.
    """

    attributes: Mapping[str, float]
    excess: Mapping[str, float]
    reason: str


def build(context: WorkerContext, assignment: Assignment) -> BuiltTrial:
    """Build the trial's model and mixture, and store its run, so that another worker can continue it.

    A trial that another worker started keeps the run that was stored then. Raises Infeasible.
    """
    trial = assignment.trial
    stored = context.retry(lambda: trial.user_attrs.get(RUN))
    run = _run_of(context, assignment, stored)
    with arithmetic(run.fit.seed, torch.device("cpu"), run.fit.threads):
        try:
            model = run.build_model(context.corpus.n_channels)
        except ConfigError as error:  # its parts do not go together, as a network for beats beside a diffusion model
            raise Infeasible(str(error)) from error
        cost = _measure(run, model, context.study.spec.constraints, context.corpus)

    document = referenced(to_document(run))

    def store() -> None:
        with batch(trial.storage, trial._trial_id):
            for name, value in cost.excess.items():
                trial.set_constraint(name, value)
            attributes = {RUN: json.dumps(document), DEVICE: str(resolve_device(run.fit.device))}
            set_user_attributes(trial.storage, trial._trial_id, {**attributes, **cost.attributes})

    context.retry(store)
    if cost.reason:
        raise Infeasible(cost.reason)
    mixture = held_out(context.corpus.splits["validation"], run.data, run.data.validation)
    return BuiltTrial(run, model, mixture, continued=stored is not None)


def with_threads(run: RunConfig, threads: int | None) -> RunConfig:
    """Return `run` with `threads` CPU threads; `run` itself where its config has a number, or `threads` is None."""
    if run.fit.threads is not None or threads is None:
        return run
    return dataclasses.replace(run, fit=dataclasses.replace(run.fit, threads=threads))


def _run_of(context: WorkerContext, assignment: Assignment, stored: str | None) -> RunConfig:
    """Return the run that was stored with the trial, else the run of its parameters. Raises Infeasible."""
    spec, where = context.study.spec, f"trial {assignment.trial.number}"
    try:
        if stored is not None:
            return from_document(json.loads(stored), where, spec.plugins)
        run = run_of(spec, context.study.space, assignment.params, where)
    except ConfigError as error:  # every value is in its range, but no model exists for the combination
        raise Infeasible(str(error)) from error
    # Equal results need the same number of threads on every machine, so a deterministic study uses one.
    run = with_threads(run, 1 if spec.deterministic else context.threads)
    if context.tracking.switches.only_first_batch:
        run = dataclasses.replace(run, fit=dataclasses.replace(run.fit, steps_per_epoch=1))
    return run


def _measure(run: RunConfig, model: nn.Module, limits: ConstraintSpec, corpus: Corpus) -> _Cost:
    """Count the model's parameters, measure its latency if that is limited, and compare both with `limits`."""
    size = n_parameters(model)
    attributes: dict[str, float] = {N_PARAMETERS: size}
    excess: dict[str, float] = {}
    reason = ""
    if limits.max_parameters is not None:
        excess[N_PARAMETERS] = size - limits.max_parameters
        if size > limits.max_parameters:
            reason = f"{size:,} parameters, {limits.max_parameters:,} allowed"
    if limits.max_latency_ms is not None:
        latency = latency_ms(model, corpus.n_channels, run.data.window_samples)
        attributes[LATENCY_MS] = round(latency, 2)
        excess[LATENCY_MS] = latency - limits.max_latency_ms
        if latency > limits.max_latency_ms:
            reason = reason or f"{latency:.1f} ms a window, {limits.max_latency_ms:g} ms allowed"
    return _Cost(attributes, excess, reason)
