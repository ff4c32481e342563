"""The faults that denoisers of this kind have shown, as rules for every one: spiked ends, grown or dead amplitude.

Each is trained for 40 steps on an easy task: noise in 25-55 Hz as the clean signal, 4 dB over white noise in its band.
What in-band noise leaves is the same everywhere in a window, so an end that is treated worse stands out.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from models import DENOISERS, DenoiserConfig

RATE_HZ, WINDOW_SAMPLES = 250, 256
LEARNED = {name: cls for name, cls in DENOISERS.items() if list(cls().build().parameters())}
every_learned = pytest.mark.parametrize("trained", LEARNED.values(), ids=LEARNED.keys(), indirect=True)


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained net's mean squared error per sample of the window, [time], and RMS of estimate over RMS of clean."""

    error: Tensor
    rms_ratio: float


def easy_task(n_windows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(noisy, clean), each [window, 1, time]."""
    n_long = 3 * WINDOW_SAMPLES
    spectrum = torch.fft.rfft(torch.randn(n_windows, 1, n_long, generator=generator))
    hz = torch.fft.rfftfreq(n_long, 1 / RATE_HZ)
    in_band = torch.fft.irfft(spectrum * ((hz > 25) & (hz < 55)), n_long)
    # A cut from a longer signal: an inverse FFT's own ends would meet, which no recording's do.
    clean = 0.6 * in_band[..., WINDOW_SAMPLES : 2 * WINDOW_SAMPLES]
    return clean + 0.2 * torch.randn(clean.shape, generator=generator), clean


def loss_of(net: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
    own = getattr(net, "training_loss", None)
    loss: Tensor = own(noisy, clean) if own else (net(noisy) - clean).abs().mean()
    return loss


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest) -> Trained:
    cls: type[DenoiserConfig] = request.param
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    net = cls().build().train()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        loss = loss_of(net, *easy_task(8, generator))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimiser.step()
    noisy, clean = easy_task(64, generator)
    with torch.no_grad():
        estimate = net.eval()(noisy)
    ratio = estimate.square().mean().sqrt() / clean.square().mean().sqrt()
    return Trained((estimate - clean).square().mean(dim=(0, 1)), float(ratio))


@every_learned
def test_error_at_the_ends_is_at_most_one_and_a_half_times_the_middles(trained: Trained) -> None:
    """RMS error of the outer 64 ms, each end by itself, against that of the middle half."""
    n = round(0.064 * RATE_HZ)
    middle = trained.error[WINDOW_SAMPLES // 4 : -WINDOW_SAMPLES // 4].mean().sqrt()
    for end in (trained.error[:n], trained.error[-n:]):
        assert end.mean().sqrt() <= 1.5 * middle


@every_learned
def test_the_very_first_and_last_sample_do_not_spike(trained: Trained) -> None:
    """RMS error at most twice the middle half's; one sample over 64 windows is known to about 10 %."""
    middle = trained.error[WINDOW_SAMPLES // 4 : -WINDOW_SAMPLES // 4].mean().sqrt()
    assert max(trained.error[0], trained.error[-1]).sqrt() <= 2 * middle


@every_learned
def test_amplitude_neither_grows_nor_dies(trained: Trained) -> None:
    """RMS of the estimate between 0.6 and 1.25 times the clean signal's."""
    assert 0.6 <= trained.rms_ratio <= 1.25


@pytest.mark.parametrize("cls", DENOISERS.values(), ids=DENOISERS.keys())
def test_bf16_autocast_gives_finite_values_and_gradients(cls: type[DenoiserConfig]) -> None:
    """FFTs and solvers have no bf16 form, so a model with one must keep it out of autocast."""
    torch.manual_seed(0)
    net = cls().build(2)
    noisy, clean = easy_task(2, torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        estimate = net(noisy.repeat(1, 2, 1))
    assert estimate.shape == clean.shape and estimate.isfinite().all()
    if list(net.parameters()):
        (estimate.float() - clean).square().mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
