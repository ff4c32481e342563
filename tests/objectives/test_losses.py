"""The contract every loss keeps, run over LOSSES."""

import copy
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, get_origin, get_type_hints

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from objectives.losses import (
    LOSSES,
    AntiCollapseConfig,
    CombinedConfig,
    CwtConfig,
    LossConfig,
    MrStftConfig,
    NegSiSdrConfig,
    PeakL1Config,
    SmoothL1Config,
)

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
def test_autocast_does_not_lower_the_precision_of_the_loss(cls: type[LossConfig]) -> None:
    """A training step calls it within the context that the model's forward pass runs in."""
    estimate, clean = signals()
    plain = gradient(cls(), estimate, clean)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gradient(cls(), estimate, clean), plain)


def half(default: object) -> float:
    """Half of a number, of the same type."""
    assert isinstance(default, int | float)
    return type(default)(default / 2)


@EVERY_LOSS
def test_config_survives_strict_json_and_refuses_what_it_does_not_know(cls: type[LossConfig]) -> None:
    adapter = TypeAdapter(cls)
    # half of every default is allowed, and differs from it
    config = cls(**{field.name: half(field.default) for field in fields(cls)})
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
