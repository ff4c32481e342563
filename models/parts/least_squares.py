"""Filters from the reference channels to channel 0, solved by least squares on each window.

This is adaptive noise cancelling (Widrow et al. 1975, Proc. IEEE 63:1692) in the Wiener form.
"""

import torch
from torch import Tensor

from models.parts.exporting import exporting, solved
from models.parts.layers import check_counts, check_kernels, repeat_ends

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


def check_filters(model: str, taps: int, spacing: int, ridge: float) -> None:
    """Raise ValueError if such filters cannot exist."""
    check_kernels(model, taps=taps)
    check_counts(model, spacing=spacing)
    if not 1e-6 <= ridge < float("inf"):
        raise ValueError(f"{model}: ridge = {ridge}, must be at least 1e-6 for single precision: try 0.01")
