"""Filters solved before a denoiser: whatever stands in DENOISERS works behind them."""

import pytest
import torch

from models import DENOISERS
from models.base import DenoiserConfig
from models.front import FrontConfig, SolvedFirst
from models.identity import IdentityConfig
from objectives.cost import n_parameters

FRONT = FrontConfig(filter_taps=17)
every_denoiser = pytest.mark.parametrize("cls", DENOISERS.values(), ids=DENOISERS.keys())


def noise(*shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(7))


@every_denoiser
def test_every_denoiser_works_behind_the_filters(cls: type[DenoiserConfig]) -> None:
    """One channel more goes in, the shape stays, gradients reach all parameters, and an own loss stays one."""
    torch.manual_seed(0)
    net = FRONT.build(cls(), 2)
    assert isinstance(net, SolvedFirst)
    assert n_parameters(net) == n_parameters(cls().build(3))
    noisy = noise(2, 2, 300)
    before = noisy.clone()
    estimate = net(noisy)
    assert estimate.shape == (2, 1, 300)
    assert torch.equal(noisy, before)
    assert hasattr(net, "training_loss") == hasattr(cls().build(3), "training_loss")
    if list(net.parameters()):
        own = getattr(net, "training_loss", None)
        loss = own(noisy, 0.5 * noisy[:, :1]) if own is not None else estimate.square().sum()
        loss.backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


def test_noise_that_references_tell_is_gone_before_the_denoiser() -> None:
    references = noise(1, 2, 1280)
    primary = 0.7 * references[:, :1] - 0.4 * references[:, 1:].roll(4, dims=-1)
    noisy = torch.cat((primary, references), dim=1)
    left = FRONT.build(IdentityConfig(), 3)(noisy)
    inner = slice(100, -100)
    assert float(left[..., inner].square().mean()) < 0.01 * float(primary[..., inner].square().mean())


def test_the_channels_themselves_follow_unchanged() -> None:
    net = FRONT.build(IdentityConfig(), 3)
    assert isinstance(net, SolvedFirst)
    noisy = noise(2, 3, 200)
    solved = net.solved(noisy)
    assert solved.shape == (2, 4, 200)
    assert torch.equal(solved[:, 1:], noisy)


@pytest.mark.parametrize(("front", "n_channels"), [(FRONT, 1), (FrontConfig(), 3)])
def test_without_references_or_taps_the_denoiser_stands_alone(front: FrontConfig, n_channels: int) -> None:
    assert not isinstance(front.build(IdentityConfig(), n_channels), SolvedFirst)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"filter_taps": 8}, "taps = 8"),
        ({"filter_taps": 9, "filter_spacing": 0}, "spacing = 0"),
        ({"filter_taps": 9, "filter_ridge": 0.0}, "ridge = 0.0"),
    ],
)
def test_filters_that_cannot_be_are_refused_by_name(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FrontConfig(**settings)  # type: ignore[arg-type]
