"""The noise's level wanders by what is asked: from second to second (swell), from tenth to tenth (flutter)."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from data.config import AugmentConfig, DataConfig
from data.corpus import Split
from data.mixing.disturbance import FLUTTER_KNOT_S, wander, wander_basis
from data.mixing.mixture import Mixture

RATE_HZ = 500.0
CPU = torch.device("cpu")
MakeConfig = Callable[..., DataConfig]
MakeSplit = Callable[..., Split]


@pytest.fixture(scope="module")
def noises(make_config: MakeConfig, make_split: MakeSplit) -> Callable[..., Tensor]:
    """Draws the noise windows [window, channel, time] of 320 mixtures by one seed, varied and not randomised."""

    def draw(*, seed: int = 0, n_channels: int = 1, **augment: float) -> Tensor:
        parts = make_split(n_channels=n_channels)
        clean = tuple(replace(one, signals=one.signals * (np.arange(n_channels) == 0)[:, None]) for one in parts.clean)
        data = make_config(randomiser="none", augment=AugmentConfig(**augment))
        mixture = Mixture(replace(parts, clean=clean), data, CPU)
        batches = mixture.epoch(20, 16, torch.Generator().manual_seed(seed), gain=1.0)
        return torch.cat([(b.noisy - pad(b.clean, (0, 0, 0, n_channels - 1))) * b.scale for b in batches])

    return draw


def change_db(varied: Tensor, plain: Tensor, lag_samples: int) -> float:
    """SD of the change that a window's level, in dB over the plain one, makes within the lag."""
    there = plain.abs() > 0.05 * plain.square().mean(-1, keepdim=True).sqrt()
    level_db = torch.where(there, 20 * (varied / plain).log10(), math.nan)
    change = level_db[..., lag_samples:] - level_db[..., :-lag_samples]
    return float(change[~change.isnan()].square().mean().sqrt())


def test_a_flutter_s_level_changes_by_its_decibels_within_tenths_of_a_second(noises: Callable[..., Tensor]) -> None:
    """Knots 0.1 s apart are independent, and a window's SD is u times the stated one, u uniform: within 0.25 s the
    level changes by a mean square of 2 E[u^2] SD^2 = 2/3 SD^2. A swell of the same SD changes less in that time."""
    plain = noises(noise_flutter_db=1e-9)
    lag_samples = round(0.25 * RATE_HZ)
    fluttered, swollen = noises(noise_flutter_db=6.0), noises(noise_swell_db=6.0)
    assert change_db(fluttered, plain, lag_samples) == pytest.approx(math.sqrt(2 / 3) * 6.0, rel=0.08)
    assert change_db(swollen, plain, lag_samples) < 0.6 * change_db(fluttered, plain, lag_samples)
    assert change_db(noises(noise_flutter_db=3.0), plain, lag_samples) == pytest.approx(
        math.sqrt(2 / 3) * 3.0, rel=0.08
    )


def test_a_flutter_is_smooth_from_sample_to_sample(noises: Callable[..., Tensor]) -> None:
    """Between two knots the level goes from one to the other: a click every tenth of a second would be a beat."""
    plain, fluttered = noises(noise_flutter_db=1e-9), noises(noise_flutter_db=6.0)
    assert change_db(fluttered, plain, 1) < 0.05 * change_db(fluttered, plain, round(0.25 * RATE_HZ))


@pytest.mark.parametrize("lag_knots", [0.5, 1.0, 3.0])
def test_what_flutters_forgets_itself_within_a_knot(lag_knots: float) -> None:
    """From one knot: the correlation half-way to the next is 1 / sqrt(2), at the next and beyond 0."""
    basis = wander_basis(1000, RATE_HZ, FLUTTER_KNOT_S)
    knot = round(FLUTTER_KNOT_S * RATE_HZ)
    drawn = wander((20_000,), basis, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.std(0), torch.ones(1000), atol=0.04)
    alike = float((drawn[:, 4 * knot] * drawn[:, 4 * knot + round(lag_knots * knot)]).mean())
    assert alike == pytest.approx(math.sqrt(0.5) if lag_knots == 0.5 else 0.0, abs=0.03)


def test_a_flutter_of_nothing_changes_nothing_and_a_fluttering_window_keeps_its_power(
    noises: Callable[..., Tensor],
) -> None:
    plain, none, fluttered = noises(), noises(noise_flutter_db=1e-9), noises(noise_flutter_db=8.0)
    torch.testing.assert_close(none, plain, atol=1e-4 * float(plain.std()), rtol=1e-3)
    torch.testing.assert_close(fluttered.square().mean(-1), plain.square().mean(-1), rtol=1e-3, atol=0)


def test_all_channels_of_a_window_flutter_together(noises: Callable[..., Tensor]) -> None:
    """Else what the references say of the first channel would be lost."""
    plain, fluttered = (noises(n_channels=2, noise_flutter_db=db) for db in (1e-9, 6.0))
    first, second = (fluttered / plain).unbind(1)
    there = (plain.abs() > 0.05 * plain.std()).all(1)
    assert float(there.float().mean()) > 0.8
    torch.testing.assert_close(first[there], second[there], rtol=1e-3, atol=0)


def test_an_equal_generator_flutters_equally_and_another_does_not(noises: Callable[..., Tensor]) -> None:
    one, again, other = (noises(noise_flutter_db=6.0, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
