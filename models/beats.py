"""A network beside the denoiser that finds heart sounds: in each frame, S1, S2 or none.

It reads the estimate and the noisy channels, whatever the family of the denoiser. Both learn together: the gradient of
its loss reaches the denoiser through the estimate. objectives.rhythm decodes what it finds.

In a second pass the denoiser also sees its first estimate, and the mean of the sounds that the network found, as each
sound tells what the others are like. The same weights serve all passes (recycling: Jumper et al. 2021, Nature 596:583).
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional

from models.parts.attention import check_attention
from models.parts.conformer import ConformerBlock
from models.parts.cycles import ensemble_mean, peaks
from models.parts.layers import check_counts, check_kernels
from models.parts.spectrum import HOPS, short_time, spectral_features

N_CLASSES = 3  # S1, S2, none
FRAMES = 4  # frames of the output in a hop of the spectra
MOST_PASSES = 3
N_MORE = 3  # channels of a second pass: the estimate, and the means of sounds in the noisy signal and in the estimate
# In samples: at 250 Hz, sounds of one kind are more than 128 ms apart, and beats at 180 bpm 333 ms.
APART, NEAREST = 32, 80
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class BeatsConfig:
    """The section `beats` of a run.

    beats_weight: of the network's cross-entropy in the loss; 0 leaves the network out.
    beats_spectrum_samples: of its short-time spectra; a frame of the output is a sixteenth of it. 32 at 250 Hz are
        128 ms and frames of 8 ms.
    beats_passes: passes of the denoiser. In training, each batch has a random number of them, up to this.
    beats_low, beats_high: the band that is read, as shares of the sampling rate.
    """

    beats_weight: Annotated[float, FloatDistribution(0.0, 10.0)] = 0.0
    beats_spectrum_samples: Annotated[int, CategoricalDistribution((32, 64))] = 32
    beats_low: float = 0.08
    beats_high: float = 0.25
    beats_width: Annotated[int, IntDistribution(32, 128, step=32)] = 96
    beats_layers: Annotated[int, IntDistribution(1, 4)] = 3
    beats_nhead: int = 4
    beats_kernel: int = 15
    beats_passes: Annotated[int, IntDistribution(1, 3)] = 1

    def __post_init__(self) -> None:
        model, c = "beats", self
        if not 0 <= c.beats_weight < math.inf:
            raise ValueError(f"beats_weight is {c.beats_weight}; a number from 0 (off) up is needed")
        if c.beats_spectrum_samples < 1 or c.beats_spectrum_samples % (HOPS * FRAMES):
            raise ValueError(
                f"{model}: beats_spectrum_samples = {c.beats_spectrum_samples}, must be a positive multiple of "
                f"{HOPS * FRAMES}"
            )
        if not 0 <= c.beats_low < c.beats_high <= 0.5:
            raise ValueError(
                f"{model}: beats_low = {c.beats_low} and beats_high = {c.beats_high}, must be shares of the rate with "
                "0 <= beats_low < beats_high <= 0.5"
            )
        if not 1 <= c.beats_passes <= MOST_PASSES:
            raise ValueError(f"{model}: beats_passes = {c.beats_passes}, must be from 1 to {MOST_PASSES}")
        if c.beats_passes > 1 and c.beats_weight == 0:
            raise ValueError(f"{model}: beats_passes = {c.beats_passes} needs beats_weight above 0")
        check_counts(model, beats_width=c.beats_width, beats_layers=c.beats_layers)
        check_kernels(model, beats_kernel=c.beats_kernel)
        check_attention(model, c.beats_width, "beats_width", c.beats_nhead, 2 * c.beats_width, 0.0, "none")

    @property
    def frame_samples(self) -> int:
        """Return the samples of a frame."""
        return self.beats_spectrum_samples // (HOPS * FRAMES)

    @property
    def n_more(self) -> int:
        """Return the number of channels that the denoiser sees after those of a window."""
        return N_MORE if self.beats_passes > 1 else 0

    def build(self, denoiser: nn.Module, n_channels: int) -> nn.Module:
        """Return `denoiser` for windows of `n_channels` with the network beside it, or alone if it is left out.

        denoiser: for `n_channels` and `n_more` channels after them.

        Raises ValueError for a denoiser that has a training loss of its own, whose estimate is not trained.
        """
        if self.beats_weight == 0:
            return denoiser
        if hasattr(denoiser, "training_loss"):
            raise ValueError("beats: this model has a training loss of its own; set beats_weight to 0")
        return WithBeats(denoiser, BeatNet(self, n_channels), self)


class BeatNet(nn.Module):
    """estimate [batch, 1, time] and noisy [batch, n_channels, time] -> logits [batch, frame, N_CLASSES]."""

    def __init__(self, config: BeatsConfig, n_channels: int) -> None:
        super().__init__()
        c = config
        self.window_samples, self.hop = c.beats_spectrum_samples, c.beats_spectrum_samples // HOPS
        self.frame_samples = c.frame_samples
        self.bins = slice(
            math.floor(c.beats_low * c.beats_spectrum_samples), math.ceil(c.beats_high * c.beats_spectrum_samples) + 1
        )
        n_bins = self.bins.stop - self.bins.start
        self.into = nn.Linear(3 * (1 + n_channels) * n_bins, c.beats_width)
        self.blocks = nn.Sequential(
            *(
                ConformerBlock(c.beats_width, c.beats_nhead, 2 * c.beats_width, c.beats_kernel, 0.0)
                for _ in range(c.beats_layers)
            )
        )
        self.norm = nn.LayerNorm(c.beats_width)
        self.out = nn.Linear(c.beats_width, FRAMES * N_CLASSES)

    def forward(self, estimate: Tensor, noisy: Tensor) -> Tensor:
        n_samples = noisy.shape[-1]
        n_tokens = (n_samples + self.hop - 1) // self.hop
        # Token i is the spectrum about the middle of hop i.
        before = (self.window_samples - self.hop) // 2
        after = (n_tokens + HOPS - 1) * self.hop - n_samples - before
        signals = functional.pad(torch.cat((estimate, noisy), dim=1), (before, after))
        in_band = short_time(signals, self.window_samples)[..., self.bins]
        # A level for each channel: the estimate may be far below the noise.
        power = in_band.real.square() + in_band.imag.square()
        level = power.mean(dim=(2, 3), keepdim=True).add(_TINY).sqrt()
        tokens = self.into(spectral_features(in_band / level).transpose(1, 2).flatten(2))
        logits: Tensor = self.out(self.norm(self.blocks(tokens))).float()
        n_frames = n_samples * FRAMES // self.hop
        return logits.view(noisy.shape[0], -1, N_CLASSES)[:, :n_frames]


class WithBeats(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]: a denoiser, and the network that reads its estimate.

    weight: of the network's cross-entropy in the loss.
    shares: float32[N_CLASSES], of the classes in training. The network learns them; a likelihood is without them.
    """

    shares: Tensor

    def __init__(self, denoiser: nn.Module, beats: BeatNet, config: BeatsConfig) -> None:
        super().__init__()
        self.denoiser, self.beats, self.weight = denoiser, beats, config.beats_weight
        self.n_passes, self.n_more, self.frame = config.beats_passes, config.n_more, config.frame_samples
        self.side, self.shift = config.beats_spectrum_samples * 7 // 8, config.beats_spectrum_samples // 4
        self.register_buffer("shares", torch.full((N_CLASSES,), 1 / N_CLASSES))

    def forward(self, noisy: Tensor) -> Tensor:
        n_passes = self.n_passes
        if self.training and n_passes > 1:
            n_passes = 1 + int(torch.randint(n_passes, ()))
        more = noisy.new_zeros((noisy.shape[0], self.n_more, noisy.shape[-1]))
        for _ in range(n_passes - 1):
            with torch.no_grad():
                estimate = self.denoiser(torch.cat((noisy, more), dim=1)).float()
                more = self.known(estimate, noisy.float(), self.sounds(estimate, noisy.float()).softmax(-1))
        last: Tensor = self.denoiser(torch.cat((noisy, more), dim=1))
        return last

    def known(self, estimate: Tensor, noisy: Tensor, probability: Tensor) -> Tensor:
        """Return [batch, N_MORE, time]: the estimate, and the means of the sounds found, in noisy and in estimate.

        estimate: [batch, 1, time]. noisy: [batch, n_channels, time]. probability: [batch, frame, N_CLASSES].
        """
        more = [estimate[:, 0]]
        n_frames = probability.shape[1]
        n_most = 1 + n_frames * self.frame // NEAREST
        for signal in (noisy[:, 0], estimate[:, 0]):
            mean = torch.zeros_like(signal)
            if n_frames * self.frame > 2 * (self.side + self.shift):
                for kind in range(N_CLASSES - 1):
                    at, weight = peaks(probability[..., kind], n_most, APART // self.frame)
                    mean = mean + ensemble_mean(signal, noisy[:, 0], at * self.frame, weight, self.side, self.shift)
            more.append(mean)
        return torch.stack(more, dim=1)

    def sounds(self, estimate: Tensor, noisy: Tensor) -> Tensor:
        """Return logits [batch, frame, N_CLASSES] of the heart sounds of windows, given their estimate."""
        logits: Tensor = self.beats(estimate, noisy)
        return logits


class OnePass(nn.Module):
    """[batch, n_channels + N_MORE, time] -> [batch, 1, time]: one pass of a model with more than one.

    The channels after those of a window are those of WithBeats.known, zero in the first pass.
    """

    def __init__(self, model: WithBeats) -> None:
        super().__init__()
        self.model = model

    def forward(self, noisy: Tensor) -> Tensor:
        estimate: Tensor = self.model.denoiser(noisy)
        return estimate

    def sounds(self, estimate: Tensor, noisy: Tensor) -> Tensor:
        """Return the logits of WithBeats.sounds."""
        return self.model.sounds(estimate, noisy[:, : -self.model.n_more])
