"""What an epoch draws: equal seeds, every window once, random pairs, surrogates; the recordings stay as they were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.config import DataConfig
from data.corpus import Segment, Split
from data.filters import bandpass
from data.mixing.mixture import Batch, Mixture
from data.mixing.noise import RANDOMISERS

RATE_HZ = 500.0
WINDOW = 512
BAND_HZ = (25.0, 55.0)
CPU = torch.device("cpu")
MakeConfig = Callable[..., DataConfig]
MakeSegment = Callable[..., Segment]
MakeSplit = Callable[..., Split]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches(data: DataConfig, parts: Split, *, n_steps: int, seed: int = 0, spread_db: float = 0.0) -> list[Batch]:
    return list(Mixture(parts, data, CPU).epoch(n_steps, 16, seeded(seed), gain=1.0, spread_db=spread_db))


def test_one_surrogate_per_epoch_keeps_the_coherence_of_references(
    make_config: MakeConfig, make_split: MakeSplit
) -> None:
    parts = make_split(n_channels=2)
    whole = Mixture(parts, make_config(randomise_per="epoch"), CPU)
    before = [torch.corrcoef(part)[0, 1] for part in whole.noise.recordings()]
    after = [torch.corrcoef(part)[0, 1] for part in whole._surrogate(seeded()).recordings()]
    torch.testing.assert_close(torch.stack(after), torch.stack(before), atol=0.02, rtol=0)


def test_one_surrogate_per_epoch_changes_with_the_epoch_and_keeps_the_spectrum(
    make_config: MakeConfig, make_split: MakeSplit
) -> None:
    mixture = Mixture(make_split(), make_config(randomise_per="epoch"), CPU)
    one, other = mixture._surrogate(seeded(1)), mixture._surrogate(seeded(2))
    assert not torch.equal(one.signals, other.signals)
    for part, old in zip(one.recordings(), mixture.noise.recordings(), strict=True):
        inside = slice(round(20 * part.shape[1] / RATE_HZ), round(80 * part.shape[1] / RATE_HZ))
        got, wanted = (torch.fft.rfft(x).abs()[:, inside] for x in (part, old))
        assert (got - wanted).norm() < 1e-3 * wanted.norm()


def test_the_recordings_stay_as_they_were(make_config: MakeConfig, make_split: MakeSplit) -> None:
    """A randomiser once wrote into its input and spoiled the data set."""
    parts = make_split()
    before = [s.signals.copy() for s in (*parts.clean, *parts.noise)]
    for kind in RANDOMISERS:
        mixture = Mixture(parts, make_config(randomiser=kind), CPU)
        clean, noise = mixture.clean.signals.clone(), mixture.noise.signals.clone()
        for batch in mixture.epoch(2, 8, seeded(), gain=1.0):
            batch.noisy.zero_()
            batch.clean.zero_()
        assert torch.equal(mixture.clean.signals, clean)
        assert torch.equal(mixture.noise.signals, noise)
    for array, s in zip(before, (*parts.clean, *parts.noise), strict=True):
        assert np.array_equal(array, s.signals)


@pytest.mark.parametrize("per", ["window", "epoch"])
def test_equal_seeds_give_equal_batches_and_others_do_not(
    per: str, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    one, again, other = (
        batches(make_config(randomise_per=per), make_split(), n_steps=3, seed=seed, spread_db=6.0) for seed in (3, 3, 4)
    )
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a.noisy, b.noisy)
        assert torch.equal(a.clean, b.clean)
    assert not torch.equal(one[0].noisy, other[0].noisy)


def test_a_pass_takes_every_clean_window_once(make_config: MakeConfig, make_split: MakeSplit) -> None:
    mixture = Mixture(make_split(), make_config(), CPU)
    every = mixture.heads.at(torch.arange(mixture.n_windows))
    for half in mixture._heads(2 * mixture.n_windows, seeded()).chunk(2):
        assert torch.equal(half.sort().values, every)


def test_pairing_is_random_or_by_time(make_config: MakeConfig, make_split: MakeSplit) -> None:
    starts = torch.arange(0, 320, 32)
    at_random = Mixture(make_split(), make_config(), CPU)
    draws = [at_random._pair(starts, seeded(seed)) for seed in range(2)]
    assert not torch.equal(draws[0], draws[1])
    by_time = Mixture(make_split(), make_config(pairing="index"), CPU)
    assert torch.equal(by_time._pair(starts, seeded()), starts)


def test_references_keep_their_coherence_when_randomised(make_config: MakeConfig, make_segment: MakeSegment) -> None:
    """All channels of a window turn by the same phases: what x and y say of z is what a model may use."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal(4000)
    noise = bandpass(np.stack([first, 0.8 * np.roll(first, 3), rng.standard_normal(4000)]), RATE_HZ, *BAND_HZ)
    clean = np.zeros((3, 4000), np.float32)
    clean[0] = make_segment(1).signals[0]
    parts = Split((Segment(clean, clean[0], Path("c")),), (Segment(noise, noise[0], Path("n")),))
    drawn = [b.noisy[:, 1:] * b.scale for b in batches(make_config(), parts, n_steps=8)]
    main = [
        (b.noisy - torch.nn.functional.pad(b.clean, (0, 0, 0, 2)))[:, 0] * b.scale[:, 0]
        for b in batches(make_config(), parts, n_steps=8)
    ]
    z, x, y = (torch.fft.rfft(torch.cat(t)) for t in (main, [d[:, 0] for d in drawn], [d[:, 1] for d in drawn]))

    def coherence(a: Tensor, b: Tensor) -> float:
        cross = (a * b.conj()).mean(0).abs().square()
        inside = slice(round(28 * WINDOW / RATE_HZ), round(52 * WINDOW / RATE_HZ))
        return float((cross / (a.abs().square().mean(0) * b.abs().square().mean(0)))[inside].mean())

    assert coherence(z, x) > 0.9
    assert coherence(z, y) < 0.2


def test_windows_of_a_batch_are_randomised_each_on_its_own(make_config: MakeConfig, make_segment: MakeSegment) -> None:
    one_window = make_segment(3, n_samples=WINDOW)
    parts = Split((make_segment(1),), (one_window,))
    (batch,) = batches(make_config(), parts, n_steps=1)
    noise = ((batch.noisy - batch.clean) * batch.scale)[:, 0]
    assert len({round(float(row[5]), 6) for row in noise}) == len(noise)
