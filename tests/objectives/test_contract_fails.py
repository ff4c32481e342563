"""Each rule of objectives.contract can fail: losses and metrics with a single fault break the rule that is about it."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import objectives.contract as contract
from objectives.losses import Loss, LossConfig
from objectives.metrics import METRICS, MetricSpec, in_float64
from training.plugins.contract import Rule, problem

CALLS = itertools.count()
Function = Callable[[Tensor, Tensor], Tensor]


def config_of(function: Function, *, checked: bool = True) -> type[LossConfig]:
    """Build the class of configs of a loss. checked: refuse shapes, and compute in float32."""

    class Plain(nn.Module):
        def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
            return function(estimate, clean)

    @dataclass(frozen=True, slots=True)
    class Config(LossConfig):
        def build(self) -> nn.Module:
            return Loss(function) if checked else Plain()

    return Config


def cosine(estimate: Tensor, clean: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(estimate, dim=-1) * torch.linalg.vector_norm(clean, dim=-1)
    loss: Tensor = -(estimate * clean).sum(-1) / norms
    return loss


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        return self.weight * F.l1_loss(estimate, clean)


@dataclass(frozen=True, slots=True)
class LearnedConfig(LossConfig):
    def build(self) -> nn.Module:
        return Learned()


BROKEN: list[tuple[type[LossConfig], Callable[..., str]]] = [
    (config_of(lambda e, c: (e - c).abs().mean(-1)), contract.is_lowest_at_the_clean_signal),
    (config_of(lambda e, c: -F.l1_loss(e, c)), contract.is_lowest_at_the_clean_signal),
    (config_of(lambda e, c: F.l1_loss(e[..., ::2], c[..., ::2])), contract.gradient_reaches_samples),
    (config_of(lambda e, c: cosine(e, c).mean()), contract.survives_near_silence),
    (
        config_of(lambda e, c: ((e - c).square().sum(-1) / c.square().sum(-1)).mean()),
        contract.silent_windows_do_no_harm,
    ),
    (config_of(lambda e, c: (e.square() - c.square()).abs().mean()), contract.leaves_silence),
    (config_of(lambda e, c: (e.abs() - c.abs()).abs().mean()), contract.knows_polarity),
    (config_of(lambda e, c: F.l1_loss(e, c) * (1 + 0.01 * next(CALLS))), contract.repeats_itself),
    (config_of(lambda e, c: F.l1_loss(e.diff(dim=-1), c.diff(dim=-1))), contract.takes_short_windows),
    (config_of(lambda e, c: (e - c).abs().mean((1, 2)).cumsum(0).mean()), contract.ignores_the_order),
    (config_of(lambda e, c: F.l1_loss(e, c) / c.abs().amax()), contract.is_the_mean_of_windows),
    (config_of(lambda e, c: (10 * (e - c).abs()).sin().mean()), contract.falls_with_the_error),
    (config_of(lambda e, c: (e - c).mean(-1).abs().mean()), contract.cleans_by_descent),
    (config_of(lambda e, c: (e - c).abs().mean(), checked=False), contract.refuses_other_shapes),
    (config_of(lambda e, c: (e - c.to(e.dtype)).abs().mean(), checked=False), contract.is_computed_in_float32),
    (config_of(lambda e, c: (e.squeeze(1) @ torch.eye(400) - c.squeeze(1)).abs().mean()), contract.ignores_autocast),
    (LearnedConfig, contract.has_no_parameters),
]


def rule_of(function: Callable[..., str]) -> Rule:
    """Find the rule that a function checks."""
    rules: tuple[Rule, ...] = (*contract.LOSS_RULES, *contract.METRIC_RULES)
    (found,) = [rule for rule in rules if rule[1] is function]
    return found


@pytest.mark.parametrize(("cls", "function"), BROKEN, ids=[function.__name__ for _, function in BROKEN])
def test_a_broken_loss_breaks_its_rule(cls: type[LossConfig], function: Callable[..., str]) -> None:
    found = problem(rule_of(function), cls)
    assert found
    assert "\n" not in found


def test_every_rule_for_losses_has_a_loss_that_breaks_it() -> None:
    assert {function for _, function in BROKEN} == {rule[1] for rule in contract.LOSS_RULES}


SOUND = METRICS["cosine_similarity"]


def with_function(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> MetricSpec:
    return replace(SOUND, function=function)


def unguarded(estimate: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
    e, c = in_float64(estimate, clean)
    cosines: Tensor = (e * c).sum(-1) / (torch.linalg.vector_norm(e, dim=-1) * torch.linalg.vector_norm(c, dim=-1))
    return cosines


def broadcasting(estimate: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
    return -(estimate.double() - clean.double()).abs().mean(-1).nan_to_num(math.inf, math.inf, math.inf)


BROKEN_METRICS: list[tuple[MetricSpec, Callable[..., str]]] = [
    (with_function(lambda e, n, c: SOUND.function(e, n, c).float()), contract.scores_windows),
    (with_function(lambda e, n, c: SOUND.function(e, n, c) - e.double().mean()), contract.scores_windows),
    (replace(SOUND, direction="minimize"), contract.follows_its_direction),
    (replace(SOUND, direction="up"), contract.follows_its_direction),  # type: ignore[arg-type]
    (replace(SOUND, silence_wins=True), contract.states_what_silence_does),
    (replace(METRICS["mad"], silence_wins=False), contract.states_what_silence_does),
    (with_function(unguarded), contract.never_rewards_broken_estimates),
    (with_function(unguarded), contract.takes_silent_windows),
    (with_function(broadcasting), contract.refuses_broadcasting),
    (with_function(lambda e, n, c: SOUND.function(e, n, c) + next(CALLS)), contract.repeats_its_scores),
]


@pytest.mark.parametrize(
    ("spec", "function"), BROKEN_METRICS, ids=[function.__name__ for _, function in BROKEN_METRICS]
)
def test_a_broken_metric_breaks_its_rule(spec: MetricSpec, function: Callable[..., str]) -> None:
    assert problem(rule_of(function), spec)


def test_every_rule_for_metrics_has_a_metric_that_breaks_it() -> None:
    assert {function for _, function in BROKEN_METRICS} == {rule[1] for rule in contract.METRIC_RULES}
