"""Forms of operations that ONNX has no complex numbers, factorisations or time loops for.

A model uses them while torch.export traces it (`exporting()`), and torch's own operations otherwise, so that exports
change no bit of what PyTorch computes. Both agree to the rounding of float32.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def exporting() -> bool:
    """Return whether torch.export traces the model."""
    return torch.compiler.is_exporting()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A complex tensor as its real and its imaginary part, with the operations of complex tensors that models use.

    Where a model is annotated to take a complex Tensor, it gets Parts while it is exported.
    """

    real: Tensor
    imag: Tensor

    def __getitem__(self, index: Any) -> "Parts":
        return Parts(self.real[index], self.imag[index])

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(self.real + other.real, self.imag + other.imag)

    def __mul__(self, other: "Parts | Tensor | float") -> "Parts":
        if isinstance(other, Parts):
            real = self.real * other.real - self.imag * other.imag
            return Parts(real, self.real * other.imag + self.imag * other.real)
        return Parts(self.real * other, self.imag * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Tensor) -> "Parts":
        return Parts(self.real / other, self.imag / other)

    def sum(self, dim: int) -> "Parts":
        """Return the sum over an axis."""
        return Parts(self.real.sum(dim), self.imag.sum(dim))

    def transpose(self, first: int, second: int) -> "Parts":
        """Return the parts with two axes swapped."""
        return Parts(self.real.transpose(first, second), self.imag.transpose(first, second))


def spectra_of(frames: Tensor, window: Tensor) -> Parts:
    """Return rfft(frames * window) as products with cosines and sines: [..., window_samples / 2 + 1].

    frames: float[..., window_samples]. window: float[window_samples].
    """
    angle = _angles(len(window))
    cos, sin = _constant(np.cos(angle)), _constant(np.sin(angle))
    windowed = frames * window
    return Parts(windowed @ cos.T, -(windowed @ sin.T))


def frames_of(spectra: Parts, n_samples: int) -> Tensor:
    """Return irfft(spectra, n_samples) for even `n_samples`: float[..., n_samples]."""
    angle = _angles(n_samples)
    # All bins but the first and the last stand for two of the full spectrum.
    share = np.full((len(angle), 1), 2.0 / n_samples)
    share[[0, -1]] = 1.0 / n_samples
    return spectra.real @ _constant(share * np.cos(angle)) - spectra.imag @ _constant(share * np.sin(angle))


def _angles(n_samples: int) -> Any:
    """Return float64[bin, sample]; the product is taken modulo the period, which keeps it exact."""
    turns = np.outer(np.arange(n_samples // 2 + 1), np.arange(n_samples)) % n_samples
    return 2 * np.pi * turns / n_samples


def _constant(values: Any) -> Tensor:
    return torch.tensor(values.tolist(), dtype=torch.float32)


def convolved_both_ways(x: Tensor, forth: Tensor, back: Tensor) -> Tensor:
    """Return x [batch, channel, time] convolved with `forth` and, in reversed time, with `back`: the same shape.

    forth, back: float[channel, time], for each channel, of the length of x.
    """
    reach = x.shape[-1] - 1
    # The kernel's middle is the sample itself, where both add up.
    kernel = functional.pad(forth.flip(-1), (0, reach)) + functional.pad(back, (reach, 0))
    return functional.conv1d(functional.pad(x, (reach, reach)), kernel.unsqueeze(1), groups=x.shape[1])


def solved(gram: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Return the solution of gram @ solution = right by Newton's iteration for the inverse (Schulz 1933).

    The number of steps is fixed: each squares the distance to the inverse, which starts at 1 - 1 / condition. A step of
    iterative refinement follows.

    gram: float[batch, k, k], symmetric, with eigenvalues of at least `ridge` times the mean of its diagonal.
    right: float[batch, k, 1].
    """
    k = gram.shape[1]
    # An eigenvalue is at most the trace, and the largest row sum at most sqrt(k) times the largest eigenvalue.
    n_steps = math.ceil(math.log2(k**1.5 / ridge)) + 4
    unit = torch.eye(k)
    inverse = unit / gram.abs().sum(2, keepdim=True).amax(1, keepdim=True)
    for _ in range(n_steps):
        inverse = inverse + inverse @ (unit - gram @ inverse)
    solution = inverse @ right
    return solution + inverse @ (right - gram @ solution)


def lstm(net: nn.LSTM, x: Tensor) -> Tensor:
    """Return the output of a bidirectional LSTM on [batch, time, feature] by ONNX's own operator.

    torch.export would unroll the loop over time. ONNX orders the gates i, o, f, c, torch i, f, g, o.
    """
    steps, hidden = x.transpose(0, 1), net.hidden_size
    for layer in range(net.num_layers):
        names = (f"l{layer}", f"l{layer}_reverse")
        into, past = (
            torch.stack([_onnx_gates(getattr(net, f"weight_{kind}_{name}")) for name in names]) for kind in ("ih", "hh")
        )
        bias = torch.stack(
            [torch.cat([_onnx_gates(getattr(net, f"bias_{kind}_{name}")) for kind in ("ih", "hh")]) for name in names]
        )
        n_steps, batch = steps.shape[:2]
        seen = torch.onnx.ops.symbolic(
            "LSTM",
            (steps, into, past, bias),
            {"hidden_size": hidden, "direction": "bidirectional"},
            dtype=torch.float32,
            shape=(n_steps, 2, batch, hidden),
        )
        steps = seen.transpose(1, 2).reshape(n_steps, batch, 2 * hidden)
    return steps.transpose(0, 1)


def _onnx_gates(weight: Tensor) -> Tensor:
    i, f, g, o = weight.chunk(4)
    return torch.cat((i, o, f, g))
