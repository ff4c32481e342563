"""Every loss in LOSSES keeps the contract of objectives.contract, and has the values that its docstring states."""

import math
from dataclasses import fields
from typing import Annotated, get_origin, get_type_hints

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from objectives.contract import LOSS_RULES
from objectives.losses import (
    LOSSES,
    AntiCollapseConfig,
    CombinedConfig,
    CwtConfig,
    LossConfig,
    MrStftConfig,
    MseConfig,
    NegSiSdrConfig,
    PeakL1Config,
    SmoothL1Config,
    register_loss,
)
from training.plugins.contract import CONFIG_RULES, Rule, problem

EVERY_RULE = (*CONFIG_RULES, *LOSS_RULES)
MINIMUM = {"si_sdr": -50.0, "anti_collapse": -50.0, "combined": -50.0}
NOT_SEARCHED = {"smallest_scale", "largest_scale", "n_scales", "n_resolutions", "limit_db"}
EVERY_LOSS = pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES.keys())


def signals(seed: int = 0, batch: int = 4, time: int = 400) -> tuple[Tensor, Tensor]:
    """A random estimate and a clean signal, both [batch, 1, time] and well within (-1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    estimate, clean = 0.2 * torch.randn(2, batch, 1, time, generator=generator)
    return estimate, clean


@pytest.mark.parametrize("rule", EVERY_RULE, ids=[rule[1].__name__ for rule in EVERY_RULE])
@EVERY_LOSS
def test_every_loss_keeps_the_rule(cls: type[LossConfig], rule: Rule) -> None:
    assert problem(rule, cls) == ""


def test_two_losses_cannot_share_a_name_nor_one_have_two() -> None:
    with pytest.raises(ValueError, match=r"'mse' is registered already, by objectives\.losses"):
        register_loss("mse")(LossConfig)
    with pytest.raises(ValueError, match="MseConfig is registered already, as 'mse'"):
        register_loss("other")(MseConfig)
    assert "other" not in LOSSES


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


@pytest.mark.parametrize("name", LOSSES)
def test_signals_of_two_shapes_are_refused_with_both(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(4, 1, 400\).*\(4, 400\).*both must be the same"):
        LOSSES[name]().build()(torch.zeros(4, 1, 400), torch.zeros(4, 400))
