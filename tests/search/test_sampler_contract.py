"""Every sampler keeps the contract of search.sampling.contract, and each of its rules can fail."""

from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest

import search.sampling.contract as contract
from search.sampling.samplers import SAMPLERS, Builder, SamplerSpec, mixed, register_sampler
from training.plugins.contract import Rule, problem


@pytest.mark.parametrize("rule", contract.RULES, ids=[rule[1].__name__ for rule in contract.RULES])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_rule(name: str, rule: Rule) -> None:
    assert problem(rule, name) == ""


class Outside(optuna.samplers.RandomSampler):
    def sample_independent(self, *arguments: Any) -> Any:
        value = super().sample_independent(*arguments)
        return 1000 if arguments[2] == "width" else value


def unbuilt(spec: SamplerSpec, seed: int, slot: int) -> Any:
    return optuna.samplers.RandomSampler


def outside(spec: SamplerSpec, seed: int, slot: int) -> Any:
    return Outside(seed=mixed(seed, slot))


def unseeded(spec: SamplerSpec, seed: int, slot: int) -> Any:
    return optuna.samplers.RandomSampler()


def same_for_slots(spec: SamplerSpec, seed: int, slot: int) -> Any:
    return optuna.samplers.RandomSampler(seed=seed)


def same_for_seeds(spec: SamplerSpec, seed: int, slot: int) -> Any:
    return optuna.samplers.RandomSampler(seed=slot)


BROKEN: list[tuple[Builder, Callable[..., str]]] = [
    (unbuilt, contract.is_a_sampler),
    (outside, contract.stays_in_the_space),
    (unseeded, contract.follows_from_seed_and_slot),
    (same_for_slots, contract.draws_anew_for_each_slot),
    (same_for_seeds, contract.depends_on_the_seed),
]


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name in the table while the test runs."""
    register_sampler("broken")(request.param)
    yield "broken"
    del SAMPLERS["broken"]


@pytest.mark.parametrize(
    ("registered", "function"),
    BROKEN,
    ids=[function.__name__ for _, function in BROKEN],
    indirect=["registered"],
)
def test_a_broken_sampler_breaks_its_rule(registered: str, function: Callable[..., str]) -> None:
    (rule,) = [rule for rule in contract.RULES if rule[1] is function]
    assert problem(rule, registered)


def test_two_samplers_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match=r"'tpe' is registered already, by search\.sampling\.samplers"):
        register_sampler("tpe")(unseeded)
