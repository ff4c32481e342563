"""Diagonal state-space layers (S4D: Gu et al. 2022, arXiv:2206.11893) on a learned encoding, in plain PyTorch."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.encoded import EncodedDenoiser, Mask, frame_decoder, frame_encoder
from models.parts.exporting import Parts, convolved_both_ways, exporting
from models.parts.layers import Norm, Output, check_choices, check_counts, check_named, make_norm

StateInit = Literal["lin", "real"]

DT_MIN, DT_MAX = 1e-3, 1e-1
"""Range of the initial step sizes, as in the paper: memories of 10 to 1000 steps."""


class StateSpace(nn.Module):
    """A linear state-space model per channel, run in both directions of time: [batch, width, steps] -> the same shape.

    x' = A x + B u, y = 2 Re(C x) with diagonal A and B = 1, discretised by zero-order hold. As a convolution its
    kernel is 2 Re(sum_n C_n (exp(dt A_n) - 1) / A_n * exp(dt A_n l)) (section 3 of the paper), applied by FFT.
    """

    def __init__(self, width: int, n_states: int, init: StateInit) -> None:
        super().__init__()
        n_pairs = max(1, n_states // 2)
        state = torch.arange(n_pairs, dtype=torch.float32)
        # S4D-Lin: A_n = -1/2 + i pi n. S4D-Real: A_n = -(n + 1).
        decay = torch.full((n_pairs,), 0.5) if init == "lin" else state + 1
        frequency = math.pi * state if init == "lin" else torch.zeros(n_pairs)
        self.log_decay = nn.Parameter(decay.log().repeat(width, 1))
        self.frequency = nn.Parameter(frequency.repeat(width, 1))
        low, high = math.log(DT_MIN), math.log(DT_MAX)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(width, 1))
        # [direction, width, state, (real, imaginary)]
        self.output = nn.Parameter(torch.randn(2, width, n_pairs, 2) * math.sqrt(0.5))
        self.direct = nn.Parameter(torch.randn(width, 1))

    def kernels(self, n_steps: int) -> Tensor:
        """Return the impulse responses float[direction, width, n_steps]."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        step = a * self.log_dt.exp()
        weight = torch.view_as_complex(self.output) * ((step.exp() - 1) / a)
        powers = (step.unsqueeze(-1) * torch.arange(n_steps, device=step.device)).exp()
        kernels: Tensor = 2 * torch.einsum("dhn,hnl->dhl", weight, powers).real
        return kernels

    def real_kernels(self, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return the two of `kernels`, computed without complex numbers."""
        a = Parts(-self.log_decay.exp(), self.frequency)
        step = a * self.log_dt.exp()
        growth = step.real.exp()
        grown = Parts(growth * step.imag.cos() - 1, growth * step.imag.sin())
        inverse = Parts(a.real, -a.imag) / (a.real.square() + a.imag.square())
        weight = Parts(*self.output.unbind(-1)) * (grown * inverse)
        steps = torch.arange(n_steps)
        size, angle = (step.real.unsqueeze(-1) * steps).exp(), step.imag.unsqueeze(-1) * steps
        seen = weight.real.unsqueeze(-2) @ (size * angle.cos()) - weight.imag.unsqueeze(-2) @ (size * angle.sin())
        forth, back = (2 * seen.squeeze(-2)).unbind(0)
        return forth, back

    def forward(self, u: Tensor) -> Tensor:
        # Complex numbers and FFTs do not exist in half precision.
        with torch.autocast(u.device.type, enabled=False):
            x, n_steps = u.float(), u.shape[-1]
            if exporting():
                return convolved_both_ways(x, *self.real_kernels(n_steps)) + self.direct * x
            n_fft = 2 * n_steps
            forth, back = torch.fft.rfft(self.kernels(n_steps), n_fft)
            # The conjugate spectrum reverses a kernel in time; at twice the length the ends do not overlap.
            seen: Tensor = torch.fft.irfft(torch.fft.rfft(x, n_fft) * (forth + back.conj()), n_fft)
            return seen[..., :n_steps] + self.direct * x


class StateSpaceBlock(nn.Module):
    """Norm, state space, GELU, gated pointwise convolution beside a shortcut: [batch, width, steps] kept."""

    def __init__(self, width: int, n_states: int, init: StateInit, norm: Norm, dropout: float) -> None:
        super().__init__()
        drop: list[nn.Module] = [nn.Dropout1d(dropout)] if dropout > 0 else []
        self.net = nn.Sequential(
            make_norm(norm, width),
            StateSpace(width, n_states, init),
            nn.GELU(),
            *drop,
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(dim=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.net(x)
        return added


@register("s4d")
@dataclass(frozen=True, slots=True)
class S4dConfig(DenoiserConfig):
    """`layers` state-space blocks of `width` channels, each with `n_states` states, on frames every `stride` samples.

    `init` is the paper's S4D-Lin (oscillating states) or S4D-Real (decaying ones).
    """

    stride: Annotated[int, CategoricalDistribution((2, 4, 8, 16))] = 8
    overlap: Annotated[int, IntDistribution(1, 3)] = 2
    width: Annotated[int, IntDistribution(32, 128, step=32)] = 64
    layers: Annotated[int, IntDistribution(2, 8)] = 4
    n_states: Annotated[int, CategoricalDistribution((8, 16, 32, 64))] = 16
    init: Annotated[StateInit, CategoricalDistribution(("lin", "real"))] = "lin"
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "layer"
    mask: Annotated[Mask, CategoricalDistribution(("none", "sigmoid", "relu"))] = "none"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "linear"
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0

    def __post_init__(self) -> None:
        model, c = "s4d", self
        check_counts(model, stride=c.stride, overlap=c.overlap, width=c.width, layers=c.layers)
        if c.n_states < 2 or c.n_states % 2:
            raise ValueError(
                f"{model}: n_states = {c.n_states}, must be even and at least 2, for states come in conjugate pairs: "
                f"try {max(2, c.n_states + 1)}"
            )
        check_choices(model, c.norm, "gelu", c.output, c.dropout)
        check_named(model, "init", c.init, get_args(StateInit))
        check_named(model, "mask", c.mask, get_args(Mask))

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("s4d", n_channels=n_channels)
        c = self
        body = nn.Sequential(
            *(StateSpaceBlock(c.width, c.n_states, c.init, c.norm, c.dropout) for _ in range(c.layers)),
            nn.Conv1d(c.width, c.width, 1),
        )
        encoder = frame_encoder(n_channels, c.width, c.stride, c.overlap)
        decoder = frame_decoder(c.width, c.stride, c.overlap)
        return EncodedDenoiser(encoder, body, decoder, c.mask, c.output, c.stride, c.overlap)
