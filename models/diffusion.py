"""Diffusion conditioned on the noisy signal: v-prediction (Salimans & Ho 2022, arXiv:2202.00512) and a deterministic
few-step sampler (DDIM: Song, Meng & Ermon 2021, arXiv:2010.02502).

With angle a = pi/2 * t, x_t = cos(a) x_0 + sin(a) e and v = cos(a) e - sin(a) x_0, so that x_0 = cos(a) x_t - sin(a) v.
An estimate costs `steps` runs of the network; a training step by `training_loss` costs one.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.attention import TimeTransformer, check_attention, sinusoidal_encoding
from models.parts.layers import (
    SameConv,
    UpConv,
    check_counts,
    check_kernels,
    check_named,
    make_norm,
    padded_samples,
    run_padded,
    upsample_linear,
)

Start = Literal["noise", "noisy"]

N_TIME = 32
"""Width of the embedding of the diffusion time."""

START_SEED = 0
"""Seed of the noise that every sampling starts from, so that an estimate is a function of its input."""


class TimedBlock(nn.Module):
    """Two convolutions beside a shortcut, scaled and shifted by the diffusion time: [batch, n_in -> n_out, steps]."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Sequential(SameConv(n_in, n_out, kernel), make_norm("group", n_out))
        self.time = nn.Linear(N_TIME, 2 * n_out)
        self.second = nn.Sequential(nn.SiLU(), SameConv(n_out, n_out, kernel), make_norm("group", n_out), nn.SiLU())
        self.shortcut = nn.Conv1d(n_in, n_out, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.time(embedded).unsqueeze(-1).chunk(2, dim=1)
        added: Tensor = self.shortcut(x) + self.second(self.first(x) * (1 + scale) + shift)
        return added


class TimedUNet(nn.Module):
    """[batch, n_channels + 1, time] and diffusion times [batch] -> v [batch, 1, time]."""

    def __init__(self, config: "DiffusionConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        widths = [c.width * 2**level for level in range(c.levels)]
        deep = widths[-1]
        self.embed = nn.Sequential(nn.Linear(N_TIME, N_TIME), nn.SiLU(), nn.Linear(N_TIME, N_TIME), nn.SiLU())
        frame = 2 * c.stride + 1
        self.into = SameConv(n_channels + 1, c.width, frame, c.stride)
        self.down = nn.ModuleList(
            TimedBlock(n_in, n_out, c.kernel) for n_in, n_out in zip([c.width, *widths], widths, strict=False)
        )
        self.deep = TimedBlock(deep, deep, c.kernel)
        self.attention = (
            TimeTransformer(deep, c.nhead, 2 * deep, c.encoder_layers) if c.encoder_layers else nn.Identity()
        )
        below = [*widths[1:], deep]
        self.up = nn.ModuleList(
            TimedBlock(n_below + n_out, n_out, c.kernel)
            for n_below, n_out in zip(reversed(below), reversed(widths), strict=True)
        )
        self.out = UpConv(c.width, 1, frame, c.stride)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        # The encoding is for integer positions, so times from 0 to 1 are scaled to 0 ... 1000.
        positions = sinusoidal_encoding(1001, N_TIME).to(x.device)
        embedded = self.embed(positions[(1000 * times).round().long()])
        x = self.into(x)
        passed: list[Tensor] = []
        for block in self.down:
            x = block(x, embedded)
            passed.append(x)
            x = x[..., ::2]
        x = self.attention(self.deep(x, embedded))
        for block in self.up:
            x = block(torch.cat((upsample_linear(x), passed.pop()), dim=1), embedded)
        v: Tensor = self.out(x)
        return v.float()


class Diffusion(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]; the estimate does not depend on torch's seed."""

    def __init__(self, config: "DiffusionConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        self.net = TimedUNet(c, n_channels)
        self.steps, self.start, self.start_time, self.clean_rms = c.steps, c.start, c.start_time, c.clean_rms
        self.multiple = c.stride * 2**c.levels

    def forward(self, noisy: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the estimate. noise: float[n], see `noise`, for an exported model, which cannot draw it."""
        return run_padded(lambda padded: self.sample(padded, noise), noisy, self.multiple, self.multiple)

    def noise_samples(self, n_samples: int) -> int:
        """Return the samples of noise that the estimate of a window of `n_samples` takes."""
        return padded_samples(n_samples, self.multiple, self.multiple)

    def noise(self, n_samples: int) -> Tensor:
        """Return the unit normal noise float32[n_samples] that sampling starts from, on the CPU."""
        return torch.randn(n_samples, generator=torch.Generator().manual_seed(START_SEED))

    def sample(self, noisy: Tensor, noise: Tensor | None = None) -> Tensor:
        """Run the sampler on a length that is a multiple of ``stride * 2 ** levels``.

        noise: float[time]; None takes `noise`.
        """
        noisy = noisy.float() / self.clean_rms
        noise = self.noise(noisy.shape[-1]) if noise is None else noise
        noise = noise.to(noisy.device).expand(noisy.shape[0], 1, -1)
        first = 1.0 if self.start == "noise" else self.start_time
        angles = [0.5 * math.pi * first * (1 - i / self.steps) for i in range(self.steps + 1)]
        x = noise if self.start == "noise" else math.cos(angles[0]) * noisy[:, :1] + math.sin(angles[0]) * noise
        for now, following in itertools.pairwise(angles):
            v = self.net(torch.cat((x, noisy), dim=1), noisy.new_full((noisy.shape[0],), now / (0.5 * math.pi)))
            clean = math.cos(now) * x - math.sin(now) * v
            residue = math.sin(now) * x + math.cos(now) * v
            x = math.cos(following) * clean + math.sin(following) * residue
        return x * self.clean_rms

    def training_loss(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Return the mean squared error of v, float[], at random diffusion times.

        Noise and times are drawn from torch's generator. This is minimised instead of a loss between ``module(noisy)``
        and `clean`, and takes one run of the network instead of `steps`.

        noisy: [batch, n_channels, time]. clean: [batch, 1, time].
        """
        times = torch.rand(len(noisy), device=noisy.device)

        def error(both: Tensor) -> Tensor:
            given, wanted = both[:, :-1].float() / self.clean_rms, both[:, -1:].float() / self.clean_rms
            noise, angle = torch.randn_like(wanted), 0.5 * math.pi * times[:, None, None]
            x = angle.cos() * wanted + angle.sin() * noise
            v = angle.cos() * noise - angle.sin() * wanted
            miss: Tensor = self.net(torch.cat((x, given), dim=1), times) - v
            return miss.square()

        errors: Tensor = run_padded(error, torch.cat((noisy, clean), dim=1), self.multiple, self.multiple)
        return errors.mean()


@register("diffusion")
@dataclass(frozen=True, slots=True)
class DiffusionConfig(DenoiserConfig):
    """A U-Net of `levels` levels, `width` channels doubling at each, on frames every `stride` samples.

    start: "noise" samples from pure noise, "noisy" from the noisy signal plus the noise of diffusion time `start_time`.
    clean_rms: typical RMS of the clean signal in a model's input, which is divided by it, because diffusion assumes
        signals of unit size.

    The lab's U-Net has width 64, levels 4, stride 1 and steps 1000.
    """

    steps: Annotated[int, IntDistribution(1, 16)] = 4
    start: Annotated[Start, CategoricalDistribution(("noise", "noisy"))] = "noise"
    start_time: Annotated[float, FloatDistribution(0.2, 0.9)] = 0.6
    clean_rms: Annotated[float, FloatDistribution(0.03, 0.3, log=True)] = 0.1
    stride: Annotated[int, CategoricalDistribution((1, 2, 4, 8))] = 8
    levels: Annotated[int, IntDistribution(2, 4)] = 3
    width: Annotated[int, IntDistribution(16, 64, step=16)] = 32
    kernel: Annotated[int, CategoricalDistribution((3, 5, 7))] = 3
    encoder_layers: Annotated[int, IntDistribution(0, 2)] = 1
    # Every width in range is a multiple of 16, so each nhead in range divides the bottleneck's.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 4

    def __post_init__(self) -> None:
        model, c = "diffusion", self
        check_counts(model, steps=c.steps, stride=c.stride, levels=c.levels, width=c.width)
        check_kernels(model, kernel=c.kernel)
        check_named(model, "start", c.start, get_args(Start))
        for field, value, high in (("start_time", c.start_time, 1.0), ("clean_rms", c.clean_rms, 10.0)):
            if not 0 < value <= high:
                raise ValueError(f"{model}: {field} = {value}, must lie in (0, {high:g}]: choose a value in between")
        if c.encoder_layers < 0:
            raise ValueError(f"{model}: encoder_layers = {c.encoder_layers}, must be at least 0: set it to 0 for none")
        origin = f"width x 2^(levels - 1) = {c.width} x 2^{c.levels - 1}"
        check_attention(model, c.width * 2 ** (c.levels - 1), origin, c.nhead, 1, 0.0, "sinusoidal")

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("diffusion", n_channels=n_channels)
        return Diffusion(self, n_channels)
