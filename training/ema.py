"""Exponential moving average of a model's weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

import copy

import torch
from torch import nn


def ema_decay_at(decay: float, step: int) -> float:
    """Return the decay at optimiser step `step` (from 0): min(decay, (1 + step) / (10 + step)).

    This warm-up is that of TensorFlow's ExponentialMovingAverage with num_updates. It lets the average forget the
    random initial weights: after n steps they weigh at most 9! / n^9. The function has no state, so a resumed run
    needs none either.
    """
    return min(decay, (1 + step) / (10 + step))


def copy_of(model: nn.Module) -> nn.Module:
    """Return a copy of `model` for the average: in evaluation mode and without gradients."""
    averaged = copy.deepcopy(model).eval()
    return averaged.requires_grad_(False)


@torch.no_grad()
def average_in(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Set averaged = decay x averaged + (1 - decay) x model in place, for parameters and buffers.

    BatchNorm's running means and variances are averaged like weights; integers (its count of batches) are copied.
    """
    averages, current = _tensors(averaged), _tensors(model)
    real = [i for i, tensor in enumerate(averages) if tensor.is_floating_point() or tensor.is_complex()]
    if real:  # the foreach form needs a few kernels for all tensors instead of one for each
        torch._foreach_lerp_([averages[i] for i in real], [current[i] for i in real], 1 - decay)
    for i in set(range(len(averages))) - set(real):
        averages[i].copy_(current[i])


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    """Return every parameter and buffer once, in the order of definition."""
    return [*module.parameters(), *module.buffers()]
