"""Conformer blocks (Gulati et al. 2020, arXiv:2005.08100, with one feed-forward layer per block).

Positions rotate queries and keys (rotary embedding: Su et al. 2021, arXiv:2104.09864), so attention depends on the
distance of two sounds and not on their place in the window, which suits heartbeats at any window length.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_LONGEST_TURN = 1000.0  # tokens: minutes of signal


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
