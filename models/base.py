"""The contract of a denoiser: a frozen config that builds it, and the table of all of them.

A model is one file in this folder:

    @register("my_model")
    @dataclass(frozen=True, slots=True)
    class MyModelConfig(DenoiserConfig):
        width: Annotated[int, IntDistribution(8, 64)] = 32      # type, search range and default: one line

        def build(self, n_channels: int = 1) -> nn.Module: ...

The range says where a search looks; `__post_init__` says what can exist, so that a saved config outlives a
narrowed range. A field without a distribution is never sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import nn


@dataclass(frozen=True, slots=True)
class DenoiserConfig:
    """What every denoiser's config is: a frozen value that knows its name and builds its module."""

    name: ClassVar[str]

    def build(self, n_channels: int = 1) -> nn.Module:
        """Make the module, with freshly initialised weights drawn from torch's global generator.

        The module maps noisy ``float32[batch, n_channels, time]`` to the estimate ``float32[batch, 1, time]``
        for any ``time >= 1``; channel 0 is the one to clean, further channels are references. It normalises
        nothing: amplitudes arrive scaled such that the clean signal lies within (-1, 1).

        A module whose training is not a loss between its estimate and the clean signal has a method
        ``training_loss(noisy, clean) -> float[]``, which a trainer minimises instead; the estimate of ``module(noisy)``
        stays differentiable and is what validation sees.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build()")


DENOISERS: dict[str, type[DenoiserConfig]] = {}

C = TypeVar("C", bound=DenoiserConfig)


def register(name: str) -> Callable[[type[C]], type[C]]:
    """Enter a config class into DENOISERS under `name`; stands above ``@dataclass``."""

    def enter(cls: type[C]) -> type[C]:
        assert name not in DENOISERS, f"two denoisers are called {name!r}"
        cls.name = name
        DENOISERS[name] = cls
        return cls

    return enter
