"""Wave-U-Net with a two-stage Transformer at its bottleneck, after TSTNN (Wang, He & Zhu 2021, ICASSP, p. 7098;
arXiv:2103.09963).

In the first stage a token is a time step with its channels, in the second a channel with its time steps. The width of
the second stage is a number of steps, so it works on stretches of `time_steps` steps, as many as the window needs.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import register
from models.parts.attention import Positional, TimeTransformer, check_attention, encoder_layer
from models.parts.layers import check_counts, check_named, repeat_ends
from models.wave_unet import UNetConfig, WaveUNet
from models.wave_unet_transformer import Entry


class StretchTransformer(nn.Module):
    """Attention among channels, each a token of `time_steps` steps: [batch, channel, steps] -> the same shape.

    The steps are covered by the smallest number of evenly spread stretches; overlapping stretches are averaged. Fewer
    than `time_steps` steps are extended by repeating both end steps.

    fixed_length: why an exported model takes windows of one length (training.onnx).
    """

    fixed_length = "the number of stretches depends on it"

    def __init__(self, time_steps: int, nhead: int, feed_forward: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.layer = encoder_layer(time_steps, nhead, feed_forward, dropout, norm_first)
        self.time_steps = time_steps

    def forward(self, x: Tensor) -> Tensor:
        n_steps, n_missing = x.shape[-1], max(0, self.time_steps - x.shape[-1])
        before = n_missing // 2
        filled = repeat_ends(x, before, n_missing - before) if n_missing else x
        return self._stretches(filled)[..., before : before + n_steps]

    def _stretches(self, x: Tensor) -> Tensor:
        n_batch, n_channels, n_steps = x.shape
        length = self.time_steps
        n_stretches = -(-n_steps // length)
        starts = [round(i * (n_steps - length) / max(1, n_stretches - 1)) for i in range(n_stretches)]
        cut = torch.stack([x[..., start : start + length] for start in starts], dim=1)
        attended = self.layer(cut.flatten(0, 1)).reshape(n_batch, n_stretches, n_channels, length)
        total, cover = torch.zeros_like(x), x.new_zeros(n_steps)
        for i, start in enumerate(starts):
            around = (start, n_steps - start - length)
            total = total + nn.functional.pad(attended[:, i], around)
            cover[start : start + length] += 1
        return total / cover


@register("two_stage_transformer")
@dataclass(frozen=True, slots=True)
class TwoStageTransformerConfig(UNetConfig):
    """`encoder_layers` pairs of a layer over channels (width ``levels * width``) and one over `time_steps` steps.

    `entry` is the layer before them, in place of the bottleneck convolution of the plain Wave-U-Net: one more pair,
    that convolution, or nothing. The lab's 4,770,674 parameters: levels 7, width 24, kernels 15 and 5,
    encoder_layers 2, feed_forward 2048, time_steps 40 and entry "attention". Its 5120 samples are one stretch of 40
    steps; any other length runs on the same weights.
    """

    levels: Annotated[int, IntDistribution(4, 8)] = 5
    encoder_layers: Annotated[int, IntDistribution(1, 6)] = 2
    # Every width in range is a multiple of 8, so each nhead in range divides each levels * width.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 8
    time_steps: Annotated[int, CategoricalDistribution((40, 80))] = 40
    # Each divides both numbers of steps.
    time_heads: Annotated[int, CategoricalDistribution((4, 10, 20, 40))] = 20
    feed_forward: Annotated[int, CategoricalDistribution((128, 256, 512, 1024, 2048))] = 256
    attention_dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    positional: Annotated[Positional, CategoricalDistribution(("sinusoidal", "none"))] = "sinusoidal"
    norm_first: Annotated[bool, CategoricalDistribution((False, True))] = True
    entry: Annotated[Entry, CategoricalDistribution(("attention", "conv", "none"))] = "conv"

    def __post_init__(self) -> None:
        model, c = "two_stage_transformer", self
        c.shape().check(model)
        check_counts(model, encoder_layers=c.encoder_layers, time_steps=c.time_steps, time_heads=c.time_heads)
        origin = f"levels x width = {c.levels} x {c.width}"
        check_attention(model, c.d_model, origin, c.nhead, c.feed_forward, c.attention_dropout, c.positional)
        if c.time_steps % c.time_heads:
            raise ValueError(
                f"{model}: time_heads = {c.time_heads} must divide time_steps = {c.time_steps}: "
                "choose a divisor or another time_steps"
            )
        check_named(model, "entry", c.entry, get_args(Entry))

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("two_stage_transformer", n_channels=n_channels)
        c = self
        stages: list[nn.Module] = []
        if c.entry == "conv":
            stages.append(c.middle())
        for pair in range(c.encoder_layers + (c.entry == "attention")):
            # Positions once, before the first pair; the shortcuts carry them on.
            positional = c.positional if pair == 0 else "none"
            stages += [
                TimeTransformer(c.d_model, c.nhead, c.feed_forward, 1, c.attention_dropout, positional, c.norm_first),
                StretchTransformer(c.time_steps, c.time_heads, c.feed_forward, c.attention_dropout, c.norm_first),
            ]
        return WaveUNet(c.shape(), nn.Sequential(*stages), n_channels)
