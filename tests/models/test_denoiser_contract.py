"""Every denoiser keeps the contract of models.contract, files added later included."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from models import DENOISERS, DenoiserConfig
from models.base import register
from models.contract import RULES
from models.parts.draws import sampled
from training.plugins.contract import CONFIG_RULES, Rule, problem

EVERY_RULE = (*CONFIG_RULES, *RULES)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=[rule[1].__name__ for rule in EVERY_RULE])
@pytest.mark.parametrize("name", DENOISERS)
def test_every_denoiser_keeps_the_rule(name: str, rule: Rule) -> None:
    assert problem(rule, DENOISERS[name]) == ""


@pytest.mark.parametrize("name", DENOISERS)
def test_every_draw_from_the_ranges_of_our_own_exists(name: str) -> None:
    """A plug-in's ranges may have points that it refuses; ours have none among many draws."""
    assert len(sampled(DENOISERS[name], 20)) == 20


def test_the_key_in_the_table_is_the_denoisers_name() -> None:
    assert {cls.name: cls for cls in DENOISERS.values()} == DENOISERS


@pytest.mark.parametrize("name", [name for name, cls in DENOISERS.items() if list(cls().build().parameters())])
@pytest.mark.parametrize("shape", [(2, 200), (1, 1, 0)])
def test_an_input_of_another_shape_is_refused_with_the_right_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \[batch, channel, time\]"):
        DENOISERS[name]().build()(torch.zeros(shape))


def test_two_denoisers_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match=r"'identity' is registered already, by models\.identity"):
        register("identity")(DenoiserConfig)


def test_a_denoiser_cannot_have_two_names() -> None:
    with pytest.raises(ValueError, match="IdentityConfig is registered already, as 'identity'"):
        register("identity_too")(DENOISERS["identity"])
    assert "identity_too" not in DENOISERS


WITHOUT_POSITIONS: list[tuple[str, Mapping[str, Any]]] = [
    *(
        (name, {"levels": 3, "skip": skip})
        for name in ("autoencoder", "pixel_shuffle", "wave_unet")
        for skip in (True, False)
    ),
    ("wave_unet_transformer", {"levels": 3, "positional": "none"}),
    ("wave_unet_transformer", {"levels": 3, "positional": "none", "skip": False}),
    ("pixel_shuffle_transformer", {"levels": 3, "positional": "none"}),
    ("tcn_mask", {"stride": 8}),
    ("conv_transformer", {"halvings": 3, "positional": "none"}),
    ("demucs", {"levels": 3, "bottleneck": "none"}),
]


@pytest.mark.parametrize(("name", "settings"), WITHOUT_POSITIONS, ids=str)
def test_window_ends_are_treated_like_the_middle(name: str, settings: Mapping[str, Any]) -> None:
    """A constant input gives an output that repeats with the coarsest step, right to both ends: no spikes."""
    with torch.no_grad():
        estimate = DENOISERS[name](**settings).build().eval()(torch.full((1, 1, 256), 0.4))[0, 0]
    torch.testing.assert_close(estimate, estimate[128:136].repeat(32), atol=1e-5, rtol=0)
