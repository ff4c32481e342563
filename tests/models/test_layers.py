"""What denoisers share: sampling down and up, padding, margins, norms."""

import pytest
import torch
from torch import Tensor, nn

from models.parts.layers import UpConv, make_norm, run_padded, upsample_linear


def noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def test_upsampling_undoes_decimation_of_a_ramp() -> None:
    """Linear in, linear out at the same places, but for the last sample, which has no right neighbour."""
    ramp = torch.arange(20.0)[None, None]
    assert torch.equal(upsample_linear(ramp[..., ::2])[..., :-1], ramp[..., :-1])


@pytest.mark.parametrize("kernel", [1, 3, 5, 9, 15])
def test_transposed_convolution_puts_sample_i_on_sample_2i(kernel: int) -> None:
    up = UpConv(1, 1, kernel, stride=2)
    with torch.no_grad():
        up.conv.weight.zero_()[0, 0, kernel // 2] = 1
        assert up.conv.bias is not None
        up.conv.bias.zero_()
        estimate = up(torch.arange(1.0, 8.0)[None, None])[0, 0]
    assert torch.equal(estimate[::2], torch.arange(1.0, 8.0))
    assert not estimate[1::2].any()


@pytest.mark.parametrize("n_samples", [1, 2, 5, 31, 32, 33])
def test_padding_reflects_at_the_end_and_is_cropped_back(n_samples: int) -> None:
    seen: list[Tensor] = []

    def net(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    noisy = noise(1, 2, n_samples)
    assert torch.equal(run_padded(net, noisy, 16), noisy)
    assert seen[0].shape[-1] % 16 == 0 and seen[0].shape[-1] >= 32
    if 1 < n_samples < seen[0].shape[-1]:
        assert torch.equal(seen[0][..., n_samples], noisy[..., -2])


@pytest.mark.parametrize("n_samples", [1, 2, 40, 64])
def test_a_margin_reflects_at_both_ends(n_samples: int) -> None:
    """At least as many samples as asked for stand on either side, and the whole is a multiple."""
    seen: list[Tensor] = []

    def net(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    noisy = noise(1, 2, n_samples)
    assert torch.equal(run_padded(net, noisy, 16, 20), noisy)
    assert seen[0].shape[-1] % 16 == 0 and seen[0].shape[-1] >= n_samples + 40
    torch.testing.assert_close(seen[0][..., 20 : 20 + n_samples], noisy)
    if n_samples > 20:
        assert torch.equal(seen[0][..., :20], noisy[..., 1:21].flip(-1))


@pytest.mark.parametrize("n_channels", [1, 2, 3, 8, 17, 24])
def test_no_group_holds_a_single_channel_unless_there_is_just_one(n_channels: int) -> None:
    norm = make_norm("group", n_channels)
    assert isinstance(norm, nn.GroupNorm)
    assert n_channels == 1 or n_channels // norm.num_groups >= 2
