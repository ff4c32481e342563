"""How far a denoiser sees, against what its layers say."""

import pytest
import torch
from torch import Tensor, nn

from models.canceller import CancellerConfig
from models.identity import IdentityConfig
from models.parts.layers import SameConv
from models.parts.receptive import receptive_field_samples
from models.pixel_shuffle_transformer import PixelShuffleTransformerConfig
from models.s4d import S4dConfig
from models.tcn_mask import TcnMaskConfig
from models.wave_unet import WaveUNetConfig


class Silent(nn.Module):
    def forward(self, noisy: Tensor) -> Tensor:
        return 0 * noisy[:, :1]


def test_identity_sees_one_sample_and_silence_none() -> None:
    assert receptive_field_samples(IdentityConfig().build(), 1, 64) == 1
    assert receptive_field_samples(Silent(), 1, 64) == 0


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 1), (5, 3), (9, 7)])
def test_a_convolution_sees_its_dilated_kernel(kernel: int, dilation: int) -> None:
    conv = SameConv(2, 1, kernel, dilation=dilation)
    assert receptive_field_samples(conv, 2, 201) == (kernel - 1) * dilation + 1


def test_a_tcn_sees_what_its_dilations_add_up_to() -> None:
    """Norm "none": any other sees the whole window through its statistics."""
    torch.manual_seed(0)
    blocks, kernel, stride, overlap = 3, 3, 4, 1
    config = TcnMaskConfig(stride=stride, overlap=overlap, blocks=blocks, kernel=kernel, repeats=1, norm="none")
    # The middle sample lies on a frame, so overlap frames to either side decode to it; each sees its own kernel.
    frames = 2 * overlap + 1 + (kernel - 1) * (2**blocks - 1)
    expected = (frames - 1) * stride + 2 * overlap * stride + 1
    assert receptive_field_samples(config.build(), 1, 400) == expected


@pytest.mark.parametrize(
    "config",
    [S4dConfig(norm="none"), PixelShuffleTransformerConfig(), CancellerConfig()],
    ids=lambda config: config.name,
)
def test_state_spaces_and_attention_see_the_whole_window(config: S4dConfig) -> None:
    torch.manual_seed(0)
    assert receptive_field_samples(config.build(2), 2, 500) == 500


def test_mode_gradients_and_weights_are_left_as_they_were() -> None:
    net = WaveUNetConfig().build().train()
    assert isinstance(net.up, nn.Module)
    net.up.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        receptive_field_samples(net, 1, 128)
    assert net.training and not net.up.training
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("n_channels", "window", "said"), [(0, 10, "n_channels is 0"), (1, 0, "window_samples is 0")])
def test_empty_windows_are_refused(n_channels: int, window: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        receptive_field_samples(IdentityConfig().build(), n_channels, window)
