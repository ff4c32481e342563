"""Conformer blocks (Gulati et al. 2020, arXiv:2005.08100, with one feed-forward layer per block).

Positions rotate queries and keys (rotary embedding: Su et al. 2021, arXiv:2104.09864), so attention depends on the
distance of two sounds and not on their place in the window, which suits heartbeats at any window length.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.parts.streaming import Carry, causal_conv, run_causal

_LONGEST_TURN = 1000.0  # tokens: minutes of signal


def rotate(x: Tensor, start: int = 0) -> Tensor:
    """Rotate pairs of numbers in [batch, head, token, d] by angles proportional to the token: rotary positions.

    start: position of the first token.
    """
    n_tokens, half = x.shape[-2], x.shape[-1] // 2
    rate = torch.exp(torch.arange(half, device=x.device) * (-math.log(_LONGEST_TURN) / half))
    angle = torch.arange(start, start + n_tokens, device=x.device)[:, None] * rate
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

    def run_causal(self, x: Tensor, past: int, carry: Carry) -> Tensor:
        """Return the same where a token attends to itself and the `past` tokens before it."""
        batch, n_tokens, width = x.shape
        query, *fresh = self._heads(x)
        # [batch, head, token, d] of keys and values, with those of earlier tokens before them
        held = carry.extend(torch.stack(fresh).movedim(3, -1), past, silence=False).movedim(-1, 3)
        key, value = held.unbind(0)
        n_before = key.shape[2] - n_tokens
        at = torch.arange(n_before + n_tokens, device=x.device)
        behind = at[n_before:, None] - at
        with torch.autocast("cpu", enabled=False):
            attended = functional.scaled_dot_product_attention(
                rotate(query, n_before),
                rotate(key),
                value,
                attn_mask=(behind >= 0) & (behind <= past),
                dropout_p=self.dropout if self.training else 0.0,
            )
        mixed: Tensor = self.out(attended.transpose(1, 2).reshape(batch, n_tokens, width).to(x.dtype))
        return mixed

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return query, key and value, each float32[batch, head, token, d]."""
        batch, n_tokens, width = x.shape
        heads = self.into(x).float().view(batch, n_tokens, 3, self.nhead, width // self.nhead)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, x: Tensor) -> Tensor:
        batch, n_tokens, width = x.shape
        query, key, value = self._heads(x)
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
        return self._mixed(self.over_time(gated.transpose(1, 2)))

    def run_causal(self, x: Tensor, past: int, carry: Carry) -> Tensor:
        """Return the same with all of the kernel in the past."""
        gated = functional.glu(self.gate(x), dim=-1)
        return self._mixed(causal_conv(self.over_time, gated.transpose(1, 2), carry))

    def _mixed(self, seen: Tensor) -> Tensor:
        mixed: Tensor = self.out(functional.silu(self.norm(seen.transpose(1, 2))))
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

    def run_causal(self, x: Tensor, past: int, carry: Carry) -> Tensor:
        """Return the same where a token depends on those before it only, in each part on the last `past` at most."""
        for part, norm in zip(self.parts, self.norms, strict=True):
            x = x + self.drop(run_causal(part, norm(x), past, carry))
        return x
