"""Filters from the reference channels to channel 0, solved by least squares on each window.

This is adaptive noise cancelling (Widrow et al. 1975, Proc. IEEE 63:1692) in the Wiener form.
"""

import torch
from torch import Tensor

from models.parts.exporting import exporting, solved
from models.parts.layers import check_counts, check_kernels, repeat_ends
from models.parts.streaming import LEVEL_FLOOR, Carry, moving_mean

_TINY = 1e-8


def delayed(references: Tensor, taps: int, spacing: int) -> Tensor:
    """Return [batch, reference * taps, time]: each reference shifted by -reach ... +reach in steps of `spacing`.

    Beyond the ends of a window the end sample is repeated.
    """
    n_samples, reach = references.shape[-1], spacing * (taps // 2)
    padded = repeat_ends(references, reach, reach)
    shifted = [padded[..., i * spacing : i * spacing + n_samples] for i in range(taps)]
    return torch.stack(shifted, dim=2).flatten(1, 2)


def cancelled(primary: Tensor, regressors: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Return the residual of primary [batch, 1, time] after its weighted least-squares fit by regressors.

    The fit minimises sum_t w_t (p_t - h . r_t)^2 + penalty |h|^2 for each item. The penalty is `ridge` times the mean
    weighted energy of the regressors.

    regressors: [batch, k, time]. weights: [batch, 1, time], at least 0.
    """
    weighted = regressors * weights
    gram = weighted @ regressors.transpose(1, 2)
    energy = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    unit = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype)
    gram = gram + (ridge * energy + _TINY)[:, None, None] * unit
    if exporting():
        filters = solved(gram, weighted @ primary.transpose(1, 2), ridge)
        return primary - filters.transpose(1, 2) @ regressors
    # cholesky_ex does not check for errors, which would wait for the device.
    factor, _ = torch.linalg.cholesky_ex(gram)
    filters = torch.cholesky_solve(weighted @ primary.transpose(1, 2), factor)
    return primary - filters.transpose(1, 2) @ regressors


def recursively_cancelled(
    primary: Tensor, regressors: Tensor, ridge: float, block: int, past: int, carry: Carry
) -> Tensor:
    """Return the residual of primary [batch, 1, time] after filters that are solved anew in each block.

    The filters of a block are the ridge solution of `cancelled` over the `past` blocks before it: block recursive least
    squares over a sliding window (Haykin, Adaptive Filter Theory, chapter 10). In the first block they are zero.

    regressors: [batch, k, time], with time a multiple of `block`.
    """
    n_items, k, n_samples = regressors.shape
    n_blocks = n_samples // block
    # [batch, block, k, block's samples] and [batch, block, 1, block's samples]
    inputs = regressors.view(n_items, k, n_blocks, block).transpose(1, 2)
    target = primary.view(n_items, 1, n_blocks, block).transpose(1, 2)
    products = inputs @ torch.cat((inputs, target), dim=2).transpose(2, 3)
    # Those of the block before, so that the filters know no sample of their own block.
    earlier = carry.extend(products.flatten(2).transpose(1, 2), 1)[..., :n_blocks]
    mean = moving_mean(earlier, past - 1, carry).transpose(1, 2).reshape(n_items, n_blocks, k, k + 1)
    gram, right = mean[..., :k], mean[..., k:]
    energy = gram.diagonal(dim1=2, dim2=3).mean(dim=2)
    unit = torch.eye(k, device=gram.device, dtype=gram.dtype)
    # Relative to the level, as the signal may have any.
    scale = (energy + LEVEL_FLOOR)[..., None, None]
    gram = gram / scale + ridge * unit
    if exporting():
        flat = solved(gram.flatten(0, 1), (right / scale).flatten(0, 1), ridge)
        filters = flat.view(n_items, n_blocks, k, 1)
    else:
        factor, _ = torch.linalg.cholesky_ex(gram)
        filters = torch.cholesky_solve(right / scale, factor)
    left = target - filters.transpose(2, 3) @ inputs
    return left.transpose(1, 2).reshape(n_items, 1, n_samples)


def check_filters(model: str, taps: int, spacing: int, ridge: float) -> None:
    """Raise ValueError if such filters cannot exist."""
    check_kernels(model, taps=taps)
    check_counts(model, spacing=spacing)
    if not 1e-6 <= ridge < float("inf"):
        raise ValueError(f"{model}: ridge = {ridge}, must be at least 1e-6 for single precision: try 0.01")
