"""Models on a learned encoding, the gated U-Net and the two-stage Transformer: what sets each apart."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.base import DenoiserConfig
from models.conv_transformer import ConvTransformerConfig
from models.demucs import DemucsConfig
from models.parts.encoded import EncodedDenoiser, Mask
from models.pixel_shuffle import PixelShuffleConfig
from models.pixel_shuffle_transformer import PixelShuffleTransformerConfig
from models.s4d import S4dConfig
from models.tcn_mask import TcnMaskConfig
from models.two_stage_transformer import StretchTransformer, TwoStageTransformerConfig


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield


class Same(nn.Module):
    def __init__(self, value: float | None = None) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x if self.value is None else torch.full_like(x, self.value)


@pytest.mark.parametrize(
    ("mask", "value", "expected"),
    [("sigmoid", 0.0, 0.5), ("sigmoid", -1e3, 0.0), ("relu", 3.0, 3.0), ("relu", -3.0, 0.0), ("none", None, 1.0)],
)
def test_a_mask_multiplies_the_encoding_and_none_replaces_it(mask: Mask, value: float | None, expected: float) -> None:
    net = EncodedDenoiser(Same(), Same(value), Same(), mask, "linear", 4, 1)
    noisy = torch.randn(2, 1, 30)
    torch.testing.assert_close(net(noisy), expected * noisy)


@pytest.mark.parametrize("cls", [TcnMaskConfig, ConvTransformerConfig, S4dConfig], ids=lambda cls: cls.name)
@pytest.mark.parametrize("mask", ["sigmoid", "relu", "none"])
def test_the_choice_of_mask_adds_no_parameters(cls: type[DenoiserConfig], mask: str) -> None:
    counts = [sum(p.numel() for p in config.build().parameters()) for config in (cls(), cls(mask=mask))]  # type: ignore[call-arg]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("attending", "plain"),
    [
        (PixelShuffleTransformerConfig(levels=2, norm="none"), PixelShuffleConfig(levels=2, width=4)),
        (DemucsConfig(levels=2, bottleneck="attention"), DemucsConfig(levels=2, bottleneck="none")),
        (DemucsConfig(levels=2, bottleneck="lstm"), DemucsConfig(levels=2, bottleneck="none")),
    ],
    ids=["pixel_shuffle_transformer", "demucs-attention", "demucs-lstm"],
)
def test_the_bottleneck_reaches_farther_in_time_than_the_convolutions(
    attending: DenoiserConfig, plain: DenoiserConfig
) -> None:
    """The last sample moves the 201st from the end only through the bottleneck, so time runs both ways in it."""
    noisy = 0.3 * torch.randn(1, 1, 256)
    moved = noisy.clone()
    moved[..., -1] += 3
    with torch.no_grad():
        without, through = plain.build().eval(), attending.build().eval()
        assert torch.equal(without(moved)[..., 55], without(noisy)[..., 55])
        assert not torch.equal(through(moved)[..., 55], through(noisy)[..., 55])


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("skip", [True, False])
def test_gates_of_a_fresh_demucs_leave_the_signal_its_size(levels: int, skip: bool) -> None:
    """With torch's own draw of weights 5 levels without skip leave a thousandth."""
    noisy = 0.3 * torch.randn(16, 1, 512)
    with torch.no_grad():
        estimate = DemucsConfig(levels=levels, skip=skip, bottleneck="none").build()(noisy)
    assert 0.1 < estimate.std() / noisy.std() < 10


@settings(deadline=None, max_examples=30)
@given(n_steps=st.integers(1, 90), time_steps=st.sampled_from([4, 10, 40]))
def test_stretches_cover_every_step_once_in_the_mean(n_steps: int, time_steps: int) -> None:
    """A layer that changes nothing gives its input back, whatever the number of steps."""
    stage = StretchTransformer(time_steps, 2, 8, 0.0, True)
    stage.layer = nn.Identity()  # type: ignore[assignment]
    x = torch.randn(2, 3, n_steps)
    torch.testing.assert_close(stage(x), x)


def test_one_stretch_attends_among_channels_over_its_steps() -> None:
    """A window as long as a stretch goes to the layer whole: tokens are channels, features steps."""
    stage = StretchTransformer(40, 20, 64, 0.0, True).eval()
    x = torch.randn(2, 5, 40)
    with torch.no_grad():
        torch.testing.assert_close(stage(x), stage.layer(x))
        moved = x.clone()
        moved[:, 4, 39] += 1
        assert not torch.equal(stage(moved)[:, 0, 0], stage(x)[:, 0, 0])


@pytest.mark.parametrize("n_samples", [100, 1280, 3000])
def test_weights_of_the_two_stages_fit_any_window(n_samples: int) -> None:
    net = TwoStageTransformerConfig().build().eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, n_samples)).shape == (1, 1, n_samples)
