"""Each rule of models.contract can fail: models with a single fault break the rule that is about it."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from torch import Tensor, nn

import models.contract as contract
from models.base import DenoiserConfig
from models.parts.layers import SameConv, check_input, run_padded
from training.plugins import contract as of_configs
from training.plugins.contract import Rule, problem

CALLS = itertools.count()


class Sound(nn.Module):
    """A model that keeps every rule: two convolutions of the window with a margin of reflected samples."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.first, self.last = SameConv(n_channels, 8, 5), SameConv(8, 1, 5)

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, 1, margin_samples=8)

    def denoise(self, noisy: Tensor) -> Tensor:
        estimate: Tensor = self.last(nn.functional.gelu(self.first(noisy)))
        return estimate


class EvenLengths(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return super().forward(noisy)[..., : noisy.shape[-1] // 2 * 2]


class InPlace(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        check_input(noisy)
        noisy *= 0.9
        return super().forward(noisy)


class Unused(Sound):
    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.spare = nn.Linear(2, 2)


class Detached(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return super().forward(noisy).detach() + 0.0 * sum(p.sum() for p in self.parameters())


class BatchMean(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        estimate = super().forward(noisy)
        return estimate - 0.5 * estimate.mean(dim=0, keepdim=True)


class ByPosition(Sound):
    """The first item of a batch is treated as no other."""

    def forward(self, noisy: Tensor) -> Tensor:
        estimate = super().forward(noisy)
        return torch.cat((0.5 * estimate[:1], estimate[1:]))


class Normalised(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return super().forward(noisy / noisy.abs().amax(dim=-1, keepdim=True))


class Dropping(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(noisy), 0.2, training=True)


class HiddenScale(Sound):
    """A weight that no state_dict has."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.scale = 1.0 + 0.01 * next(CALLS)

    def forward(self, noisy: Tensor) -> Tensor:
        return self.scale * super().forward(noisy)


class OwnSeeds(Sound):
    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        generator = torch.Generator().manual_seed(next(CALLS))
        nn.init.normal_(self.last.conv.weight, std=0.1, generator=generator)


class Unchecked(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return self.denoise(noisy)


class InComplex(Sound):
    """Complex numbers have no parts in bf16."""

    def forward(self, noisy: Tensor) -> Tensor:
        estimate = super().forward(noisy)
        return torch.complex(estimate, torch.zeros_like(estimate)).real


class ZeroPadded(Sound):
    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.first = nn.Conv1d(n_channels, 8, 65, padding=32)  # type: ignore[assignment]
        self.last = nn.Conv1d(8, 1, 65, padding=32)  # type: ignore[assignment]

    def forward(self, noisy: Tensor) -> Tensor:
        check_input(noisy)
        return self.denoise(noisy)


class Spiking(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        estimate = super().forward(noisy)
        return torch.cat((3 + estimate[..., :1], estimate[..., 1:]), dim=-1)


class Faint(Sound):
    def forward(self, noisy: Tensor) -> Tensor:
        return 1e-3 * super().forward(noisy)


class OneChannel(Sound):
    def __init__(self, n_channels: int) -> None:
        super().__init__(1)


def config_of(module: Callable[[int], nn.Module]) -> type[DenoiserConfig]:
    """Build the class of configs of a module."""

    @dataclass(frozen=True, slots=True)
    class Config(DenoiserConfig):
        width: Annotated[int, IntDistribution(1, 4)] = 2

        def build(self, n_channels: int = 1) -> nn.Module:
            return module(n_channels)

    return Config


def rule_of(function: Callable[..., str]) -> Rule:
    """Find the rule that a function checks."""
    (found,) = [rule for rule in (*contract.RULES, *of_configs.CONFIG_RULES) if rule[1] is function]
    return found


@pytest.mark.parametrize("rule", contract.RULES, ids=[rule[1].__name__ for rule in contract.RULES])
def test_a_sound_model_keeps_the_rule(rule: Rule) -> None:
    assert problem(rule, config_of(Sound)) == ""


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (EvenLengths, contract.keeps_any_length),
        (OneChannel, contract.takes_any_channels),
        (InPlace, contract.leaves_its_input),
        (Unused, contract.gradient_reaches_parameters),
        (Detached, contract.learns_a_batch),
        (ByPosition, contract.permutes_with_the_batch),
        (BatchMean, contract.items_are_independent),
        (Normalised, contract.survives_silence),
        (Dropping, contract.repeats_itself),
        (HiddenScale, contract.can_be_saved_and_copied),
        (OwnSeeds, contract.seeds_decide_weights),
        (Unchecked, contract.refuses_other_shapes),
        (InComplex, contract.runs_in_bf16),
        (ZeroPadded, contract.ends_are_like_the_middle),
        (Spiking, contract.ends_do_not_spike),
        (Faint, contract.amplitude_stays),
    ],
)
def test_a_broken_model_breaks_its_rule(module: type[Sound], function: Callable[..., str]) -> None:
    found = problem(rule_of(function), config_of(module))
    assert found
    assert "\n" not in found


@dataclass(frozen=True, slots=True)
class OutOfRange(DenoiserConfig):
    width: Annotated[int, IntDistribution(8, 64)] = 4

    def build(self, n_channels: int = 1) -> nn.Module:
        return Sound(n_channels)


class Undecorated(DenoiserConfig):
    width: int = 4


@dataclass(frozen=True, slots=True)
class NoRange(DenoiserConfig):
    width: Annotated[int, (8, 64)] = 8


@dataclass(frozen=True, slots=True)
class Refusing(DenoiserConfig):
    share: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.1

    def __post_init__(self) -> None:
        if self.share > 0.2:
            raise ValueError(f"share is {self.share}; at most 0.2 is allowed")


@dataclass(frozen=True, slots=True)
class Unbuildable(DenoiserConfig):
    width: Annotated[int, IntDistribution(1, 8)] = 4

    def build(self, n_channels: int = 1) -> nn.Module:
        if self.width % 2:
            raise RuntimeError("an even width is needed")
        return Sound(n_channels)


@dataclass(frozen=True, slots=True)
class Complex(DenoiserConfig):
    phase: complex = 1j


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (OutOfRange, "width = 4 lies outside of IntDistribution"),
        (Undecorated, "Undecorated is no dataclass"),
        (NoRange, "the range of width is (8, 64)"),
        (Refusing, "draws from the ranges are refused"),
        (Unbuildable, "RuntimeError: an even width is needed"),
        (Complex, "complex"),
    ],
)
def test_a_broken_config_breaks_a_rule(cls: type[DenoiserConfig], words: str) -> None:
    found = [problem(rule, cls) for rule in (*of_configs.CONFIG_RULES, contract.RULES[0])]
    assert any(words in text for text in found), found


def test_rules_leave_torch_as_it_was() -> None:
    state = torch.random.get_rng_state()
    for rule in contract.RULES[:3]:
        problem(rule, config_of(Sound))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
