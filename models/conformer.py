"""Conformer over the short-time spectra of the heart's band.

Bins outside the band are neither read nor written. The blocks are those of models.parts.conformer.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.attention import check_attention
from models.parts.conformer import ConformerBlock
from models.parts.layers import check_counts, check_kernels, run_padded
from models.parts.spectrum import HOPS, check_frames, complex_of, overlap_add, placed, short_time, spectral_features
from models.parts.streaming import LEVEL_FLOOR, Carry, CausalDenoiser, Reach, moving_mean, run_causal

_TINY = 1e-8
_FIRST = 0.3  # initial gain of channel 0: above zero, but low enough that noisy windows do not pass


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
        tokens = self.tokens(in_band, level)
        values = self.out(self.norm(self.blocks(tokens))).float()
        kept = placed(self.masked(in_band, level[:, 0], values), self.bins, spectra)
        return overlap_add(kept, self.window_samples).unsqueeze(1)

    def tokens(self, in_band: Tensor, level: Tensor) -> Tensor:
        """Return [batch, frame, width] of spectra complex[batch, channel, frame, bin] over their level."""
        into: Tensor = self.into(spectral_features(in_band / level).transpose(1, 2).flatten(2))
        return into

    def masked(self, in_band: Tensor, level: Tensor, values: Tensor) -> Tensor:
        """Return complex[batch, frame, bin]: the sum of all channels times their masks, plus the direct output."""
        mask = complex_of(*values.view(*values.shape[:2], 2, -1, self.n_bins).unbind(2)).transpose(1, 2)
        estimate = _FIRST * in_band[:, 0] + (mask[:, : self.n_channels] * in_band).sum(dim=1)
        return estimate + mask[:, -1] * level if self.direct else estimate


class CausalConformer(nn.Module):
    """The causal form of a Conformer: a Core of models.parts.streaming.

    Frames end with their block. The level is that of the past, and the blocks see the past only; what they say at a
    frame is of the frame `lookahead` before.
    """

    def __init__(self, net: Conformer, reach: Reach) -> None:
        super().__init__()
        self.net, self.block = net, net.hop
        self.past, self.lookahead = reach.past(net.hop), reach.lookahead(net.hop)
        self.delay = (HOPS - 1 + self.lookahead) * net.hop

    def run_blocks(self, noisy: Tensor, carry: Carry) -> Tensor:
        net, n_frames = self.net, noisy.shape[-1] // self.block
        spectra = short_time(carry.extend(noisy.float(), self.delay), net.window_samples)
        in_band = spectra[..., net.bins]
        now = in_band[:, :, self.lookahead :]
        power = (now.real.square() + now.imag.square()).mean(dim=(1, 3))
        level = moving_mean(power[:, None], self.past, carry).add(LEVEL_FLOOR).sqrt()[..., None]
        seen = run_causal(net.blocks, net.tokens(now, level), self.past, carry)
        values = net.out(net.norm(seen)).float()
        kept = placed(net.masked(in_band[:, :, :n_frames], level[:, 0], values), net.bins, spectra)
        frames = overlap_add(kept, net.window_samples).unsqueeze(1)
        return carry.overlap(frames, (HOPS - 1) * self.block)


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

    def build_causal(self, n_channels: int, reach: Reach) -> CausalDenoiser:
        check_counts("conformer", n_channels=n_channels)
        return CausalDenoiser(CausalConformer(Conformer(self, n_channels), reach))
