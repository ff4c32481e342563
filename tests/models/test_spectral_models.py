"""Short-time spectra, the mask upon them, and state spaces: against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.parts.spectrum import HOPS, overlap_add, short_time, spectral_features
from models.s4d import StateSpace
from models.tf_mask import MaskKind, TfMask, TfMaskConfig


@settings(deadline=None, max_examples=25)
@given(window=st.integers(2, 32).map(lambda n: HOPS * n), n_hops=st.integers(HOPS, 12))
def test_spectra_are_undone_exactly_where_four_frames_cover(window: int, n_hops: int) -> None:
    hop = window // HOPS
    x = torch.randn(2, 3, n_hops * hop, generator=torch.Generator().manual_seed(window))
    back = overlap_add(short_time(x, window), window)
    assert back.shape == x.shape
    inside = slice(3 * hop, (n_hops - 3) * hop)
    torch.testing.assert_close(back[..., inside], x[..., inside], atol=1e-5, rtol=0)


def test_spectra_are_those_of_torch() -> None:
    x = torch.randn(2, 640)
    expected = torch.stft(x, 64, 16, window=torch.hann_window(64), center=False, return_complex=True)
    torch.testing.assert_close(short_time(x, 64), expected.transpose(1, 2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mask", ["complex", "magnitude"])
@pytest.mark.parametrize("n_samples", [1, 5, 63, 64, 300])
def test_a_mask_of_one_gives_channel_0_back(mask: MaskKind, n_samples: int) -> None:
    """The ends included: the margin completes their frames."""
    net = TfMaskConfig(mask=mask).build(3)
    assert isinstance(net, TfMask)
    torch.nn.init.zeros_(net.to_mask.weight)
    assert net.to_mask.bias is not None
    torch.nn.init.zeros_(net.to_mask.bias)
    noisy = torch.randn(2, 3, n_samples)
    torch.testing.assert_close(net(noisy), noisy[:, :1], atol=1e-5, rtol=0)


def test_a_complex_mask_can_take_one_channel_from_another() -> None:
    net = TfMaskConfig(mask="complex").build(2)
    assert isinstance(net, TfMask) and net.to_mask.bias is not None
    torch.nn.init.zeros_(net.to_mask.weight)
    with torch.no_grad():
        # [real of both channels, imaginary of both], a row of bins each.
        net.to_mask.bias.reshape(4, -1).copy_(torch.tensor([[0.0], [-0.5], [0.0], [0.0]]).expand(4, net.n_bins))
    noisy = torch.randn(2, 2, 200)
    torch.testing.assert_close(net(noisy), noisy[:, :1] - 0.5 * noisy[:, 1:], atol=1e-5, rtol=0)


def test_features_hold_log_power_and_compressed_spectrum_and_bear_silence() -> None:
    spectra = torch.zeros(1, 1, 2, 3, dtype=torch.complex64)
    spectra[0, 0, 0, 0] = torch.tensor(3 + 4j)
    got = spectral_features(spectra)
    assert got.shape == (1, 3, 2, 3) and got.isfinite().all()
    magnitude = 5**0.3
    expected = torch.tensor([0.1 * math.log(25), magnitude * 0.6, magnitude * 0.8])
    torch.testing.assert_close(got[0, :, 0, 0], expected)


@pytest.mark.parametrize("init", ["lin", "real"])
def test_a_state_space_is_its_own_recurrence_run_both_ways(init: str) -> None:
    """x_l = exp(dt A) x_(l-1) + (exp(dt A) - 1) / A u_l, y_l = 2 Re(C x_l): step by step, in double precision."""
    torch.manual_seed(0)
    layer = StateSpace(3, 8, "lin" if init == "lin" else "real").double()
    u = torch.randn(2, 3, 40, dtype=torch.float64)
    a = torch.complex(-layer.log_decay.exp(), layer.frequency)
    turn = (a * layer.log_dt.exp()).exp()
    outputs = torch.view_as_complex(layer.output)

    def run(signal: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        state, seen = torch.zeros(2, 3, 4, dtype=torch.complex128), []
        for step in signal.unbind(-1):
            state = turn * state + (turn - 1) / a * step.unsqueeze(-1)
            seen.append(2 * (c * state).sum(-1).real)
        return torch.stack(seen, dim=-1)

    expected = run(u, outputs[0]) + run(u.flip(-1), outputs[1]).flip(-1) + layer.direct * u
    with torch.no_grad():
        torch.testing.assert_close(layer(u.float()).double(), expected, atol=1e-4, rtol=1e-4)


def test_states_start_where_the_paper_puts_them() -> None:
    """S4D-Lin: -1/2 + i pi n; S4D-Real: -(n + 1); step sizes of 0.001 to 0.1."""
    lin, real = StateSpace(5, 8, "lin"), StateSpace(5, 8, "real")
    torch.testing.assert_close(lin.log_decay.exp(), torch.full((5, 4), 0.5))
    torch.testing.assert_close(lin.frequency[2], math.pi * torch.arange(4.0))
    torch.testing.assert_close(real.log_decay.exp()[2], torch.arange(1.0, 5.0))
    assert not real.frequency.any()
    dt = lin.log_dt.exp()
    assert dt.min() >= 0.001 and dt.max() <= 0.1 and dt.std() > 0
