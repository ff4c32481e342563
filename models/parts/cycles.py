"""Averages of heart sounds over the beats of a window.

Heart sounds of one kind resemble each other and noise does not, so the mean of the others tells what a sound is like
(ensemble averaging; O. Rompelman and H. H. Ros, J. Biomed. Eng. 8 (1986) 24). Nothing here has a gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional

LEAST = 0.2  # probability of a sound that is averaged
_TINY = 1e-12


def peaks(probability: Tensor, n_most: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return the frames int64[batch, n_most] of the largest peaks, and their probabilities, 0 where there are no more.

    probability: float[batch, frame]. reach: frames on both sides that a peak is the largest of.
    """
    around = functional.max_pool1d(probability[:, None], 2 * reach + 1, stride=1, padding=reach)[:, 0]
    height = torch.where((probability == around) & (probability >= LEAST), probability, 0.0)
    weight, frame = height.topk(min(n_most, height.shape[-1]), dim=-1)
    missing = n_most - weight.shape[-1]
    return functional.pad(frame, (0, missing)), functional.pad(weight, (0, missing))


def ensemble_mean(
    signal: Tensor, loudness: Tensor, centres: Tensor, weight: Tensor, half: int, reach: int, rounds: int = 3
) -> Tensor:
    """Return a signal float[batch, time] in which each sound is the mean of the others, and silence is between them.

    The sounds are aligned to each other by up to `reach` samples, each to the mean of the others. A sound counts by its
    weight over its loudness, so that a burst of noise counts for little.

    signal: float[batch, time], in which sounds are averaged. loudness: float[batch, time], the noisy signal.
    centres: int64[batch, sound], samples. weight: float[batch, sound]; 0 is no sound.
    half: samples of a sound on both sides of its centre.
    """
    n_samples = signal.shape[-1]
    taper = torch.hann_window(2 * half + 3, periodic=False, device=signal.device, dtype=signal.dtype)[1:-1].sqrt()
    inside = (centres >= half + reach) & (centres < n_samples - half - reach)
    at = centres.clamp(half + reach, max(half + reach, n_samples - half - reach - 1))[..., None]
    wide = at + torch.arange(-half - reach, half + reach + 1, device=signal.device)
    wide = wide.clamp(0, n_samples - 1)
    cut = signal.gather(1, wide.flatten(1)).view(wide.shape)
    lags = cut.unfold(-1, 2 * half + 1, 1) * taper  # [batch, sound, lag, time]
    noisy = loudness.gather(1, wide.flatten(1)).view(wide.shape).square().mean(-1)
    share = torch.where(inside & (weight > 0), weight / noisy.clamp_min(_TINY), 0.0)
    share = share / share.sum(-1, keepdim=True).clamp_min(_TINY)
    lag = torch.full_like(centres, reach)
    others = torch.zeros_like(lags[:, :, 0])
    for _ in range(rounds):
        aligned = lags.gather(2, lag[..., None, None].expand(-1, -1, 1, lags.shape[-1]))[:, :, 0]
        total = (share[..., None] * aligned).sum(1, keepdim=True)
        others = (total - share[..., None] * aligned) / (1 - share).clamp_min(_TINY)[..., None]
        lag = (lags * others[:, :, None]).sum(-1).argmax(-1)
    # A sound alone has no others.
    others = torch.where(((share > 0) & (share < 1 - 1e-6))[..., None], others * taper, 0.0)
    place = at + (lag - reach)[..., None] + torch.arange(-half, half + 1, device=signal.device)
    mean = torch.zeros_like(signal)
    return mean.scatter_add_(1, place.clamp(0, n_samples - 1).flatten(1), others.flatten(1))
