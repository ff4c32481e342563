"""Groups of windows, a fixed offset apart in one recording, make the batches."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from data.config import AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split, load
from data.errors import DataError
from data.mixing.mixture import Batch, Mixture, heads_of
from data.mixing.windows import cut
from data.readers.arrays.npz import write_npz
from data.recording import Recording

RATE_HZ = 500.0
WINDOW = 512
BATCH = 16
CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def config(augment: AugmentConfig = AugmentConfig(), **options: Any) -> DataConfig:  # noqa: B008, a frozen value
    chosen: dict[str, Any] = {"rate_hz": RATE_HZ, "window_samples": WINDOW, "stride_samples": 32, "band_hz": None}
    return DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), augment=augment, **(chosen | options))


def segment(seed: int, n_samples: int) -> Segment:
    row = np.random.default_rng(seed).standard_normal((1, n_samples)).astype(np.float32)
    return Segment(row, row[0], Path(f"{seed}.npz"))


def split() -> Split:
    return Split((segment(1, 4000), segment(2, 3000)), (segment(3, 4000), segment(4, 2500)))


def batches(data: DataConfig, parts: Split, *, n_steps: int = 3) -> list[Batch]:
    return list(Mixture(parts, data, CPU).epoch(n_steps, BATCH, seeded(), gain=1.0))


def heads_in(segments: tuple[Segment, ...], *, window: int, stride: int, n_offsets: int, offset: int) -> torch.Tensor:
    data = config(window_samples=window, stride_samples=stride, batch_offsets=n_offsets, offset_samples=offset)
    heads = heads_of(segments, cut(segments, window, CPU), data)
    return heads.at(torch.arange(len(heads)))


def clean_of(batch: Batch) -> torch.Tensor:
    return (batch.clean * batch.scale)[:, 0]


def test_windows_of_a_group_lie_offset_samples_apart_in_one_recording() -> None:
    parts = split()
    data = config(batch_offsets=3, offset_samples=100, randomiser="none")
    views = [np.lib.stride_tricks.sliding_window_view(s.signals[0], WINDOW) for s in parts.clean]
    for batch in batches(data, parts):
        assert len(batch.clean) == 15  # 16 rounded down to whole groups
        found = []
        for window in clean_of(batch).numpy():
            distances = [np.abs(view[:, ::17] - window[::17]).max(-1) for view in views]
            owner = int(np.argmin([d.min() for d in distances]))
            found.append((owner, int(np.argmin(distances[owner]))))
        for first, second, third in zip(found[::3], found[1::3], found[2::3], strict=True):
            assert first[0] == second[0] == third[0]
            assert (second[1] - first[1], third[1] - second[1]) == (100, 100)
        assert len(set(found[::3])) > 3


def test_a_batch_smaller_than_a_group_is_one_group() -> None:
    mixture = Mixture(split(), config(batch_offsets=6, offset_samples=30), CPU)
    (batch,) = mixture.epoch(1, 4, seeded(), gain=1.0)
    assert len(batch.noisy) == 6


def test_a_group_hears_one_sensor() -> None:
    """All windows of a group are turned upside down, or none."""
    options: dict[str, Any] = {"batch_offsets": 4, "offset_samples": 60, "randomiser": "none"}
    usual = batches(config(AugmentConfig(polarity=1e-9), **options), split())
    turned = batches(config(AugmentConfig(polarity=0.5), **options), split())
    signs = torch.cat([(clean_of(a) * clean_of(b)).sum(-1).sign() for a, b in zip(usual, turned, strict=True)]).view(
        -1, 4
    )
    assert torch.equal(signs, signs[:, :1].expand_as(signs))
    assert signs.min() < signs.max()


def test_groups_need_not_be_whole_recordings_but_must_fit_one() -> None:
    """Heads: as many as leave room for the last window of a group, at the stride; none runs into the next recording."""
    heads = heads_in((segment(1, 1000), segment(2, 700)), window=100, stride=10, n_offsets=3, offset=250)
    assert heads.tolist() == [*range(0, 401, 10), *range(1000, 1101, 10)]


def test_a_group_with_a_dropout_is_left_out() -> None:
    row = segment(1, 2000).signals.copy()
    row[:, 1000:1400] = 0
    heads = heads_in((Segment(row, row[0], Path("x")),), window=100, stride=1, n_offsets=2, offset=500)
    dead = (heads >= 1000) & (heads <= 1300)
    follower_dead = (heads >= 500) & (heads <= 800)
    assert not (dead | follower_dead).any()
    assert len(heads) > 500


def test_groups_that_fit_nowhere_are_refused() -> None:
    with pytest.raises(DataError, match=r"no recording has 6 windows 500 samples apart.*lower batch_offsets"):
        heads_in((segment(1, 1000),), window=100, stride=1, n_offsets=6, offset=500)


def test_a_training_recording_too_short_for_a_group_is_refused_by_name(tmp_path: Path) -> None:
    """When recordings are read, so before any training; other splits need no groups."""
    for i in range(6):
        samples = np.random.default_rng(i).standard_normal((1, 1500 if i == 5 else 6000)).astype(np.float32)
        path = tmp_path / f"{i}.npz"
        write_npz(Recording(samples, RATE_HZ, ("z",), path), path)
    files = [str(tmp_path / f"{i}.npz") for i in range(6)]

    def short_in(use: Literal["train", "test"], offset: int) -> DataConfig:
        clean = (
            Source(tuple(files[:2]), use="validation"),
            Source((files[2],), use="train"),
            Source((files[4],), use="test"),
        )
        short = Source((files[5],), use=use)
        return dataclasses.replace(
            config(batch_offsets=6, offset_samples=offset, window_samples=500),
            clean=(*clean, short),
            noise=(Source((files[3],)),),
        )

    said = r"5.npz: 3.00 s for training is shorter than 6 windows 300 samples apart, 4.00 s; lower batch_offsets or"
    with pytest.raises(DataError, match=said):
        load(short_in("train", 300))
    load(short_in("train", 200))
    load(short_in("test", 300))
