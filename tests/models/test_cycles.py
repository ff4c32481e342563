"""The mean of the other sounds is what they have in common, aligned, without what each has of its own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.parts.cycles import LEAST, ensemble_mean, peaks

HALF, REACH = 27, 8
CENTRES = torch.arange(100, 3400, 211)[None]


def sounds(centres: Tensor = CENTRES, n_samples: int = 3584) -> Tensor:
    """A burst of 38 Hz at each centre."""
    time = torch.arange(-HALF, HALF + 1) / 250.0
    burst = torch.exp(-((time / 0.03) ** 2)) * torch.cos(2 * np.pi * 38 * time)
    wave = torch.zeros(len(centres), n_samples)
    for row, own in zip(wave, centres, strict=True):
        for centre in own.tolist():
            row[centre - HALF : centre + HALF + 1] += burst
    return wave


def error_db(found: Tensor, wanted: Tensor) -> float:
    return float(10 * torch.log10((found - wanted).square().sum() / wanted.square().sum()))


def test_equal_sounds_give_themselves_wherever_their_times_are_a_little_wrong() -> None:
    clean, weight = sounds(), torch.ones(CENTRES.shape)
    for wrong in (0, 5, -7):
        found = ensemble_mean(clean, clean, CENTRES + wrong, weight, HALF, REACH)
        assert error_db(found, clean) < -12
    one_by_one = CENTRES + torch.randint(-5, 6, CENTRES.shape, generator=torch.Generator().manual_seed(0))
    assert error_db(ensemble_mean(clean, clean, one_by_one, weight, HALF, REACH), clean) < -12


def test_noise_goes_as_sounds_are_averaged() -> None:
    """15 others: 11.8 dB less noise, and none between the sounds."""
    clean = sounds()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noisy = clean + noise * (clean.square().mean() / noise.square().mean()).sqrt()
    found = ensemble_mean(noisy, noisy, CENTRES, torch.ones(CENTRES.shape), HALF, REACH)
    assert error_db(found, clean) < error_db(noisy, clean) - 12


def test_a_sound_has_nothing_of_itself() -> None:
    """What stands in one sound alone is in the means of the others, and not in its own."""
    clean = sounds()
    marked = clean.clone()
    at = int(CENTRES[0, 4])
    marked[0, at - 3 : at + 4] += 5.0
    weight = torch.ones(CENTRES.shape)
    found = ensemble_mean(marked, clean, CENTRES, weight, HALF, 0)
    assert error_db(found[:, at - HALF : at + HALF], clean[:, at - HALF : at + HALF]) < -20
    other = slice(int(CENTRES[0, 5]) - 3, int(CENTRES[0, 5]) + 4)
    assert float((found - clean)[0, other].mean()) == pytest.approx(5 / 15, rel=0.1)


def test_a_loud_burst_counts_for_little() -> None:
    clean = sounds()
    burst = clean.clone()
    at = int(CENTRES[0, 4])
    burst[0, at - HALF : at + HALF] += 20 * torch.randn(2 * HALF, generator=torch.Generator().manual_seed(2))
    found = ensemble_mean(burst, burst, CENTRES, torch.ones(CENTRES.shape), HALF, REACH)
    elsewhere = torch.ones(clean.shape[-1], dtype=torch.bool)
    elsewhere[at - 50 : at + 50] = False
    assert error_db(found[:, elsewhere], clean[:, elsewhere]) < -15


@settings(max_examples=30, deadline=None)
@given(
    n_samples=st.integers(2 * (HALF + REACH) + 1, 500),
    centres=st.lists(st.integers(0, 600), min_size=1, max_size=6),
    data=st.data(),
)
def test_whatever_the_sounds_the_mean_is_finite_and_lies_at_them(
    n_samples: int, centres: list[int], data: st.DataObject
) -> None:
    weight = data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=len(centres), max_size=len(centres)))
    noise = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(0))
    for signal in (noise, torch.zeros_like(noise)):
        found = ensemble_mean(signal, signal, torch.tensor([centres]), torch.tensor([weight]), HALF, REACH)
        assert found.shape == signal.shape and found.isfinite().all()
        near = torch.zeros(n_samples, dtype=torch.bool)
        for centre, w in zip(centres, weight, strict=True):
            if w > 0:
                near[max(0, centre - HALF - REACH) : centre + HALF + REACH + 1] = True
        assert not found[0, ~near].any()


def test_one_sound_or_none_has_no_mean() -> None:
    clean = sounds(CENTRES[:, :1])
    for weight in (1.0, 0.0):
        assert not ensemble_mean(clean, clean, CENTRES[:, :1], torch.tensor([[weight]]), HALF, REACH).any()


def test_peaks_are_the_largest_of_their_neighbourhood() -> None:
    probability = torch.zeros(2, 100)
    probability[0, [10, 14, 40, 70]] = torch.tensor([0.9, 0.8, 0.5, LEAST - 0.01])
    at, weight = peaks(probability, 4, 5)
    assert at[0, :2].tolist() == [10, 40]
    assert weight.tolist() == [pytest.approx([0.9, 0.5, 0.0, 0.0]), [0.0] * 4]
    assert peaks(probability[:, :3], 9, 5)[0].shape == (2, 9)
