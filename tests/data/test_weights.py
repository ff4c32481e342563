"""A recording's weight says how often training draws a second of it, and changes nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.config import AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split
from data.mixing.mixture import Mixture, held_out
from data.mixing.starts import Starts
from data.mixing.windows import cut

CPU = torch.device("cpu")
MakeConfig = Callable[..., DataConfig]
MakeSplit = Callable[..., Split]


def lasting(n_samples: int, weight: float) -> Segment:
    row = np.ones((1, n_samples), np.float32)
    return Segment(row, row[0], Path("x"), weight=weight)


def starts_of(segments: list[Segment]) -> Starts:
    """The starts of windows of one sample."""
    return cut(segments, 1, CPU).starts(1, [segment.weight for segment in segments])


def weighted(split: Split, clean: tuple[float, ...], noise: tuple[float, ...]) -> Split:
    return Split(
        tuple(replace(s, weight=w) for s, w in zip(split.clean, clean, strict=True)),
        tuple(replace(s, weight=w) for s, w in zip(split.noise, noise, strict=True)),
    )


def test_shares_are_those_of_weight_times_time() -> None:
    chance = (torch.arange(16_000) + 0.5) / 16_000
    picked = starts_of([lasting(100, 1.0), lasting(300, 5.0)]).pick(chance)
    assert (picked < 100).float().mean().item() == pytest.approx(100 / 1600, abs=1e-4)
    # within one recording any window is as likely as another
    counts = torch.bincount(picked)
    assert len(counts) == 400
    assert counts[:100].float().std() < 0.2
    assert counts[100:].float().std() < 0.2


@given(
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4),
    chances=st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=8),
)
def test_whatever_the_chance_a_window_that_exists_is_picked(weights: list[float], chances: list[float]) -> None:
    picked = starts_of([lasting(10, weight) for weight in weights]).pick(torch.tensor(chances))
    assert 0 <= int(picked.min()) <= int(picked.max()) < 10 * len(weights)


@pytest.mark.parametrize("varied", [False, True])
def test_training_draws_clean_and_noise_by_weight(make_config: MakeConfig, make_split: MakeSplit, varied: bool) -> None:
    augment = AugmentConfig(noise_mix=1.0) if varied else AugmentConfig()
    parts = make_split()
    heavy = weighted(parts, (1e6, *[1.0] * (len(parts.clean) - 1)), (*[1.0] * (len(parts.noise) - 1), 1e6))
    mixture = Mixture(heavy, make_config(augment=augment, randomiser="none"), CPU)
    generator = torch.Generator().manual_seed(0)
    starts = mixture._starts(200, generator)
    noise_starts = mixture._pair(starts, generator)
    assert int(starts.max()) < mixture.clean.origins[1]
    begin_of_last = mixture.noise.origins[-1]
    assert int(noise_starts.min()) >= begin_of_last
    if mixture.augmenter is not None:
        plan = mixture.augmenter.plan(starts, noise_starts, mixture.noises, generator)
        assert int(plan.second_starts.min()) >= begin_of_last
    assert len(list(mixture.epoch(2, 8, generator, gain=1.0))) == 2


def test_equal_weights_draw_as_if_there_were_none(make_config: MakeConfig, make_split: MakeSplit) -> None:
    parts = make_split()
    alike = weighted(parts, (3.0,) * len(parts.clean), (0.2,) * len(parts.noise))
    drawn = [
        next(iter(Mixture(split, make_config(), CPU).epoch(1, 8, torch.Generator().manual_seed(1), gain=1.0)))
        for split in (parts, alike)
    ]
    assert torch.equal(drawn[0].noisy, drawn[1].noisy)


def test_held_out_windows_do_not_heed_weights(make_config: MakeConfig, make_split: MakeSplit) -> None:
    config, parts = make_config(), make_split()
    heavy = weighted(parts, tuple(range(1, len(parts.clean) + 1)), tuple(range(1, len(parts.noise) + 1)))
    one, other = (held_out(split, config, config.test) for split in (parts, heavy))
    assert np.array_equal(one.noisy, other.noisy)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_is_a_positive_number(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weight is .*; a positive number is needed"):
        Source(files=("a.wav",), weight=weight)


def test_noise_paired_by_time_refuses_weights() -> None:
    noise = (Source(files=("a.wav",)), Source(files=("b.wav",), weight=2.0))
    with pytest.raises(ValueError, match=r'pairing "index".*use pairing "random"'):
        DataConfig(clean=(Source(files=("c.wav",)),), noise=noise, pairing="index")
