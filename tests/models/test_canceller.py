"""Least-squares cancelling against closed forms, and what references bring."""

import pytest
import torch
from torch import Tensor, nn

from models.canceller import Canceller, CancellerConfig
from models.parts.least_squares import cancelled, delayed


def test_delays_run_from_minus_to_plus_reach_with_repeated_ends() -> None:
    ramp = torch.arange(1.0, 7.0).reshape(1, 1, 6)
    expected = torch.tensor([[1.0, 1, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 6, 6]])
    assert torch.equal(delayed(ramp, 3, 2)[0], expected)
    both = torch.cat((ramp, 10 * ramp), dim=1)
    assert torch.equal(delayed(both, 3, 2)[0], torch.cat((expected, 10 * expected)))


def test_the_fit_is_weighted_ridge_regression() -> None:
    """Against the normal equations in double precision."""
    torch.manual_seed(0)
    p, r, w = torch.randn(2, 1, 50), torch.randn(2, 4, 50), torch.rand(2, 1, 50)
    got = cancelled(p, r, w, 0.1)
    for i in range(2):
        x, y, d = r[i].T.double(), p[i, 0].double(), w[i, 0].double().diag()
        gram = x.T @ d @ x
        h = torch.linalg.solve(gram + 0.1 * gram.diagonal().mean() * torch.eye(4), x.T @ d @ y)
        torch.testing.assert_close(got[i, 0].double(), y - x @ h, atol=1e-4, rtol=1e-4)


def filtered(reference: Tensor) -> Tensor:
    """A short path from the reference to channel 0: two echoes."""
    return 0.8 * reference.roll(2, -1) - 0.5 * reference.roll(-4, -1)


def test_noise_that_a_reference_holds_whole_is_removed() -> None:
    torch.manual_seed(0)
    reference = torch.randn(3, 1, 600)
    primary = filtered(reference)
    left = cancelled(primary, delayed(reference, 9, 2), torch.ones(3, 1, 600), 1e-6)
    assert left[..., 10:-10].square().mean() < 1e-3 * primary.square().mean()


def test_weights_keep_a_loud_sound_from_disturbing_the_filter() -> None:
    """With the loud part left out, what remains is the sound; with all of it, the fit takes a piece of it along."""
    torch.manual_seed(0)
    reference, sound = torch.randn(8, 1, 200), torch.zeros(8, 1, 200)
    sound[..., 80:110] = 5 * torch.randn(8, 1, 30)
    primary, taps = sound + filtered(reference), delayed(reference, 9, 2)
    quiet = (sound == 0).float()
    trusted, plain = (cancelled(primary, taps, w, 1e-6) for w in (quiet, torch.ones_like(quiet)))
    miss = [(left - sound)[..., 10:-10].square().mean() for left in (trusted, plain)]
    assert miss[0] < 0.1 * miss[1]


@pytest.mark.parametrize("n_references", [1, 5])
def test_silent_references_change_nothing(n_references: int) -> None:
    primary = torch.randn(2, 1, 100)
    taps = delayed(torch.zeros(2, n_references, 100), 9, 2)
    assert torch.equal(cancelled(primary, taps, torch.ones(2, 1, 100), 0.01), primary)


def test_one_channel_leaves_the_mask_network_alone() -> None:
    alone, with_reference = CancellerConfig().build(1), CancellerConfig().build(2)
    assert isinstance(alone, Canceller) and alone.left(torch.randn(1, 1, 64)) == []
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"masker"}
    assert {name.split(".")[0] for name, _ in with_reference.named_parameters()} == {"masker", "weigher"}


@pytest.mark.parametrize(("refined", "n_left"), [(True, 2), (False, 1)])
def test_refined_adds_the_reweighted_solution(refined: bool, n_left: int) -> None:
    net = CancellerConfig(refined=refined).build(3)
    assert isinstance(net, Canceller) and len(net.left(torch.randn(2, 3, 64))) == n_left


def in_band(*shape: int, generator: torch.Generator) -> Tensor:
    """Noise in 25-55 Hz at 250 Hz, of RMS about 0.3."""
    hz = torch.fft.rfftfreq(shape[-1], 1 / 250)
    spectrum = torch.fft.rfft(torch.randn(*shape, generator=generator))
    noise: Tensor = torch.fft.irfft(spectrum * ((hz > 25) & (hz < 55)), shape[-1])
    return 0.6 * noise


def trained_error(n_channels: int) -> float:
    """RMS error after 30 steps: signal and noise alike in level and band, a filtered noise in two references."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        clean = in_band(n, 1, 512, generator=generator)
        source = in_band(n, 2, 512, generator=generator)
        noise = filtered(source).sum(dim=1, keepdim=True)
        return torch.cat((clean + noise, source), dim=1)[:, :n_channels], clean

    net: nn.Module = CancellerConfig().build(n_channels)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(30):
        noisy, clean = batch(8)
        loss = (net(noisy) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noisy, clean = batch(32)
    with torch.no_grad():
        return float((net.eval()(noisy) - clean).square().mean().sqrt())


def test_references_halve_an_error_that_no_single_channel_can_mend() -> None:
    assert trained_error(3) < 0.5 * trained_error(1)
