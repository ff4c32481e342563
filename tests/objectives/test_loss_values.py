"""What each loss is worth: values by hand, sums of terms, and which outputs win."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from objectives.losses import (
    LOSSES,
    AntiCollapseConfig,
    CombinedConfig,
    CwtConfig,
    L1Config,
    MrStftConfig,
    NegSiSdrConfig,
    PeakL1Config,
    SmoothL1Config,
    WeightedSum,
    level_penalty,
    negative_si_sdr,
    peak_weighted_l1,
)
from objectives.spectral import MultiResolutionStft
from objectives.wavelet import MorletL1


def signals(seed: int = 0, batch: int = 4, time: int = 400) -> tuple[Tensor, Tensor]:
    """A random estimate and a clean signal, both [batch, 1, time] and well within (-1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    estimate, clean = 0.2 * torch.randn(2, batch, 1, time, generator=generator)
    return estimate, clean


CLEAN = torch.tensor([[[0.0, 0.5, -1.0, 0.0]]])
ESTIMATE = torch.tensor([[[0.2, 0.5, -0.6, 0.0]]])


def test_l1_by_hand() -> None:
    assert L1Config().build()(ESTIMATE, CLEAN).item() == pytest.approx((0.2 + 0.4) / 4)


def test_smooth_l1_by_hand() -> None:
    """0.2 lies within beta = 0.3 and 0.4 outside."""
    expected = (0.2**2 / 0.6 + (0.4 - 0.15)) / 4
    assert SmoothL1Config(beta=0.3).build()(ESTIMATE, CLEAN).item() == pytest.approx(expected)


def test_mse_by_hand() -> None:
    assert LOSSES["mse"]().build()(ESTIMATE, CLEAN).item() == pytest.approx((0.04 + 0.16) / 4)


@pytest.mark.parametrize(("peak_weight", "expected"), [(0.0, 0.6 / 4), (0.25, 0.55 / 4), (1.0, 0.4 / 4)])
def test_peak_l1_by_hand(peak_weight: float, expected: float) -> None:
    """The error of 0.2 stands where c = 0 (weight 1 - w), the one of 0.4 at the peak (weight 1)."""
    assert PeakL1Config(peak_weight=peak_weight).build()(ESTIMATE, CLEAN).item() == pytest.approx(expected)


def test_si_sdr_by_hand() -> None:
    """e = (1, 1), c = (1, 0): a c = (1, 0), e - a c = (0, 1), so 0 dB; L1 is 1/2, weighted (1 - 0.25) / 2."""
    e, c = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert NegSiSdrConfig(l1_weight=2.0).build()(e, c).item() == pytest.approx(2.0 * 0.375, abs=1e-5)
    e = torch.tensor([[[1.0, 0.1]]])
    assert NegSiSdrConfig(l1_weight=1e-9).build()(e, c).item() == pytest.approx(-20.0, abs=0.01)


@pytest.mark.parametrize("limit_db", [20.0, 30.0, 50.0])
def test_si_sdr_loss_is_the_si_sdr_far_below_its_limit_and_never_beyond_it(limit_db: float) -> None:
    clean = torch.sin(torch.arange(4000) * 0.3).view(1, 1, -1)
    other = torch.cos(torch.arange(4000) * 0.3).view(1, 1, -1)  # orthogonal, of equal energy
    for snr_db in (-10.0, 0.0, 8.0, limit_db, 80.0):
        loss = float(negative_si_sdr(clean + 10 ** (-snr_db / 20) * other, clean, limit_db))
        assert -limit_db - 0.05 <= loss <= limit_db + 0.05
        if abs(snr_db) <= limit_db - 12:
            assert loss == pytest.approx(-snr_db, abs=0.5)
    assert float(negative_si_sdr(clean, clean, limit_db)) == pytest.approx(-limit_db, abs=0.05)
    assert NegSiSdrConfig(limit_db=limit_db, l1_weight=1e-9).build()(clean, clean).item() == pytest.approx(
        -limit_db, abs=0.05
    )


def test_si_sdr_loss_punishes_silence_more_than_the_noisiest_input() -> None:
    noise, clean = signals(time=4000)
    loss = NegSiSdrConfig().build()
    noisy = clean + 10 ** (20 / 20) * noise
    assert loss(torch.zeros_like(clean), clean) > loss(noisy, clean) + 10


def test_si_sdr_loss_pins_the_amplitude() -> None:
    _, clean = signals()
    loss = NegSiSdrConfig().build()
    at_scale = {scale: loss(scale * clean, clean).item() for scale in (0.3, 0.7, 1.0, 1.4, 3.0)}
    assert min(at_scale, key=at_scale.__getitem__) == 1.0


def test_cwt_weighs_waveform_against_wavelet_by_alpha() -> None:
    estimate, clean = signals()
    ends = [CwtConfig(alpha=alpha).build()(estimate, clean).item() for alpha in (0.0, 1.0)]
    assert ends[0] == pytest.approx(L1Config().build()(estimate, clean).item())
    assert CwtConfig(alpha=0.3).build()(estimate, clean).item() == pytest.approx(0.7 * ends[0] + 0.3 * ends[1])


def test_combined_is_the_weighted_sum_of_its_terms() -> None:
    estimate, clean = signals()
    cwt = CwtConfig(alpha=1.0).build()(estimate, clean).item()
    l1 = peak_weighted_l1(estimate, clean, 0.25).item()
    si_sdr = negative_si_sdr(estimate, clean).item()
    stft = MrStftConfig(l1_weight=2.0).build()(estimate, clean).item() - 2.0 * l1

    def combined(l1_weight: float, si_sdr_weight: float, cwt_weight: float, stft_weight: float) -> float:
        config = CombinedConfig(
            l1_weight=l1_weight, si_sdr_weight=si_sdr_weight, cwt_weight=cwt_weight, stft_weight=stft_weight
        )
        return float(config.build()(estimate, clean).item())

    assert combined(3.0, 0.0, 0.0, 0.0) == pytest.approx(3.0 * l1, rel=1e-5)
    assert combined(0.0, 3.0, 0.0, 0.0) == pytest.approx(3.0 * si_sdr, rel=1e-5)
    assert combined(0.0, 0.0, 3.0, 0.0) == pytest.approx(3.0 * cwt, rel=1e-5)
    assert combined(0.0, 0.0, 0.0, 3.0) == pytest.approx(3.0 * stft, rel=1e-5)
    expected = 0.5 * l1 + 0.2 * si_sdr + 2.0 * cwt + 1.5 * stft
    assert combined(0.5, 0.2, 2.0, 1.5) == pytest.approx(expected, rel=1e-5)


def test_a_weight_of_zero_leaves_its_term_out_and_not_only_its_value() -> None:
    kinds = {type(part) for part in CombinedConfig().build().modules()}
    assert {MorletL1, MultiResolutionStft} <= kinds
    kinds = {type(part) for part in CombinedConfig(cwt_weight=0.0, stft_weight=0.0).build().modules()}
    assert not {MorletL1, MultiResolutionStft} & kinds


def test_a_combination_of_nothing_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^combined: l1_weight, .*stft_weight are all 0; at least one above 0 is needed$"
    ):
        CombinedConfig(l1_weight=0.0, si_sdr_weight=0.0, cwt_weight=0.0, stft_weight=0.0)


def test_buffers_of_a_term_move_with_the_loss() -> None:
    """The terms are called through a list, which `.to()` does not look into."""
    loss = copy.deepcopy(CombinedConfig().build()).to("meta")
    (total,) = [part for part in loss.modules() if isinstance(part, WeightedSum)]
    buffers = [b for _, term in total.terms if isinstance(term, torch.nn.Module) for b in term.buffers()]
    assert len(buffers) == 5
    assert {b.device.type for b in buffers} == {"meta"}


@settings(max_examples=30)
@given(level=st.floats(-2, 2), seed=st.integers(0, 99))
def test_level_penalty_is_the_log_of_the_rms_ratio(level: float, seed: int) -> None:
    _, clean = signals(seed)
    expected = abs(level) * math.log(10)
    assert level_penalty(10**level * clean, clean).item() == pytest.approx(expected, rel=2e-2, abs=1e-5)


def test_level_penalty_at_silence_is_ln_1000() -> None:
    _, clean = signals()
    assert level_penalty(0 * clean, clean).item() == pytest.approx(math.log(1000), rel=1e-5)


@pytest.mark.parametrize("snr_db", [-15.0, -10.0, -5.0, 0.0, 5.0])
def test_anti_collapse_ranks_a_half_way_estimate_over_the_copied_input_over_silence(snr_db: float) -> None:
    noise, clean = signals(time=4000)
    noise *= 10 ** (-snr_db / 20)
    loss = AntiCollapseConfig().build()
    half_way, copied, silent = (loss(e, clean).item() for e in (clean + 0.5 * noise, clean + noise, 0 * clean))
    assert half_way < copied - 3.0
    assert copied < silent - 10.0


@pytest.mark.parametrize("snr_db", [-10.0, -5.0])
def test_anti_collapse_keeps_a_poor_estimate_audible_where_l1_silences_it(snr_db: float) -> None:
    """Of all gains on clean + noise, plain L1 and SI-SDR + L1 take a faint one; this one keeps the clean level."""
    noise, clean = signals(time=4000)
    estimate = clean + 10 ** (-snr_db / 20) * noise
    gains = [0.01 * k for k in range(101)]

    def best_level(loss: torch.nn.Module) -> float:
        gain = min(gains, key=lambda g: loss(g * estimate, clean).item())
        return float(gain * estimate.norm() / clean.norm())

    levels = {cls.name: best_level(cls().build()) for cls in (L1Config, NegSiSdrConfig, AntiCollapseConfig)}
    assert levels["anti_collapse"] == pytest.approx(1.0, abs=0.05)
    assert levels["l1"] < 0.55
    assert levels["si_sdr"] < 0.55
