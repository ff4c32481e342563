"""Which windows training draws, by the weights of the recordings that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data.corpus import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """Some windows to draw from. n: how many. sums: float64[window], the weights up to and with each; None where all
    weigh alike."""

    n: int
    sums: Tensor | None

    def pick(self, chance: Tensor) -> Tensor:
        """int64: the windows at chances float32 from 0 to 1, a window's share of them being that of its weight."""
        if self.sums is None:
            return (chance * self.n).long().clamp_max(self.n - 1)
        at = chance.double() * self.sums[-1]
        return torch.searchsorted(self.sums, at, right=True).clamp_max(self.n - 1)


def odds_of(segments: Sequence[Segment], starts: Tensor) -> Odds:
    """Odds of the windows that begin at `starts` in `segments` laid end to end, in order."""
    if len({segment.weight for segment in segments}) == 1:
        return Odds(len(starts), None)
    ends = torch.tensor([segment.n_samples for segment in segments], device=starts.device).cumsum(0)
    weights = torch.tensor([segment.weight for segment in segments], dtype=torch.float64, device=starts.device)
    return Odds(len(starts), weights[torch.bucketize(starts, ends, right=True)].cumsum(0))
