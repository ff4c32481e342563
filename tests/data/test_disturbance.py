"""Swelling levels, engine lines and bumps are what they say, in the band and at their level."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from data.config import DataConfig, Source
from data.mixing.disturbance import bumps, burst_spectrum, engine_lines, mixed_with_next, wander, wander_basis
from data.mixing.mixture import band_gain

RATE_HZ = 250.0
N_SAMPLES = 1440
BAND_HZ = (25.0, 55.0)
FREQUENCY_HZ = torch.fft.rfftfreq(N_SAMPLES, 1 / RATE_HZ)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def basis() -> Tensor:
    return wander_basis(N_SAMPLES, RATE_HZ)


def gain() -> Tensor:
    config = DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), rate_hz=RATE_HZ, window_samples=N_SAMPLES)
    return band_gain(N_SAMPLES, config)


def test_what_wanders_has_variance_one_at_every_sample_and_changes_within_seconds() -> None:
    drawn = wander((4000,), basis(), seeded())
    torch.testing.assert_close(drawn.std(0), torch.ones(N_SAMPLES), atol=0.06, rtol=0)
    near, far = (float((drawn[:, 300] * drawn[:, 300 + lag]).mean()) for lag in (25, 600))
    assert near > 0.8
    assert abs(far) < 0.06


def test_engine_lines_have_power_one_and_lie_in_the_band() -> None:
    lines = engine_lines((200, 1), basis(), RATE_HZ, BAND_HZ, seeded())
    torch.testing.assert_close(lines.square().mean(-1), torch.ones(200, 1), atol=1e-4, rtol=0)
    power = torch.fft.rfft(lines[:, 0] * torch.hann_window(N_SAMPLES)).abs().square()
    outside = (FREQUENCY_HZ < 24) | (FREQUENCY_HZ > 56)
    assert (power[:, outside].sum(-1) < 1e-3 * power.sum(-1)).all()


def test_engine_lines_are_narrow_and_harmonically_related() -> None:
    """A comb: at most three peaks, as far apart from each other."""
    lines = engine_lines((100, 1), basis(), RATE_HZ, BAND_HZ, seeded(1))[:, 0]
    spectrum = torch.fft.rfft(lines * torch.hann_window(N_SAMPLES)).abs().square()
    ordered = spectrum.sort(descending=True).values.cumsum(-1) / spectrum.sum(-1, keepdim=True)
    bins_for_most = (ordered < 0.95).sum(-1)
    # three lines that wander by 3 % to either side at 55 Hz cover 3 x 3.3 Hz; white noise would need 160 bins
    assert bins_for_most.max() < 60
    assert bins_for_most.float().median() < 25


def test_a_band_too_narrow_for_a_line_gets_none() -> None:
    lines = engine_lines((8, 2), basis(), RATE_HZ, (40.0, 41.0), seeded())
    assert not lines.any()


def test_references_hear_engine_lines_with_a_coherence_of_about_a_half() -> None:
    """Over many windows the squared mean phasor between two channels averages that of 0.3 to 0.7."""
    lines = engine_lines((400, 2), basis(), RATE_HZ, BAND_HZ, seeded(2))
    segments = lines.unfold(-1, 250, 125) * torch.hann_window(250)
    z, x = torch.fft.rfft(segments)[:, 0], torch.fft.rfft(segments)[:, 1]
    cross = (z * x.conj()).mean(1).abs().square()
    coherence = cross / (z.abs().square().mean(1) * x.abs().square().mean(1)).clamp_min(1e-20)
    loudest = z.abs().square().mean(1).argmax(-1)
    mean = float(coherence[torch.arange(400), loudest].mean())
    assert 0.3 < mean < 0.8
    level_db = 10 * (lines[:, 1].square().mean(-1)).log10()
    assert level_db.abs().max() < 6.0 + 3.0  # its gain, and that its lines may add up otherwise
    assert level_db.std() > 2


def test_a_burst_s_spectrum_is_that_of_the_burst() -> None:
    ring, decay_s, rate_hz, n = 2 * math.pi * 40.0, 0.05, 20_000.0, 40_000
    time_s = torch.arange(n, dtype=torch.float64) / rate_hz
    burst = torch.exp(-time_s / decay_s) * torch.sin(ring * time_s)
    angular = 2 * math.pi * torch.fft.rfftfreq(n, 1 / rate_hz, dtype=torch.float64)
    wanted = torch.fft.rfft(burst) / rate_hz
    got = burst_spectrum(angular, torch.tensor(ring, dtype=torch.float64), torch.tensor(decay_s, dtype=torch.float64))
    low = angular < 2 * math.pi * 200
    torch.testing.assert_close(got[low], wanted[low].to(got.dtype), atol=1e-5, rtol=1e-3)


def test_bumps_come_in_pairs_200_to_400_ms_apart() -> None:
    """The envelope of a window with one bump has its second peak there: what mimics S1 and S2."""
    n_samples = 5000
    made = bumps(300, n_samples, RATE_HZ, BAND_HZ, torch.ones(n_samples // 2 + 1), 0.5, seeded(3))
    struck = made[made.abs().amax(-1) > 0]
    assert 20 < len(struck) < 90  # 0.17 expected in each of 300 windows: 50 of them
    analytic = torch.fft.rfft(struck)
    envelope = torch.fft.ifft(torch.nn.functional.pad(2 * analytic, (0, n_samples - analytic.shape[-1]))).abs()
    n_pairs = 0
    for row in envelope:
        first = int(row.argmax())
        aside = torch.arange(n_samples)
        away = (aside - first) % n_samples
        late = (away >= 0.18 * RATE_HZ) & (away <= 0.42 * RATE_HZ)
        n_pairs += bool(row[late].max() > 0.4 * row[first])
    assert n_pairs > 0.9 * len(struck)


def test_the_mean_number_of_bumps_is_the_stated_one() -> None:
    """Energy grows in proportion to the rate, and nothing else sets it."""
    few, many = (
        float(bumps(3000, N_SAMPLES, RATE_HZ, BAND_HZ, gain(), rate, seeded(4)).square().mean()) for rate in (2.0, 8.0)
    )
    assert many / few == pytest.approx(4.0, rel=0.25)


def test_bumps_pass_the_band_pass() -> None:
    made = bumps(64, N_SAMPLES, RATE_HZ, BAND_HZ, gain(), 60.0, seeded(5))
    power = torch.fft.rfft(made).abs().square().sum(0)
    outside = (FREQUENCY_HZ < 15) | (FREQUENCY_HZ > 90)
    assert power[outside].sum() < 1e-3 * power.sum()
    peaks = made.abs().amax(-1)
    assert np.isfinite(peaks.numpy()).all()
    assert 1.0 < float(peaks.median()) < 20


def test_references_mixed_with_the_next_windows_keep_their_power_and_lose_what_they_shared() -> None:
    """Of independent windows: a share s of foreign power leaves a correlation of sqrt(1 - s)."""
    references = torch.randn(9, 2, 20_000, generator=seeded()) * torch.logspace(-2, 2, 9)[:, None, None]
    share = torch.linspace(0, 1, 9)
    mixed = mixed_with_next(references, share)
    alike = torch.nn.functional.cosine_similarity(mixed, references, dim=-1)
    torch.testing.assert_close(alike, (1 - share).sqrt()[:, None].expand(9, 2), atol=0.03, rtol=0)
    torch.testing.assert_close(mixed.square().mean(-1), references.square().mean(-1), rtol=0.05, atol=0)
    assert torch.equal(mixed[0], references[0])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_references_of_a_window_alone_stay_as_they_are(share: float) -> None:
    """Mixed with itself it would gain a power of up to 2: sqrt(1 - s) + sqrt(s) is over 1."""
    references = torch.randn(1, 2, 100, generator=seeded())
    assert torch.equal(mixed_with_next(references, torch.tensor([share])), references)
