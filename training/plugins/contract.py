"""The contract of everything that can be registered, as rules that a command and the test suites check.

A rule is a text, a function that returns the problem of its subject or "" where there is none, and advice for a
subject that breaks the rule. CONFIG_RULES hold for the configs of models and of losses. The other rules stand with
their kinds: models.contract, objectives.contract, training.evaluation.contract, data.readers.contract and
search.sampling.contract.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from optuna.distributions import BaseDistribution
from pydantic import TypeAdapter

from models.contract import N_SAMPLED
from models.parts.draws import ranges, sampled
from training.decode import encode

Rule = tuple[str, Callable[[Any], str], str]
MAX_SHOWN = 200  # characters of an error


def problem(rule: Rule, subject: Any) -> str:
    """Return why `subject` breaks a rule; "" where it does not. Any error of the subject is a problem.

    Random numbers are seeded, and an operation of torch without a deterministic form raises.
    """
    with _repeatable():
        try:
            return rule[1](subject)
        except Exception as error:  # a stranger's code may raise anything
            text = " ".join(str(error).split())
            return f"{type(error).__name__}: {text}"[:MAX_SHOWN]


@contextmanager
def _repeatable() -> Iterator[None]:
    """Seed torch and use deterministic algorithms in the block; restore both after it."""
    was = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(0)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was)


def _is_a_frozen_value(cls: type[Any]) -> str:
    if "__dataclass_fields__" not in cls.__dict__:
        return f"{cls.__name__} is no dataclass"
    config = cls()
    for field in dataclasses.fields(cls):
        try:
            setattr(config, field.name, getattr(config, field.name))
        except dataclasses.FrozenInstanceError:
            continue
        return f"{field.name} can be set"
    if hash(config) != hash(cls()) or config != cls():
        return "two configs of the defaults are not equal"
    return ""


def _has_known_ranges(cls: type[Any]) -> str:
    for name, distribution in ranges(cls).items():
        if not isinstance(distribution, BaseDistribution):
            return f"the range of {name} is {distribution!r}"
    return ""


def _defaults_lie_in_their_ranges(cls: type[Any]) -> str:
    config = cls()
    for name, distribution in ranges(cls).items():
        default = getattr(config, name)
        try:
            inside = distribution._contains(distribution.to_internal_repr(default))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            return f"{name} = {default!r} lies outside of {distribution}"
    return ""


def _survives_a_document(cls: type[Any]) -> str:
    adapter = TypeAdapter(cls)
    for config in (cls(), *sampled(cls, 5)):
        text = json.dumps(encode(config))
        if adapter.validate_json(text, strict=True, extra="forbid") != config:
            return f"{text} gives another config"
    return ""


def _draws_exist_or_are_refused(cls: type[Any]) -> str:
    possible = sampled(cls, N_SAMPLED)  # raises for a refusal of more than one line
    n_refused = N_SAMPLED - len(possible)
    return "" if 2 * n_refused <= N_SAMPLED else f"{n_refused} of {N_SAMPLED} draws from the ranges are refused"


CONFIG_RULES: tuple[Rule, ...] = (
    (
        "the config is a frozen dataclass, equal and hashable by its values",
        _is_a_frozen_value,
        "write @register above and @dataclass(frozen=True, slots=True) below it, and a default for every field",
    ),
    (
        "ranges are Optuna's distributions",
        _has_known_ranges,
        "write width: Annotated[int, IntDistribution(8, 64)] = 32",
    ),
    ("every default lies in its range", _defaults_lie_in_their_ranges, "move the default or widen the range"),
    (
        "a config that is written to a document and read again is equal",
        _survives_a_document,
        "use fields of bool, int, float, str, Literal or tuples of these, and check values in __post_init__",
    ),
    (
        "at least half of the configs drawn from the ranges exist; others are refused by a ValueError of one line",
        _draws_exist_or_are_refused,
        "narrow the ranges, or derive one of the fields from the others",
    ),
)
