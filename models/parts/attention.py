"""Self-attention over time (Vaswani et al. 2017, arXiv:1706.03762), for all denoisers with a Transformer."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.parts.layers import check_counts, check_named

Positional = Literal["sinusoidal", "none"]


def sinusoidal_encoding(n_steps: int, d_model: int) -> Tensor:
    """Return positions as sines and cosines of falling frequency, float32[n_steps, d_model], for any size.

    Column 2i is sin(t / 10000^(2i / d_model)), column 2i + 1 its cosine (Vaswani et al. 2017, section 3.5).
    """
    column = torch.arange(d_model)
    wavelength = torch.exp((column - column % 2) * (math.log(10_000.0) / d_model))
    angle = torch.arange(n_steps).unsqueeze(1) / wavelength
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


def encoder_layer(
    d_model: int, nhead: int, feed_forward: int, dropout: float = 0.0, norm_first: bool = True
) -> nn.TransformerEncoderLayer:
    """Build a Transformer encoder layer on [batch, token, d_model]."""
    return nn.TransformerEncoderLayer(
        d_model, nhead, feed_forward, dropout, activation="gelu", batch_first=True, norm_first=norm_first
    )


class TimeTransformer(nn.Module):
    """Self-attention over time: [batch, d_model, steps] -> the same shape."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        feed_forward: int,
        n_layers: int,
        dropout: float = 0.0,
        positional: Positional = "sinusoidal",
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        # nn.TransformerEncoder would copy one layer, so that all layers start with equal weights.
        self.layers = nn.Sequential(
            *(encoder_layer(d_model, nhead, feed_forward, dropout, norm_first) for _ in range(n_layers))
        )
        self.positional = positional

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(1, 2)
        if self.positional == "sinusoidal":
            steps = steps + sinusoidal_encoding(steps.shape[1], steps.shape[2]).to(steps)
        attended: Tensor = self.layers(steps)
        return attended.transpose(1, 2)


def check_attention(
    model: str, d_model: int, origin: str, nhead: int, feed_forward: int, dropout: float, positional: str
) -> None:
    """Raise ValueError if no such Transformer can exist. origin: how d_model is computed, for the message."""
    check_counts(model, nhead=nhead, feed_forward=feed_forward)
    if d_model % nhead:
        raise ValueError(
            f"{model}: nhead = {nhead} must divide d_model = {origin} = {d_model}: "
            f"try nhead = {math.gcd(d_model, nhead)} or a width in steps of {nhead}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"{model}: attention_dropout = {dropout}, must lie in [0, 1): set it to 0 for none")
    check_named(model, "positional", positional, get_args(Positional))
