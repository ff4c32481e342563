"""Labels of recordings in frames, such as those of heart sounds, cut and played with the windows of the recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.mixing.tempo import Places

# Labels are kept as whole numbers from 0 to FULL; UNKNOWN stands for NaN.
FULL, UNKNOWN = 254, 255


@dataclass(frozen=True, slots=True, eq=False)
class FrameLabels:
    """Labels of recordings, one frame every `hop` samples from their first sample on.

    values: uint8[frame, class], of the recordings one after another.
    first, counts: int64[recording], the first frame of each recording and the number of its frames.
    """

    values: Tensor
    first: Tensor
    counts: Tensor
    hop: int

    def take(self, places: Places, window: int) -> Tensor:
        """Return the labels float32[window, frame, class] of windows of `window` samples without context.

        Labels between two frames are interpolated, and unknown (NaN) next to an unknown one.
        """
        at = self.hop * torch.arange(window // self.hop, device=self.values.device)
        place = (places.own[:, None] + at * (1 + places.longer[:, None])) / self.hop
        before = place.floor()
        share = (place - before)[..., None]
        last = (self.counts[places.recording] - 1)[:, None]
        first = self.first[places.recording][:, None]
        here, following = (self.values[first + torch.minimum(before.long() + k, last)] for k in (0, 1))
        label = ((1 - share) * here + share * following) / FULL
        unknown = (here == UNKNOWN) | ((following == UNKNOWN) & (share > 0))
        return label.masked_fill_(unknown, torch.nan)


def frame_labels(labels: Sequence[NDArray[np.floating]], hop: int, device: torch.device) -> FrameLabels:
    """Return the labels of recordings, each float[frame, class] from 0 to 1, NaN where unknown."""
    counts = [len(each) for each in labels]
    whole = [np.where(np.isnan(each), UNKNOWN, np.round(each * FULL)).astype(np.uint8) for each in labels]
    return FrameLabels(
        values=torch.from_numpy(np.concatenate(whole)).to(device),
        first=torch.tensor([0, *accumulate(counts)][:-1], device=device),
        counts=torch.tensor(counts, device=device),
        hop=hop,
    )
