"""Deal recordings to train, validation and test, so that those of a group stay on one side.

Nothing here depends on names or on the order of a list: recordings are told apart by digests of their content.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from data.config import SplitConfig, Use

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording to be dealt.

    role: "clean" or "noise". digest: identifies its content. use: see data.config.Source.
    group: its person or car; None if its source names none.
    """

    role: str
    digest: str
    use: Use = "split"
    group: str | None = None


def deal(entries: Sequence[Entry], split: SplitConfig) -> list[str | None]:
    """Return the split of each recording; None for those to be divided in time.

    A pinned recording goes where it is pinned. Recordings without a group are dealt one by one, each role by itself;
    fewer than three of a role are divided in time. The others are dealt by group: a group with both roles goes to one
    side as a whole, and groups with the same roles are dealt together. If a part of a group is pinned, the rest follows
    it, to the first of its sides if these are several.
    """
    sides: dict[int, str | None] = {i: entry.use for i, entry in enumerate(entries) if entry.use != "split"}
    order = sorted(range(len(entries)), key=lambda i: (entries[i].digest, entries[i].role))
    free = [i for i in order if i not in sides]
    for role in ("clean", "noise"):
        single = [i for i in free if entries[i].group is None and entries[i].role == role]
        is_cut = len(single) < len(SPLITS)
        sides.update(zip(single, [None] * len(single) if is_cut else spread(len(single), split), strict=True))
    groups: dict[str, list[int]] = {}  # in the order of their smallest digests
    pinned: dict[str, list[str]] = {}
    for i in order:
        group = entries[i].group
        if group is None:
            continue
        if i in sides:
            pinned.setdefault(group, []).append(entries[i].use)
        else:
            groups.setdefault(group, []).append(i)
    whole = {name: members for name, members in groups.items() if name not in pinned}
    by_roles = sorted(whole.values(), key=lambda members: _roles(members, entries))
    for _, alike in groupby(by_roles, key=lambda members: _roles(members, entries)):
        dealt = list(alike)
        for members, side in zip(dealt, spread(len(dealt), split), strict=True):
            sides.update(dict.fromkeys(members, side))
    for name in groups.keys() & pinned.keys():
        sides.update(dict.fromkeys(groups[name], min(pinned[name], key=SPLITS.index)))
    return [sides[i] for i in range(len(entries))]


def _roles(members: Sequence[int], entries: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(sorted({entries[i].role for i in members}))


def spread(n: int, split: SplitConfig) -> list[str]:
    """Return the splits of n things, in seeded random order.

    Each split gets at least one of three or more; of two, test gets one; a single one is for training.
    """
    n_validation, n_test = counts(n, split) if n >= len(SPLITS) else (0, n // 2)
    sides = ["train"] * n
    order = np.random.default_rng(split.seed).permutation(n)
    for rank, i in enumerate(order[: n_validation + n_test]):
        sides[i] = "validation" if rank < n_validation else "test"
    return sides


def counts(n: int, split: SplitConfig) -> tuple[int, int]:
    """Return how many of n recordings or groups, three or more, validation and test get; each split gets one."""
    n_validation = max(1, min(n - 2, round(n * split.validation)))
    return n_validation, max(1, min(n - n_validation - 1, round(n * split.test)))


def time_parts(n_samples: int, guard: int, split: SplitConfig) -> dict[str, slice]:
    """Return the samples of each split of a recording that is divided in time, with gaps of `guard` samples."""
    usable = n_samples - 2 * guard
    parts, start = {}, 0
    for use in SPLITS:
        stop = start + int(usable * getattr(split, use))
        parts[use] = slice(start, stop)
        start = stop + guard
    return parts
