"""Conformer over the short-time spectra of the heart's band.

Blocks of attention, gated convolution and feed-forward (Gulati et al. 2020, arXiv:2005.08100, with one feed-forward
layer per block). Positions rotate queries and keys (rotary embedding: Su et al. 2021, arXiv:2104.09864), so attention
depends on the distance of two sounds and not on their place in the window, which suits heartbeats at any window length.
Bins outside the band are neither read nor written.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional

from models.base import DenoiserConfig, register
from models.parts.attention import check_attention
from models.parts.layers import check_counts, check_kernels, run_padded
from models.parts.spectrum import HOPS, check_frames, overlap_add, short_time, spectral_features

_TINY = 1e-8
_LONGEST_TURN = 1000.0  # tokens: minutes of signal
_FIRST = 0.3  # initial gain of channel 0: above zero, but low enough that noisy windows do not pass


def rotate(x: Tensor) -> Tensor:
    """Rotate pairs of numbers in [batch, head, token, d] by angles proportional to the token: rotary positions."""
    n_tokens, half = x.shape[-2], x.shape[-1] // 2
    rate = torch.exp(torch.arange(half, device=x.device) * (-math.log(_LONGEST_TURN) / half))
    angle = torch.arange(n_tokens, device=x.device)[:, None] * rate
    cos, sin = angle.cos(), angle.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class RotaryAttention(nn.Module):
    """Self-attention on [batch, token, width] with rotary positions.

    On CPUs it runs in float32 in any precision, because the backward pass of torch's attention takes 8 times as long
    in bfloat16 there.
    """

    def __init__(self, width: int, nhead: int, dropout: float) -> None:
        super().__init__()
        self.nhead, self.dropout = nhead, dropout
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, n_tokens, width = x.shape
        heads = self.into(x).float().view(batch, n_tokens, 3, self.nhead, width // self.nhead)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        with torch.autocast("cpu", enabled=False):  # autocast would convert to bfloat16 again
            attended = functional.scaled_dot_product_attention(
                rotate(query), rotate(key), value, dropout_p=self.dropout if self.training else 0.0
            )
        mixed: Tensor = self.out(attended.transpose(1, 2).reshape(batch, n_tokens, width).to(x.dtype))
        return mixed


class GatedConv(nn.Module):
    """Pointwise gate, depthwise convolution over tokens, pointwise: [batch, token, width] kept."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 2 * width)
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        gated = functional.glu(self.gate(x), dim=-1)
        seen = self.over_time(gated.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = self.out(functional.silu(self.norm(seen)))
        return mixed


class ConformerBlock(nn.Module):
    """Attention, convolution and feed-forward, each beside a shortcut and after a norm of its own."""

    def __init__(self, width: int, nhead: int, feed_forward: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            (
                RotaryAttention(width, nhead, dropout),
                GatedConv(width, kernel),
                nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)),
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.parts)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for part, norm in zip(self.parts, self.norms, strict=True):
            x = x + self.drop(part(norm(x)))
        return x


class Conformer(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]."""

    def __init__(self, config: "ConformerConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        self.window_samples, self.hop = c.window_samples, c.window_samples // HOPS
        self.bins = slice(*c.bins)
        self.n_bins, self.direct = c.bins[1] - c.bins[0], c.direct
        self.n_channels = n_channels
        self.into = nn.Linear(3 * self.n_channels * self.n_bins, c.width)
        self.blocks = nn.Sequential(
            *(ConformerBlock(c.width, c.nhead, c.feed_forward, c.kernel, c.dropout) for _ in range(c.encoder_layers))
        )
        self.norm = nn.LayerNorm(c.width)
        self.out = nn.Linear(c.width, 2 * self.n_bins * (self.n_channels + c.direct))
        # Small initial weights, so that training starts near a constant mask on channel 0; larger masks train slower.
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.hop, (HOPS - 1) * self.hop)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Return the estimate of windows of whole hops; it is incomplete in the first and last three hops."""
        spectra = short_time(noisy, self.window_samples)
        in_band = spectra[..., self.bins]
        # One level for all channels, so that the proportion of the reference channels to channel 0 stays.
        power = in_band.real.square() + in_band.imag.square()
        level = power.mean(dim=(1, 2, 3), keepdim=True).add(_TINY).sqrt()
        tokens = self.into(spectral_features(in_band / level).transpose(1, 2).flatten(2))
        values = self.out(self.norm(self.blocks(tokens))).float()
        kept = spectra.new_zeros(spectra[:, 0].shape)
        kept[..., self.bins] = self._estimate(in_band, level[:, 0], values)
        return overlap_add(kept, self.window_samples).unsqueeze(1)

    def _estimate(self, in_band: Tensor, level: Tensor, values: Tensor) -> Tensor:
        """Return complex[batch, frame, bin]: the sum of all channels times their masks, plus the direct output."""
        mask = torch.complex(*values.view(*values.shape[:2], 2, -1, self.n_bins).unbind(2)).transpose(1, 2)
        estimate = _FIRST * in_band[:, 0] + (mask[:, : self.n_channels] * in_band).sum(dim=1)
        return estimate + mask[:, -1] * level if self.direct else estimate


@register("conformer")
@dataclass(frozen=True, slots=True)
class ConformerConfig(DenoiserConfig):
    """Windows of `window_samples` at hops of a quarter of it: 256 ms take 64 samples at 250 Hz and 256 at 1 kHz.

    low, high: the band that is read and written, as shares of the sampling rate. The defaults are 20 and 62.5 Hz at
        250 Hz; 0.02 and 0.0625 are the same at 1 kHz.
    direct: whether the net also outputs spectra directly, for example of a sound that it knows from other beats. Masks
        alone can only change what the channels contain.
    """

    window_samples: Annotated[int, CategoricalDistribution((32, 64, 128))] = 64
    low: float = 0.08
    high: float = 0.25
    width: Annotated[int, IntDistribution(64, 256, step=32)] = 128
    encoder_layers: Annotated[int, IntDistribution(1, 8)] = 4
    # Every width in range is a multiple of 32, so each nhead in range divides it into an even number.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 4
    feed_forward: Annotated[int, CategoricalDistribution((128, 256, 512))] = 256
    kernel: Annotated[int, CategoricalDistribution((5, 7, 11, 15))] = 7
    dropout: Annotated[float, FloatDistribution(0.0, 0.2)] = 0.0
    direct: Annotated[bool, CategoricalDistribution((False, True))] = True

    def __post_init__(self) -> None:
        model, c = "conformer", self
        check_frames(model, c.window_samples)
        if not 0 <= c.low < c.high <= 0.5:
            raise ValueError(
                f"{model}: low = {c.low} and high = {c.high}, must be shares of the rate with "
                "0 <= low < high <= 0.5: 0.08 and 0.25 are 20 and 62.5 Hz at 250 Hz"
            )
        check_counts(model, width=c.width, encoder_layers=c.encoder_layers)
        check_kernels(model, kernel=c.kernel)
        check_attention(model, c.width, "width", c.nhead, c.feed_forward, c.dropout, "none")
        if c.width // c.nhead % 2:
            raise ValueError(
                f"{model}: nhead = {c.nhead} leaves {c.width // c.nhead} numbers to a head, must be even: "
                f"try a width of {2 * c.nhead * (c.width // (2 * c.nhead) or 1)}"
            )

    @property
    def bins(self) -> tuple[int, int]:
        """Return the first bin of the band and the bin after its last, with both edges inside."""
        return math.floor(self.low * self.window_samples), math.ceil(self.high * self.window_samples) + 1

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("conformer", n_channels=n_channels)
        return Conformer(self, n_channels)
