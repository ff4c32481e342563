"""Mask on the short-time spectra of all channels, from a Transformer over frames.

The mask is complex as in Williamson, Wang & Wang 2016 (IEEE/ACM Trans. ASLP 24:483). Each channel has a mask, and the
masked spectra are summed: this filter-and-sum can cancel what the reference channels share with channel 0 (learned
filter-and-sum: Luo et al. 2019, arXiv:1909.13387). As few frequencies matter, a whole frame is one token.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.attention import Positional, TimeTransformer, check_attention
from models.parts.layers import (
    ACTIVATIONS,
    Activation,
    check_choices,
    check_counts,
    check_kernels,
    check_named,
    run_padded,
)
from models.parts.spectrum import HOPS, check_frames, complex_of, overlap_add, short_time, spectral_features

MaskKind = Literal["complex", "magnitude"]


class TfMask(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]."""

    def __init__(self, config: "TfMaskConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        n_bins = c.window_samples // 2 + 1
        stem: list[nn.Module] = []
        width = 3 * n_channels
        for _ in range(c.stem_layers):
            stem += [nn.Conv2d(width, c.stem_width, c.kernel, padding=c.kernel // 2), ACTIVATIONS[c.activation]()]
            width = c.stem_width
        self.stem = nn.Sequential(*stem)
        self.into = nn.Conv1d(width * n_bins, c.width, 1)
        self.body = TimeTransformer(
            c.width, c.nhead, c.feed_forward, c.encoder_layers, c.attention_dropout, c.positional
        )
        # A magnitude mask is applied to channel 0 only; complex masks are applied to all channels and summed.
        self.n_masked = n_channels if c.mask == "complex" else 1
        n_values = 2 * n_channels if c.mask == "complex" else 1
        self.norm = nn.LayerNorm(c.width)
        self.to_mask = nn.Conv1d(c.width, n_values * n_bins, 1)
        self.mask, self.n_bins = c.mask, n_bins
        self.window_samples, self.hop = c.window_samples, c.window_samples // HOPS

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.hop, (HOPS - 1) * self.hop)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Return the estimate of windows of whole hops; it is incomplete in the first and last three hops."""
        spectra = short_time(noisy, self.window_samples)
        seen = self.stem(spectral_features(spectra))
        tokens = self.body(self.into(seen.transpose(2, 3).flatten(1, 2)))
        values = self.to_mask(self.norm(tokens.transpose(1, 2)).transpose(1, 2)).float()
        return overlap_add(self.masked(spectra, values), self.window_samples).unsqueeze(1)

    def masked(self, spectra: Tensor, values: Tensor) -> Tensor:
        """Return the masked spectra complex[batch, frame, bin]; values of zero leave channel 0 unchanged.

        spectra: complex[batch, channel, frame, bin]. values: [batch, n * bin, frame].
        """
        steps = values.reshape(values.shape[0], -1, self.n_bins, values.shape[-1]).transpose(2, 3)
        if self.mask == "magnitude":
            return spectra[:, 0] * (2 * torch.sigmoid(steps[:, 0]))
        mask = complex_of(steps[:, : self.n_masked], steps[:, self.n_masked :])
        return spectra[:, 0] + (mask * spectra).sum(dim=1)


@register("tf_mask")
@dataclass(frozen=True, slots=True)
class TfMaskConfig(DenoiserConfig):
    """Windows of `window_samples` at hops of a quarter of it: 256 ms take 64 samples at 250 Hz and 256 at 1 kHz.

    `stem_layers` 2-D convolutions over frequency and time come first; with 0, the Transformer gets the spectra.
    """

    window_samples: Annotated[int, CategoricalDistribution((32, 64, 128, 256))] = 64
    stem_layers: Annotated[int, IntDistribution(0, 2)] = 1
    stem_width: Annotated[int, IntDistribution(4, 16, step=4)] = 8
    kernel: Annotated[int, CategoricalDistribution((3, 5))] = 3
    activation: Annotated[Activation, CategoricalDistribution(("gelu", "leaky_relu", "prelu"))] = "gelu"
    width: Annotated[int, IntDistribution(32, 256, step=32)] = 128
    encoder_layers: Annotated[int, IntDistribution(1, 4)] = 2
    # Every width in range is a multiple of 32, so each nhead in range divides it.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 4
    feed_forward: Annotated[int, CategoricalDistribution((64, 128, 256, 512))] = 256
    attention_dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    positional: Annotated[Positional, CategoricalDistribution(("sinusoidal", "none"))] = "sinusoidal"
    mask: Annotated[MaskKind, CategoricalDistribution(("complex", "magnitude"))] = "complex"

    def __post_init__(self) -> None:
        model, c = "tf_mask", self
        check_frames(model, c.window_samples)
        if c.stem_layers < 0:
            raise ValueError(f"{model}: stem_layers = {c.stem_layers}, must be at least 0: set it to 0 for none")
        check_counts(model, stem_width=c.stem_width, width=c.width, encoder_layers=c.encoder_layers)
        check_kernels(model, kernel=c.kernel)
        check_choices(model, "none", c.activation, "linear", 0.0)
        check_attention(model, c.width, "width", c.nhead, c.feed_forward, c.attention_dropout, c.positional)
        check_named(model, "mask", c.mask, get_args(MaskKind))

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("tf_mask", n_channels=n_channels)
        return TfMask(self, n_channels)
