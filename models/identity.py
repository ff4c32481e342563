"""The baseline that every denoiser must beat: the estimate is channel 0, unchanged."""

from dataclasses import dataclass

from torch import Tensor, nn

from models.base import DenoiserConfig, register


class Identity(nn.Module):
    """[batch, channel, time] -> its channel 0, [batch, 1, time]. There are no parameters to train."""

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy[:, :1]


@register("identity")
@dataclass(frozen=True, slots=True)
class IdentityConfig(DenoiserConfig):
    """The config of the baseline, without fields."""

    def build(self, n_channels: int = 1) -> nn.Module:
        return Identity()
