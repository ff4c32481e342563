"""An exponential moving average of a model's weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017)."""

import copy

import torch
from torch import nn


def ema_decay_at(decay: float, step: int) -> float:
    """The decay at optimiser step `step` (from 0): min(decay, (1 + step) / (10 + step)).

    The warm-up, TensorFlow's ExponentialMovingAverage with num_updates, lets the average forget the random weights
    it began with: after n steps they weigh at most 9! / n^9. A pure function, so a resumed run needs no state.
    """
    return min(decay, (1 + step) / (10 + step))


def copy_of(model: nn.Module) -> nn.Module:
    """A copy that is never trained, in evaluation mode: where the average lives."""
    averaged = copy.deepcopy(model).eval()
    return averaged.requires_grad_(False)


@torch.no_grad()
def average_in(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """averaged = decay x averaged + (1 - decay) x model, in place, parameters and buffers alike.

    BatchNorm's running means and variances are averaged with the weights they belong to; whole numbers (its count
    of batches) are copied.
    """
    mine, theirs = _tensors(averaged), _tensors(model)
    real = [i for i, tensor in enumerate(mine) if tensor.is_floating_point() or tensor.is_complex()]
    if real:  # a few kernels for all of them
        torch._foreach_lerp_([mine[i] for i in real], [theirs[i] for i in real], 1 - decay)
    for i in set(range(len(mine))) - set(real):
        mine[i].copy_(theirs[i])


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    """Every parameter and buffer once, in the order of definition."""
    return [*module.parameters(), *module.buffers()]
