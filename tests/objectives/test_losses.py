"""The contract every loss keeps, run over LOSSES, and one value of each computed by hand."""

import copy
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, get_origin, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from objectives.losses import (
    LOSSES,
    AntiCollapseConfig,
    CombinedConfig,
    CwtConfig,
    L1Config,
    LossConfig,
    MrStftConfig,
    NegSiSdrConfig,
    PeakL1Config,
    SmoothL1Config,
    WeightedSum,
)
from objectives.spectral import MultiResolutionStft
from objectives.waveform import level_penalty, negative_si_sdr, peak_weighted_l1
from objectives.wavelet import MorletL1

MINIMUM = {"si_sdr": -50.0, "anti_collapse": -50.0, "combined": -50.0}
NOT_SEARCHED = {"smallest_scale", "largest_scale", "n_scales", "n_resolutions"}
EVERY_LOSS = pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES.keys())


def signals(seed: int = 0, batch: int = 4, time: int = 400) -> tuple[Tensor, Tensor]:
    """A random estimate and a clean signal, both [batch, 1, time] and well within (-1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    estimate, clean = 0.2 * torch.randn(2, batch, 1, time, generator=generator)
    return estimate, clean


def gradient(config: LossConfig, estimate: Tensor, clean: Tensor) -> Tensor:
    estimate = estimate.clone().requires_grad_()
    config.build()(estimate, clean).backward()
    assert estimate.grad is not None
    return estimate.grad


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Operators without a deterministic form raise."""
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(was)


@EVERY_LOSS
def test_table_key_is_the_loss_name(cls: type[LossConfig]) -> None:
    assert LOSSES[cls.name] is cls


@EVERY_LOSS
def test_loss_is_a_scalar_at_its_stated_minimum_where_the_estimate_is_clean(cls: type[LossConfig]) -> None:
    estimate, clean = signals()
    loss = cls().build()
    minimum = MINIMUM.get(cls.name, 0.0)
    assert loss(clean, clean).shape == ()
    assert loss(clean, clean).item() == pytest.approx(minimum, abs=0.05 if minimum else 0.0)
    assert loss(estimate, clean).item() > minimum


@EVERY_LOSS
def test_gradient_reaches_every_sample_of_a_random_estimate(cls: type[LossConfig]) -> None:
    grad = gradient(cls(), *signals())
    assert torch.isfinite(grad).all()
    assert (grad != 0).float().mean() > 0.99


@EVERY_LOSS
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-20, 1e-10, 1e-5])
def test_value_and_gradient_stay_finite_near_silence_on_either_side(cls: type[LossConfig], level: float) -> None:
    estimate, clean = signals()
    for e, c in ((level * estimate, clean), (estimate, level * clean), (level * estimate, level * clean)):
        assert torch.isfinite(cls().build()(e, c))
        assert torch.isfinite(gradient(cls(), e, c)).all()


@EVERY_LOSS
def test_a_silent_clean_window_in_the_batch_leaves_the_others_their_gradient(cls: type[LossConfig]) -> None:
    estimate, clean = signals()
    clean[1] = 0
    grad = gradient(cls(), estimate, clean)
    assert torch.isfinite(grad).all()
    assert (grad[0] != 0).any()
    assert (grad[1] != 0).any(), "a silent window must still pull its estimate to silence"


@EVERY_LOSS
def test_silence_is_never_a_resting_point(cls: type[LossConfig]) -> None:
    _, clean = signals()
    grad = gradient(cls(), torch.zeros_like(clean), clean)
    assert (grad * clean).sum() < 0, "a step down the slope must lead towards the clean signal"


@EVERY_LOSS
def test_polarity_matters(cls: type[LossConfig]) -> None:
    """All but SI-SDR's own term must tell a heart sound from its mirror image."""
    _, clean = signals()
    loss = cls().build()
    assert loss(-clean, clean) > loss(clean, clean) + 0.01


@EVERY_LOSS
def test_value_and_gradient_repeat_to_the_bit(cls: type[LossConfig], deterministic: None) -> None:
    estimate, clean = signals()
    assert torch.equal(gradient(cls(), estimate, clean), gradient(cls(), estimate, clean))


@EVERY_LOSS
@pytest.mark.parametrize("time", [1, 7, 100])
def test_windows_shorter_than_any_stft_or_wavelet_will_do(cls: type[LossConfig], time: int) -> None:
    estimate, clean = signals(time=time)
    assert torch.isfinite(cls().build()(estimate, clean))
    assert torch.isfinite(gradient(cls(), estimate, clean)).all()


@EVERY_LOSS
def test_order_of_the_windows_does_not_matter(cls: type[LossConfig]) -> None:
    estimate, clean = signals()
    order = torch.tensor([2, 0, 3, 1])
    loss = cls().build()
    assert loss(estimate[order], clean[order]).item() == pytest.approx(loss(estimate, clean).item(), rel=1e-6)


@EVERY_LOSS
def test_a_window_costs_the_same_whoever_shares_its_batch(cls: type[LossConfig]) -> None:
    estimate, clean = signals(batch=2)
    clean[1] *= 30
    loss = cls().build()
    alone = [loss(estimate[i : i + 1], clean[i : i + 1]).item() for i in range(2)]
    assert loss(estimate, clean).item() == pytest.approx(sum(alone) / 2, rel=1e-5)


@EVERY_LOSS
def test_closer_estimates_cost_less(cls: type[LossConfig]) -> None:
    noise, clean = signals()
    loss = cls().build()
    costs = [loss(clean + gain * noise, clean).item() for gain in (2.0, 1.0, 0.5, 0.1, 0.01)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 5


@EVERY_LOSS
def test_descending_the_loss_from_the_noisy_signal_cleans_it(cls: type[LossConfig]) -> None:
    """60 steps on the samples themselves bring at least 6 dB of SNR."""
    noise, clean = signals()
    estimate = (clean + noise).requires_grad_()
    loss = cls().build()
    optimiser = torch.optim.Adam([estimate], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss(estimate, clean).backward()
        optimiser.step()
    assert (estimate - clean).square().mean() < 10 ** (-6 / 10) * noise.square().mean()


@EVERY_LOSS
def test_shapes_that_would_broadcast_are_refused(cls: type[LossConfig]) -> None:
    estimate, clean = signals()
    with pytest.raises(ValueError, match=r"\(4, 1, 400\) and clean \(4, 400\).*must be the same"):
        cls().build()(estimate, clean[:, 0])


@EVERY_LOSS
def test_half_precision_is_raised_to_float32(cls: type[LossConfig]) -> None:
    estimate, clean = signals()
    assert cls().build()(estimate.to(torch.bfloat16), clean).dtype == torch.float32


@EVERY_LOSS
def test_config_survives_strict_json_and_refuses_what_it_does_not_know(cls: type[LossConfig]) -> None:
    adapter = TypeAdapter(cls)
    # half of every default is allowed, and differs from it
    config = cls(**{field.name: type(field.default)(field.default / 2) for field in fields(cls)})
    json = adapter.dump_json(config)
    assert adapter.validate_json(json, strict=True, extra="forbid") == config
    with pytest.raises(ValidationError, match="peak_wieght"):
        adapter.validate_json('{"peak_wieght": 0.5}', strict=True, extra="forbid")


@EVERY_LOSS
def test_every_hyperparameter_has_a_default_inside_its_range(cls: type[LossConfig]) -> None:
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        if field.name in NOT_SEARCHED:
            assert get_origin(hints[field.name]) is not Annotated
            continue
        (distribution,) = hints[field.name].__metadata__
        assert distribution._contains(distribution.to_internal_repr(field.default))


@EVERY_LOSS
def test_the_module_can_be_copied_and_holds_no_parameters(cls: type[LossConfig]) -> None:
    loss = copy.deepcopy(cls().build())
    assert not list(loss.parameters())
    assert torch.isfinite(loss(*signals()))


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (PeakL1Config, "peak_weight", -0.01),
        (PeakL1Config, "peak_weight", 1.01),
        (PeakL1Config, "peak_weight", math.nan),
        (NegSiSdrConfig, "peak_weight", 2.0),
        (NegSiSdrConfig, "l1_weight", 0.0),
        (NegSiSdrConfig, "l1_weight", math.nan),
        (SmoothL1Config, "beta", 0.0),
        (SmoothL1Config, "beta", math.inf),
        (AntiCollapseConfig, "l1_weight", 0.0),
        (AntiCollapseConfig, "level_weight", -1.0),
        (AntiCollapseConfig, "level_weight", math.nan),
        (CwtConfig, "alpha", 1.1),
        (CwtConfig, "alpha", math.nan),
        (CwtConfig, "smallest_scale", 0.5),
        (CwtConfig, "largest_scale", 2.0),
        (CwtConfig, "largest_scale", math.inf),
        (CwtConfig, "n_scales", 0),
        (MrStftConfig, "peak_weight", -1.0),
        (MrStftConfig, "l1_weight", 0.0),
        (MrStftConfig, "shortest_stft_samples", 30),
        (MrStftConfig, "shortest_stft_samples", 0),
        (MrStftConfig, "n_resolutions", 0),
        (CombinedConfig, "peak_weight", 2.0),
        (CombinedConfig, "l1_weight", -1.0),
        (CombinedConfig, "si_sdr_weight", math.nan),
        (CombinedConfig, "cwt_weight", math.inf),
        (CombinedConfig, "stft_weight", -0.1),
        (CombinedConfig, "smallest_scale", math.nan),
        (CombinedConfig, "n_resolutions", 9),
    ],
)
def test_impossible_hyperparameters_are_refused_in_one_line(cls: type[LossConfig], field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.name}: {field} is {value}; .* is needed$") as refused:
        cls(**{field: value})
    assert "\n" not in str(refused.value)


def test_a_value_outside_the_search_range_can_exist() -> None:
    """A saved config outlives a narrowed range."""
    assert NegSiSdrConfig(l1_weight=100.0).l1_weight == 100.0


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
    none = {"l1_weight": 0.0, "si_sdr_weight": 0.0, "cwt_weight": 0.0, "stft_weight": 0.0}
    cwt = CwtConfig(alpha=1.0).build()(estimate, clean).item()
    l1 = peak_weighted_l1(estimate, clean, 0.25).item()
    stft = MrStftConfig(l1_weight=2.0).build()(estimate, clean).item() - 2.0 * l1
    alone = {
        "l1_weight": l1,
        "si_sdr_weight": negative_si_sdr(estimate, clean).item(),
        "cwt_weight": cwt,
        "stft_weight": stft,
    }
    for name, value in alone.items():
        loss = CombinedConfig(**{**none, name: 3.0}).build()
        assert loss(estimate, clean).item() == pytest.approx(3.0 * value, rel=1e-5)
    weights = {"l1_weight": 0.5, "si_sdr_weight": 0.2, "cwt_weight": 2.0, "stft_weight": 1.5}
    expected = sum(weights[name] * value for name, value in alone.items())
    assert CombinedConfig(**weights).build()(estimate, clean).item() == pytest.approx(expected, rel=1e-5)


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


@settings(max_examples=30, deadline=None)
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
