"""The sampler against a network that knows the answer, and the training loss against its closed form."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.diffusion import Diffusion, DiffusionConfig, Start


class Knows(nn.Module):
    """The exact v for one clean signal [batch, 1, time]; counts its calls."""

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean, self.n_calls = clean, 0

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        self.n_calls += 1
        angle = 0.5 * math.pi * times[:, None, None]
        noise = (x[:, :1] - angle.cos() * self.clean) / angle.sin()
        return angle.cos() * noise - angle.sin() * self.clean


def built(**settings: object) -> Diffusion:
    torch.manual_seed(0)
    net = DiffusionConfig(**settings).build()  # type: ignore[arg-type]
    assert isinstance(net, Diffusion)
    return net.eval()


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
@pytest.mark.parametrize("start", ["noise", "noisy"])
def test_a_network_that_knows_the_answer_gives_it_at_a_cost_of_steps_runs(steps: int, start: Start) -> None:
    net = built(steps=steps, start=start)
    noisy, clean = torch.randn(3, 1, 256), 0.1 * torch.randn(3, 1, 256)
    net.net = known = Knows(clean / net.clean_rms)  # type: ignore[assignment]
    torch.testing.assert_close(net.sample(noisy), clean, atol=1e-4, rtol=1e-3)
    assert known.n_calls == steps


@pytest.mark.parametrize("start", ["noise", "noisy"])
def test_an_estimate_does_not_depend_on_torchs_seed_nor_moves_it(start: Start) -> None:
    net, noisy = built(start=start), torch.randn(2, 1, 200)
    estimates = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with torch.no_grad():
            estimates.append(net(noisy))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*estimates)


def test_the_start_from_the_noisy_signal_begins_at_its_own_time() -> None:
    """With v = 0 throughout a step from angle a to 0 multiplies x by cos(a), so the start shows in the estimate."""
    net = built(steps=1, start="noisy", start_time=0.5)
    net.net = Zero()  # type: ignore[assignment]
    noisy = torch.randn(1, 1, 256)
    other = torch.randn(1, 1, 256)
    # The start noise is the same for both and drops out of the difference.
    moved = net.sample(noisy) - net.sample(other)
    torch.testing.assert_close(moved, math.cos(math.pi / 4) ** 2 * (noisy - other), atol=1e-5, rtol=1e-4)


class Zero(nn.Module):
    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1])


@pytest.mark.parametrize("rms", [0.0, 0.1, 0.2])
def test_loss_of_a_network_that_says_nothing_is_the_mean_power_of_v(rms: float) -> None:
    """E v^2 = E cos^2 + E sin^2 (rms / clean_rms)^2 = (1 + (rms / clean_rms)^2) / 2 over uniform times."""
    net = built(clean_rms=0.1)
    net.net = Zero()  # type: ignore[assignment]
    torch.manual_seed(0)
    clean = rms * torch.randn(4000, 1, 64)
    loss = net.training_loss(torch.randn(4000, 1, 64), clean)
    assert loss.item() == pytest.approx((1 + (rms / 0.1) ** 2) / 2, rel=0.04)


def test_a_network_that_knows_the_answer_has_no_training_loss() -> None:
    net, clean = built(), 0.1 * torch.randn(1, 1, 256).expand(1, 1, -1)
    padded = net.multiple
    reflected = torch.nn.functional.pad(clean, (padded, padded), mode="reflect")
    net.net = Knows(reflected / net.clean_rms)  # type: ignore[assignment]
    assert net.training_loss(torch.randn(1, 1, 256), clean).item() < 1e-4


def test_training_loss_reaches_every_parameter_and_falls() -> None:
    torch.manual_seed(0)
    net = DiffusionConfig(width=16).build(2)
    assert isinstance(net, Diffusion)
    clean = 0.1 * torch.sin(torch.arange(256.0)).expand(8, 1, -1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for step in range(15):
        torch.manual_seed(1)
        loss = net.training_loss(torch.cat((clean, clean), dim=1), clean)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        if step == 0:
            assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
