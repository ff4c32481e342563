"""Layers and checks that two or more denoisers share. All tensors are float [batch, channel, time].

Convolutions are padded by repeating the end sample. Zeros would put a step at both ends of a window, which deep levels
turn into spikes; reflection needs more samples than a deep level has (5120 samples leave 5 after ten halvings).
Repeating works from one sample up and maps a constant to a constant up to the ends.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.parts.exporting import exporting

Norm = Literal["batch", "group", "layer", "none"]
Activation = Literal["leaky_relu", "prelu", "relu", "gelu", "silu"]
Output = Literal["tanh", "linear"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "linear": nn.Identity}


def make_norm(norm: Norm, n_channels: int) -> nn.Module:
    """Build a normalisation of `n_channels`: over the batch, over up to 8 groups per item, over the item, or none.

    "layer" takes its statistics over channels and time of an item (global layer normalisation, Luo & Mesgarani 2019,
    arXiv:1809.07454). This keeps the changes of amplitude within a window, which statistics per step would remove.
    """
    if norm == "batch":
        return nn.BatchNorm1d(n_channels)
    if norm == "none":
        return nn.Identity()
    # At least two channels per group: with one, the bias of the convolution before it would have no effect.
    fitting = [n for n in range(1, 9) if n_channels % n == 0 and n_channels // n >= 2]
    n_groups = max(fitting, default=1) if norm == "group" else 1
    return nn.GroupNorm(n_groups, n_channels)


def repeat_ends(x: Tensor, left: int, right: int) -> Tensor:
    """Pad time by repeating the end samples. torch's own padding has no deterministic gradient on CUDA."""
    first = x[..., :1].expand(*x.shape[:-1], left)
    last = x[..., -1:].expand(*x.shape[:-1], right)
    return torch.cat((first, x, last), dim=-1)


class SameConv(nn.Module):
    """Convolution with a centred odd kernel: [batch, in, time] -> [batch, out, ceil(time / stride)]."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.reach = dilation * (kernel // 2)
        self.conv = nn.Conv1d(n_in, n_out, kernel, stride, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        estimate: Tensor = self.conv(repeat_ends(x, self.reach, self.reach) if self.reach else x)
        return estimate


class UpConv(nn.Module):
    """Transposed convolution, the reverse of SameConv: [batch, in, time] -> [batch, out, stride * time].

    Input sample i is centred on output sample ``stride * i``, as in the strided convolution.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride, self.reach = stride, kernel // 2
        self.conv = nn.ConvTranspose1d(n_in, n_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        n_extra = -(-(self.reach + self.stride) // self.stride)
        full: Tensor = self.conv(repeat_ends(x, n_extra, n_extra))
        start = n_extra * self.stride + self.reach
        return full[..., start : start + self.stride * x.shape[-1]]


def conv_block(
    n_in: int,
    n_out: int,
    kernel: int,
    norm: Norm,
    activation: Activation,
    dropout: float = 0.0,
    stride: int = 1,
) -> nn.Sequential:
    """Build a convolution followed by normalisation, activation and dropout of whole channels."""
    return nn.Sequential(SameConv(n_in, n_out, kernel, stride), *finish(n_out, norm, activation, dropout))


def finish(n_channels: int, norm: Norm, activation: Activation, dropout: float) -> list[nn.Module]:
    """Build the layers that follow a convolution of `n_channels` outputs."""
    drop: list[nn.Module] = [nn.Dropout1d(dropout)] if dropout > 0 else []
    return [make_norm(norm, n_channels), ACTIVATIONS[activation](), *drop]


def upsample_linear(x: Tensor) -> Tensor:
    """Double the rate by linear interpolation: [..., time] -> [..., 2 * time], with output 2i equal to input i.

    This is the reverse of ``x[..., ::2]``. ``F.interpolate`` would shift the samples (by a quarter of an input sample,
    or by up to half of one with align_corners), and its gradient is not deterministic on CUDA.
    """
    following = torch.cat((x[..., 1:], x[..., -1:]), dim=-1)
    return torch.stack((x, 0.5 * (x + following)), dim=-1).flatten(-2)


def run_padded(net: Callable[[Tensor], Tensor], noisy: Tensor, multiple: int, margin_samples: int = 0) -> Tensor:
    """Run a net that needs a multiple of `multiple` samples on any length >= 1, and crop its output.

    The window is extended by reflection, as often as needed: by at least `margin_samples` at both ends, and to the next
    multiple. The net gets at least two multiples, because normalisations need more than one step.

    Raises ValueError if `noisy` is not [batch, channel, time] with at least one sample.
    """
    check_input(noisy)
    n_samples, n_before = noisy.shape[-1], margin_samples
    n_padded = padded_samples(n_samples, multiple, margin_samples)
    # An exported model gets any length, so its graph always has the padding.
    if n_padded == n_samples and not exporting():
        return net(noisy)
    period = max(1, 2 * (n_samples - 1))
    position = torch.arange(-n_before, n_padded - n_before, device=noisy.device)
    # ONNX has no remainder of a tensor by a number that depends on a length.
    position = position % (torch.scalar_tensor(period, dtype=torch.int64) if exporting() else period)
    reflected = torch.where(position < n_samples, position, period - position)
    return net(noisy[..., reflected])[..., n_before : n_before + n_samples]


def padded_samples(n_samples: int, multiple: int, margin_samples: int) -> int:
    """Return the length to which run_padded extends a window of `n_samples`."""
    # Rounded up without a negative number, which ONNX would divide towards zero.
    return max(2, (n_samples + 2 * margin_samples + multiple - 1) // multiple) * multiple


def check_input(noisy: Tensor) -> None:
    """Raise ValueError if `noisy` is not [batch, channel, time] with at least one sample."""
    if noisy.ndim != 3 or noisy.shape[-1] < 1:
        raise ValueError(
            f"a denoiser takes [batch, channel, time] with time >= 1, got shape {list(noisy.shape)}: "
            "add the missing axis or give a window that is not empty"
        )


def check_counts(model: str, **counts: int) -> None:
    """Raise ValueError unless every named count is an int of at least 1."""
    for field, value in counts.items():
        if value < 1:
            raise ValueError(f"{model}: {field} = {value}, must be at least 1: raise {field}")


def check_kernels(model: str, **kernels: int) -> None:
    """Raise ValueError unless every kernel is odd, so that it has a centre and shifts nothing in time."""
    for field, value in kernels.items():
        if value < 1 or value % 2 == 0:
            raise ValueError(f"{model}: {field} = {value}, must be odd and at least 1: try {abs(value) + 1}")


def check_named(model: str, field: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{model}: {field} = {value!r}, must be one of {', '.join(known)}: choose one of these")


def check_choices(model: str, norm: str, activation: str, output: str, dropout: float) -> None:
    """Raise ValueError unless norm, activation and output are known and dropout is in [0, 1)."""
    for field, value, known in (
        ("norm", norm, get_args(Norm)),
        ("activation", activation, get_args(Activation)),
        ("output", output, get_args(Output)),
    ):
        check_named(model, field, value, known)
    if not 0 <= dropout < 1:
        raise ValueError(f"{model}: dropout = {dropout}, must lie in [0, 1): set it to 0 for none")
