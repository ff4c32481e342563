"""The interface of a denoiser: a frozen config class that builds it, and the table of all config classes.

A model is one file, in this folder or anywhere (docs/guide/plugins.md):

    @register("my_model")
    @dataclass(frozen=True, slots=True)
    class MyModelConfig(DenoiserConfig):
        width: Annotated[int, IntDistribution(8, 64)] = 32      # type, search range and default: one line

        def build(self, n_channels: int = 1) -> nn.Module: ...

The range is what a search samples from. `__post_init__` checks what is possible, which is wider, so that a saved config
stays valid if the range is narrowed. A field without a distribution is never sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from torch import nn

from models.parts.streaming import CausalDenoiser, Reach


@dataclass(frozen=True, slots=True)
class DenoiserConfig:
    """The base class of the configs of all denoisers."""

    name: ClassVar[str]

    def build(self, n_channels: int = 1) -> nn.Module:
        """Build the module, with initial weights drawn from torch's global generator.

        The module maps noisy ``float32[batch, n_channels, time]`` to the estimate ``float32[batch, 1, time]`` for any
        ``time >= 1``. Channel 0 is the channel to denoise, the others are reference channels. The module does not
        normalise: its input is scaled so that the clean signal lies within (-1, 1).

        A module that is not trained by a loss between its estimate and the clean signal has a method
        ``training_loss(noisy, clean) -> float[]``, which the trainer minimises instead. Its ``module(noisy)`` is
        differentiable too and is used in validation.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build()")

    def build_causal(self, n_channels: int, reach: Reach) -> CausalDenoiser:
        """Build the causal form of the module, which estimates a signal as it arrives (models.parts.streaming).

        It takes a signal of any amplitude, and its estimate grows with it.

        Raises ValueError for a family without one.
        """
        causal = [name for name, config in DENOISERS.items() if config.build_causal is not DenoiserConfig.build_causal]
        raise ValueError(f"{self.name} has no causal form; {', '.join(sorted(causal))} have, or set causal to false")


DENOISERS: dict[str, type[DenoiserConfig]] = {}

C = TypeVar("C", bound=DenoiserConfig)


def register(name: str) -> Callable[[type[C]], type[C]]:
    """Return a class decorator that adds a config class to DENOISERS as `name`; use it above ``@dataclass``.

    Raises ValueError for a name or a class that is registered already.
    """

    def add(cls: type[C]) -> type[C]:
        if cls in DENOISERS.values():
            raise ValueError(
                f"model {cls.__name__} is registered already, as {cls.name!r}; derive a class for {name!r}"
            )
        if name in DENOISERS:
            raise ValueError(f"model {name!r} is registered already, by {DENOISERS[name].__module__}; rename one")
        cls.name = name
        DENOISERS[name] = cls
        return cls

    return add
