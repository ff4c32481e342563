"""The Morlet transform: PyWavelets, closed forms, and a gradient that reaches the waveform."""

import math
from itertools import pairwise

import numpy as np
import pytest
import pywt
import torch

from objectives.wavelet import MorletL1, MorletTransform, geometric_scales


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("time", [1280, 501, 60])
@pytest.mark.parametrize("scales", [geometric_scales(2.5, 80.0, 9), (1.0,), (2.0, 16.0), (7.3,)])
def test_equals_the_cwt_of_pywavelets(scales: tuple[float, ...], time: int) -> None:
    """To 1e-3 of the largest coefficient at PyWavelets' precision 20; windows shorter than the wavelet too."""
    signal = noise(2, time)
    theirs, _ = pywt.cwt(signal.numpy(), scales, "morl", precision=20, axis=-1)
    ours = MorletTransform(scales)(signal).numpy()
    assert ours.shape == (2, len(scales), time)
    np.testing.assert_allclose(ours, theirs.transpose(1, 0, 2), rtol=0, atol=1e-3 * np.abs(theirs).max())


def test_pywavelets_nears_this_transform_as_its_table_gets_finer() -> None:
    """The stated tolerances: what is left between the two is PyWavelets' table, 2^precision points long."""
    signal, scales = noise(1280), geometric_scales(2.5, 80.0, 9)
    ours = MorletTransform(scales)(signal).numpy()
    apart = []
    for precision in (12, 16, 20):
        theirs, _ = pywt.cwt(signal.numpy(), scales, "morl", precision=precision)
        apart.append(np.abs(ours - theirs).max() / np.abs(theirs).max())
    assert apart[0] < 0.2
    assert apart[1] < 0.02
    assert apart[2] < 1e-3
    assert apart[0] > 8 * apart[1] > 64 * apart[2]


@pytest.mark.parametrize("scale", [5.0, 20.0, 64.0])
@pytest.mark.parametrize("detune", [0.8, 1.0, 1.2])
def test_a_cosine_comes_out_with_the_wavelets_spectrum(scale: float, detune: float) -> None:
    """A cos(w t) gives sqrt(s pi / 2) (exp(-(s w - 5)^2 / 2) + exp(-(s w + 5)^2 / 2)) A cos(w t), far from the ends.

    Cells one sample wide bring in sin(w / 2) / (w / 2).
    """
    omega = 5.0 * detune / scale
    n = 40 * int(scale)
    # sine and cosine together give the amplitude wherever the crests fall between samples
    t = torch.arange(n, dtype=torch.float64)
    transform = MorletTransform((scale,))
    parts = [transform(0.3 * wave(omega * t))[0, n // 2] for wave in (torch.cos, torch.sin)]
    hump = math.exp(-((scale * omega - 5) ** 2) / 2) + math.exp(-((scale * omega + 5) ** 2) / 2)
    expected = 0.3 * math.sqrt(scale * math.pi / 2) * hump * math.sin(omega / 2) / (omega / 2)
    assert math.hypot(*parts) == pytest.approx(expected, rel=1e-4)


def test_an_impulse_comes_out_where_it_went_in() -> None:
    """Within the half sample that a wavelet of an even number of cells must stand aside."""
    signal = torch.zeros(400)
    signal[150] = 1.0
    energy = MorletTransform((4.0, 4.07, 10.0))(signal).square()
    centre = (energy * torch.arange(400)).sum(dim=-1) / energy.sum(dim=-1)
    assert (centre - 150.0).abs().max() < 0.55


def test_default_scales_cover_10_to_80_hz_at_250_and_1000_hz() -> None:
    scales = geometric_scales(2.5, 80.0, 36)
    assert len(scales) == 36
    for rate_hz in (250.0, 1000.0):
        centres_hz = [5 * rate_hz / (2 * math.pi * scale) for scale in scales]
        assert min(centres_hz) <= 10.0
        assert max(centres_hz) >= 0.99 * 80.0
    ratios = [b / a for a, b in pairwise(scales)]
    assert ratios == pytest.approx([ratios[0]] * 35)


@pytest.mark.parametrize(
    ("smallest", "largest", "n"), [(0.5, 80.0, 36), (8.0, 4.0, 36), (2.0, 8.0, 0), (2.0, math.inf, 3)]
)
def test_impossible_scales_are_refused(smallest: float, largest: float, n: int) -> None:
    with pytest.raises(ValueError, match=rf"scales are {n} from {smallest} to {largest}; .* is needed$"):
        geometric_scales(smallest, largest, n)


def test_l1_is_the_difference_of_two_transforms() -> None:
    estimate, clean = noise(2, 3, 1, 300)
    scales = geometric_scales(2.5, 20.0, 5)
    transform = MorletTransform(scales)
    expected = (transform(estimate) - transform(clean)).abs().mean()
    torch.testing.assert_close(MorletL1(scales)(estimate, clean), expected)


def test_the_gradient_of_the_wavelet_term_reaches_the_waveform() -> None:
    """Checked against finite differences: a term computed on detached tensors has none."""
    estimate, clean = noise(2, 2, 1, 24)
    loss = MorletL1((2.5, 4.0))
    assert torch.autograd.gradcheck(lambda e: loss(e, clean), (estimate.requires_grad_(),))


def test_descending_the_wavelet_term_alone_moves_the_estimate_to_the_clean_signal() -> None:
    t = torch.arange(300.0)
    clean = (torch.exp(-(((t - 150) / 25) ** 2)) * torch.cos(2 * math.pi * 0.12 * t)).reshape(1, 1, -1)
    estimate = torch.zeros_like(clean, requires_grad=True)
    loss = MorletL1(geometric_scales(2.5, 20.0, 12))
    optimiser = torch.optim.Adam([estimate], lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss(estimate, clean).backward()
        optimiser.step()
    assert (estimate - clean).square().mean() < 0.05 * clean.square().mean()
