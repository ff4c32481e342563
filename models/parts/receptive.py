"""The receptive field of a denoiser, measured by gradients."""

import torch
from torch import nn


def receptive_field_samples(module: nn.Module, n_channels: int, window_samples: int) -> int:
    """Return the span of input samples that affect the middle sample of the output, 1 ... window_samples.

    It reaches from the first to the last sample of a noise window [1, n_channels, window_samples] whose gradient is not
    zero. It shows what the layers connect, not what a trained model uses. A result of `window_samples` means that the
    module sees at least that far; 0 means that it uses no input. Modes and gradients of the module do not change.

    Raises ValueError for a count below 1.
    """
    for name, count in (("n_channels", n_channels), ("window_samples", window_samples)):
        if count < 1:
            raise ValueError(f"{name} is {count}; at least 1 is needed")
    weights = next(module.parameters(), torch.empty(0))
    noise = torch.randn(1, n_channels, window_samples, generator=torch.Generator().manual_seed(0))
    noisy = (0.3 * noise).to(weights.device, weights.dtype).requires_grad_()
    was_training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.enable_grad():
            middle = module(noisy)[0, 0, window_samples // 2]
            (gradient,) = torch.autograd.grad(middle, noisy)
    finally:
        for part, mode in was_training.items():
            part.training = mode
    reach = gradient[0].abs().amax(dim=0)
    (seen,) = torch.nonzero(reach > 0, as_tuple=True)
    return int(seen[-1] - seen[0] + 1) if len(seen) else 0
