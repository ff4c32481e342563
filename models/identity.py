"""The floor that every denoiser must beat: the output is channel 0 as it came."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import DenoiserConfig, register


class Identity(nn.Module):
    """[batch, channel, time] -> its channel 0, [batch, 1, time]. No parameters: no step to train."""

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy[:, :1]


@register("identity")
@dataclass(frozen=True, slots=True)
class IdentityConfig(DenoiserConfig):
    """Nothing to choose."""

    def build(self, n_channels: int = 1) -> nn.Module:
        return Identity()
