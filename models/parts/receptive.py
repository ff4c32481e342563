"""How far a denoiser sees, found out by gradients rather than by formulas."""

import torch
from torch import nn


def receptive_field_samples(module: nn.Module, n_channels: int, window_samples: int) -> int:
    """Span in samples of the input that moves the middle sample of the output, 1 ... window_samples.

    Counted from the first to the last sample of a window [1, n_channels, window_samples] of noise where the gradient
    is not zero, however small: what the layers connect, not what a trained model makes use of. `window_samples` says
    that the module sees at least so far; 0 that it looks at no input. Modes and gradients are left as they were.

    Raises:
        ValueError: for a count below 1.
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
