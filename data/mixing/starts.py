"""The starts of windows: runs of starts without dropouts in each recording, and what is drawn from them.

Starts are kept as ranges, because a recording has as many windows as samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A window 60 dB below the mean power of its recording is a dropout: scaled to an SNR, it would be rounding errors.
DEAD_POWER_SHARE = 1e-6

# int64[run, 2], the first and the last start of each run, ascending.
Runs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """Starts of windows, in ranges with a common stride.

    first, counts: int64[range], the first start of each range and the number of its starts.
    ends: int64[range], cumulative counts.
    weights, sums: float64[range], the weight of each start of a range, and the cumulative weights of whole ranges; None
        if all weights are equal.
    """

    first: Tensor
    counts: Tensor
    ends: Tensor
    stride: int
    weights: Tensor | None
    sums: Tensor | None

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def at(self, index: Tensor) -> Tensor:
        """Return the starts int64 of the windows number `index`."""
        owner = torch.bucketize(index, self.ends, right=True)
        return self.first[owner] + self.stride * (index - self.ends[owner] + self.counts[owner])

    def pick(self, chance: Tensor) -> Tensor:
        """Return the starts int64 that uniform random numbers from 0 to 1 select, by weight."""
        if self.weights is None or self.sums is None:
            return self.at((chance * len(self)).long().clamp_max(len(self) - 1))
        height = chance.double() * self.sums[-1]
        owner = torch.searchsorted(self.sums, height, right=True).clamp_max(len(self.sums) - 1)
        counts, weights = self.counts[owner], self.weights[owner]
        within = ((height - self.sums[owner]) / weights + counts).long().clamp_min(0)
        return self.first[owner] + self.stride * torch.minimum(within, counts - 1)


def alive_runs(power: Tensor) -> Runs:
    """Return the runs of windows that are not dropouts. power: float32[window] of the windows of one recording."""
    alive = (power > DEAD_POWER_SHARE * power.double().mean()).numpy()
    edges = np.flatnonzero(np.diff(alive, prepend=False, append=False))
    runs: Runs = edges.reshape(-1, 2) - np.array([0, 1])
    return runs


def common_runs(runs: Runs, n_offsets: int, offset: int) -> Runs:
    """Return the runs of starts from which `n_offsets` starts, `offset` apart, all lie in `runs`."""
    found = runs
    for k in range(1, n_offsets):
        found = _intersection(found, runs - k * offset)
    return found


def _intersection(one: Runs, other: Runs) -> Runs:
    """Return the runs of the starts that lie in both."""
    first = np.maximum(one[:, None, 0], other[None, :, 0])
    last = np.minimum(one[:, None, 1], other[None, :, 1])
    both: Runs = np.stack([first, last], axis=-1)[first <= last]
    return both


def starts_of(
    runs: Sequence[Runs], origins: Sequence[int], stride: int, device: torch.device, weights: Sequence[float] = ()
) -> Starts:
    """Return the starts in `runs` of each recording that are multiples of `stride`.

    origins: the start in the concatenated recordings that stands for 0 in the runs of each.
    weights: of each recording; none are equal weights.
    """
    first, counts, owners = [], [], []
    for owner, (own, origin) in enumerate(zip(runs, origins, strict=True)):
        begin = -(-own[:, 0] // stride) * stride
        n = (own[:, 1] - begin) // stride + 1
        first.append(origin + begin[n > 0])
        counts.append(n[n > 0])
        owners.append(np.full((n > 0).sum(), owner))
    number = torch.from_numpy(np.concatenate(counts, dtype=np.int64)).to(device)
    weight = None
    if len(set(weights)) > 1:
        weight = torch.tensor(weights, dtype=torch.float64, device=device)[torch.from_numpy(np.concatenate(owners))]
    return Starts(
        first=torch.from_numpy(np.concatenate(first, dtype=np.int64)).to(device),
        counts=number,
        ends=number.cumsum(0),
        stride=stride,
        weights=weight,
        sums=None if weight is None else (weight * number).cumsum(0),
    )
