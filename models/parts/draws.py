"""Configs drawn at random from the ranges that a config class declares, for the rules of contracts."""

import random
import typing
from dataclasses import fields
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def ranges(cls: type[Any]) -> dict[str, Any]:
    """Return field -> range of a config class: what its annotation holds beside the type."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in fields(cls):
        notes = getattr(hints[field.name], "__metadata__", ())
        if notes:
            found[field.name] = next((note for note in notes if isinstance(note, BaseDistribution)), notes[0])
    return found


def sampled(cls: type[Any], n: int) -> list[Any]:
    """Return the configs that exist among `n` drawn from the ranges. Raises ValueError for a refusal in many lines."""
    rng = random.Random(1)
    found = []
    for _ in range(n):
        point = {name: _draw(rng, distribution) for name, distribution in ranges(cls).items()}
        try:
            found.append(cls(**point))
        except ValueError as error:
            if "\n" in str(error) or not str(error):
                raise ValueError(f"{point} is refused, but not in one line") from error
    return found


def _draw(rng: random.Random, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return rng.choice(distribution.choices)
        case IntDistribution():
            return rng.randrange(distribution.low, distribution.high + 1, distribution.step or 1)
        case FloatDistribution():
            return rng.uniform(distribution.low, distribution.high)
    raise TypeError(f"{distribution!r} is none of Optuna's distributions")
