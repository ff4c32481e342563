"""A run's whole path as one module: band-pass, front end, scaling, network, undoing of the scaling."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import sosfilt
from torch import Tensor, nn
from torch.nn import functional

from data.config import DataConfig
from data.filters import bandpass_sections, continued_samples
from data.mixing.mixture import window_scale
from data.streaming import forward_band
from models.beats import WithBeats
from models.diffusion import Diffusion
from models.parts.layers import repeat_ends
from models.parts.streaming import CausalDenoiser

LEFT_OUT = 1e-8  # of the sum of the magnitudes of the band-pass's response
LONGEST_S = 60.0


class BandPass(nn.Module):
    """The zero-phase band-pass of data.filters on [batch, channel, time], as two convolutions.

    scipy's recursion runs forwards and backwards with the state of a constant signal before each end. That is the
    convolution with its impulse response, cut where it has died away, of a signal continued by its end sample.
    """

    kernel: Tensor

    def __init__(self, rate_hz: float, low_hz: float, high_hz: float) -> None:
        super().__init__()
        self.n_odd = continued_samples(rate_hz, low_hz, high_hz)
        response = impulse_response(rate_hz, low_hz, high_hz)
        # torch's convolution does not reverse its kernel.
        self.register_buffer("kernel", torch.from_numpy(response[::-1].astype(np.float32)).view(1, 1, -1))

    @property
    def min_samples(self) -> int:
        """Return the fewest samples that are filtered."""
        return self.n_odd + 1

    def forward(self, signals: Tensor) -> Tensor:
        n_channels, n_samples = signals.shape[1], signals.shape[2]
        # A constant does not pass. Without it, one far above the signal (gravity) costs no digits.
        x = signals - signals.mean(dim=2, keepdim=True)
        # Odd reflection, by indices that are right for any length.
        head = 2 * x[..., :1] - x[..., 1 : self.n_odd + 1].flip(-1)
        tail = 2 * x[..., -1:] - x[..., n_samples - self.n_odd - 1 : n_samples - 1].flip(-1)
        x = torch.cat((head, x, tail), dim=2)
        reach = self.kernel.shape[-1] - 1
        kernel = self.kernel.expand(n_channels, 1, -1)
        x = functional.conv1d(repeat_ends(x, reach, 0), kernel, groups=n_channels)
        x = functional.conv1d(repeat_ends(x, 0, reach), kernel.flip(-1), groups=n_channels)
        return x[..., self.n_odd : self.n_odd + n_samples]


class ForwardPass(nn.Module):
    """The causal band-pass of data.streaming on [batch, channel, time], as convolutions, moved back by its delay."""

    kernel: Tensor

    def __init__(self, rate_hz: float, low_hz: float, high_hz: float) -> None:
        super().__init__()
        self.delay = forward_band(rate_hz, low_hz, high_hz).delay_samples
        response = impulse_response(rate_hz, low_hz, high_hz)
        # torch's convolution does not reverse its kernel.
        self.register_buffer("kernel", torch.from_numpy(response[::-1].astype(np.float32)).view(1, 1, -1))

    @property
    def min_samples(self) -> int:
        """Return the fewest samples that are filtered."""
        return 1

    def forward(self, signals: Tensor) -> Tensor:
        n_channels, reach = signals.shape[1], self.kernel.shape[-1] - 1
        kernel = self.kernel.expand(n_channels, 1, -1)
        x = repeat_ends(signals - signals[..., :1], 0, self.delay)
        for _ in range(2):
            x = functional.conv1d(functional.pad(x, (reach, 0)), kernel, groups=n_channels)
        return x[..., self.delay :]


def impulse_response(rate_hz: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Return the impulse response of the band-pass in one direction, without the LEFT_OUT of it at its end."""
    sos = bandpass_sections(rate_hz, low_hz, high_hz)
    impulse = np.zeros(math.ceil(LONGEST_S * rate_hz))
    impulse[0] = 1.0
    response = np.asarray(sosfilt(sos, impulse))
    left = np.cumsum(np.abs(response[::-1]))[::-1]
    return response[: max(2, int(np.count_nonzero(left > LEFT_OUT * left[0])))]


class WholePath(nn.Module):
    """noisy float32[batch, channel, time], in any unit, at the model's rate -> its estimate float32[batch, time].

    A model with a network for beats gives a second output, the probabilities of S1, S2 and none in its frames,
    float32[batch, frame, 3]. A diffusion takes a second input, its noise (models.diffusion.Diffusion.noise).
    """

    def __init__(self, model: nn.Module, data: DataConfig) -> None:
        super().__init__()
        self.model = model
        band = BandPass if data.band_phase == "zero" else ForwardPass
        self.band = band(data.rate_hz, *data.band_hz) if data.band_hz is not None else None

    def forward(self, noisy: Tensor, noise: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        signals = noisy if self.band is None else self.band(noisy)
        # A causal model scales itself, by what it has heard so far.
        scale = torch.ones(1) if isinstance(self.model, CausalDenoiser) else window_scale(signals)
        scaled = signals / scale
        estimate = self.model(scaled) if noise is None else self.model(scaled, noise)
        unscaled: Tensor = (estimate * scale)[:, 0]
        if not isinstance(self.model, WithBeats):
            return unscaled
        return unscaled, self.model.sounds(estimate, scaled).softmax(dim=-1)

    @property
    def min_samples(self) -> int:
        """Return the length of the shortest window that is taken."""
        return 1 if self.band is None else self.band.min_samples

    @property
    def diffusion(self) -> Diffusion | None:
        """Return the part of the model that takes noise; None for a model without one."""
        return next((part for part in self.model.modules() if isinstance(part, Diffusion)), None)

    @property
    def fixed_length(self) -> str:
        """Return why only windows of training can be exported; "" if any length can."""
        if isinstance(self.model, WithBeats) and self.model.n_passes > 1:
            return "sounds are averaged between passes"
        return next((reason for part in self.model.modules() if (reason := getattr(part, "fixed_length", ""))), "")
