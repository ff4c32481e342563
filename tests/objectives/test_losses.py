"""The contract every loss keeps, run over LOSSES, and one value of each computed by hand."""

import copy
import math
from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from optuna.distributions import FloatDistribution
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from objectives.losses import LOSSES, L1Config, LossConfig, NegSiSdrConfig, PeakL1Config, SmoothL1Config

MINIMUM = {"si_sdr": -50.0}
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
    config = cls(**{field.name: 0.5 for field in fields(cls)})
    json = adapter.dump_json(config)
    assert adapter.validate_json(json, strict=True, extra="forbid") == config
    with pytest.raises(ValidationError, match="peak_wieght"):
        adapter.validate_json('{"peak_wieght": 0.5}', strict=True, extra="forbid")


@EVERY_LOSS
def test_every_hyperparameter_has_a_default_inside_its_range(cls: type[LossConfig]) -> None:
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        (distribution,) = hints[field.name].__metadata__
        assert isinstance(distribution, FloatDistribution)
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
