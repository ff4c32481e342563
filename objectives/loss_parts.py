"""What losses are made of: the config they all have, the module that checks shapes, the weighted sum of terms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


class Loss(nn.Module):
    """A function of (estimate, clean) as a module; shapes must agree, as broadcasting hides mistakes."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scalar loss of two Tensor[batch, 1, time]; raises ValueError where the shapes differ."""
        if estimate.shape != clean.shape:
            raise ValueError(
                f"estimate has shape {tuple(estimate.shape)} and clean {tuple(clean.shape)};"
                " both must be the same [batch, 1, time]"
            )
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        return self.function(estimate.to(dtype), clean.to(dtype))


class WeightedSum(nn.Module):
    """Sum of weight times term; a term of weight 0 is left out, so that it costs no time."""

    def __init__(self, *terms: tuple[float, Callable[[Tensor, Tensor], Tensor]]) -> None:
        super().__init__()
        self.terms = [(weight, term) for weight, term in terms if weight]
        # Modules must be known as such, or their buffers would not follow `.to(device)`.
        self.parts = nn.ModuleList(term for _, term in self.terms if isinstance(term, nn.Module))

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scalar of two Tensor[batch, 1, time]."""
        return torch.stack([weight * term(estimate, clean) for weight, term in self.terms]).sum()


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What every loss's config is: a frozen value that knows its name and builds its module."""

    name: ClassVar[str]

    def build(self) -> nn.Module:
        """Make the module: (estimate, clean), both Tensor[batch, 1, time], to a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")


def require(config: LossConfig, name: str, holds: bool, allowed: str) -> None:
    """Raises ValueError naming the loss, its field `name`, the value got and what is `allowed`, unless `holds`."""
    # A comparison with NaN is false, so NaN is refused wherever `holds` is a comparison.
    if not holds:
        raise ValueError(f"{config.name}: {name} is {getattr(config, name)}; {allowed} is needed")
