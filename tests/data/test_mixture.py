"""Mixtures are what they say: clean + gain x noise at the stated SNR, bounded, seeded, within recordings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.config import AugmentConfig, DataConfig
from data.corpus import Segment, Split
from data.mixing.mixture import Batch, Mixture, Special, band_gain, mix, window_scale
from data.mixing.noise import RANDOMISERS, thin_out
from data.mixing.windows import cut

RATE_HZ = 500.0
WINDOW = 512
BAND_HZ = (25.0, 55.0)
CPU = torch.device("cpu")
MakeConfig = Callable[..., DataConfig]
MakeSegment = Callable[..., Segment]
MakeSplit = Callable[..., Split]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches(
    data: DataConfig, parts: Split, *, n_steps: int = 3, batch: int = 16, seed: int = 0, **how: Any
) -> list[Batch]:
    mixture = Mixture(parts, data, CPU)
    return list(mixture.epoch(n_steps, batch, seeded(seed), **({"gain": 1.0} | how)))


def in_band_power(signals: Tensor, data: DataConfig) -> Tensor:
    """[window] of [window, 1, time], by the filter as FFT gains; of band-passed data as they are."""
    if data.band_hz is None:
        signals = torch.fft.irfft(torch.fft.rfft(signals) * band_gain(WINDOW, data), n=WINDOW)
    return signals[:, 0].square().mean(-1)


def test_noisy_is_clean_plus_gain_times_noise_over_scale() -> None:
    clean, noise = torch.randn(4, 3, 100, generator=seeded(1)), torch.randn(4, 3, 100, generator=seeded(2))
    gains = torch.tensor([0.0, 0.5, 1.0, 4.0])
    wanted = clean + gains[:, None, None] * noise
    peak = clean[:, 0].abs().amax(-1)
    batch = mix(clean.clone(), noise.clone(), gains, peak, torch.zeros(4))
    torch.testing.assert_close(batch.noisy * batch.scale, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(batch.clean * batch.scale, clean[:, :1], rtol=1e-6, atol=1e-6)
    assert batch.noisy.shape == (4, 3, 100)
    assert batch.clean.shape == (4, 1, 100)


def test_a_batch_holds_windows_of_the_recordings_unrandomised_under_none(
    make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """Every (noisy - clean) is a gain times some stretch of a noise recording; clean is some stretch of a clean one."""
    parts, data = make_split(), make_config(randomiser="none")
    for batch in batches(data, parts, gain=0.5):
        clean = (batch.clean * batch.scale)[:, 0].numpy()
        noise = ((batch.noisy - batch.clean) * batch.scale)[:, 0].numpy() / 0.5
        for windows, segments in ((clean, parts.clean), (noise, parts.noise)):
            views = np.concatenate([np.lib.stride_tricks.sliding_window_view(s.signals[0], WINDOW) for s in segments])
            for window in windows:
                nearest = np.argmin(np.abs(views[:, 0] - window[0]) + np.abs(views[:, -1] - window[-1]))
                np.testing.assert_allclose(views[nearest], window, atol=1e-4)


@pytest.mark.parametrize("kind", RANDOMISERS)
@pytest.mark.parametrize("banded", [True, False])
def test_snr_mode_gives_the_stated_in_band_snr(
    kind: str, banded: bool, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """To 0.01 dB, whatever the randomiser does to the spectrum."""
    data = make_config(randomiser=kind, band_hz=BAND_HZ if banded else None)
    for gain in (0.25, 2.0):
        for batch in batches(data, make_split(banded), gain=gain, per_window=True):
            clean, noise = batch.clean * batch.scale, (batch.noisy - batch.clean)[:, :1] * batch.scale
            expected_db = -20 * np.log10(gain)
            torch.testing.assert_close(batch.snr_db, torch.full((16,), expected_db).float(), atol=1e-3, rtol=0)
            if banded:  # else it is that of the filtered recordings: see the next tests
                measured = 10 * torch.log10(in_band_power(clean, data) / in_band_power(noise, data))
                torch.testing.assert_close(measured, batch.snr_db, atol=0.01, rtol=0)


def test_without_a_band_pass_the_snr_is_that_of_the_filtered_recordings(
    make_config: MakeConfig, make_split: MakeSplit
) -> None:
    parts = make_split(banded=False)
    data = make_config(randomiser="none", band_hz=None)
    cleans, noises = cut(parts.clean, WINDOW, CPU), cut(parts.noise, WINDOW, CPU)
    heard_clean, heard_noise = (np.concatenate([s.in_band for s in side]) for side in (parts.clean, parts.noise))
    for batch in batches(data, parts, gain=2.0):
        clean, noise = (batch.clean * batch.scale)[:, 0], ((batch.noisy - batch.clean) * batch.scale)[:, 0] / 2.0
        for i in range(len(clean)):
            powers = []
            for windows, heard, wanted in ((cleans, heard_clean, clean[i]), (noises, heard_noise, noise[i])):
                views = windows.signals[0].unfold(-1, WINDOW, 1)
                start = int((views[:, ::37] - wanted[::37]).abs().amax(-1).argmin())
                powers.append(np.mean(heard[start : start + WINDOW].astype(np.float64) ** 2))
            expected_db = 10 * np.log10(powers[0] / (4 * powers[1]))
            assert batch.snr_db[i].item() == pytest.approx(expected_db, abs=0.01)


@pytest.mark.parametrize("kind", RANDOMISERS)
def test_in_gain_mode_the_reported_snr_is_measured_and_levels_stay(
    kind: str, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """A randomiser changes a window's shape, never its in-band power."""
    data = make_config(randomiser=kind)
    for batch in batches(data, make_split(), gain=0.5):
        clean, noise = batch.clean, (batch.noisy - batch.clean)[:, :1]
        measured = 10 * torch.log10(in_band_power(clean, data) / in_band_power(noise, data))
        torch.testing.assert_close(measured, batch.snr_db, atol=0.01, rtol=0)
        assert batch.snr_db.std() > 1


@pytest.mark.parametrize("kind", [kind for kind in RANDOMISERS if kind != "none"])
def test_without_a_band_pass_a_randomised_window_keeps_its_in_band_power(
    kind: str, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """The slow drift leaks into the band once its phases are drawn anew; the level is measured after that."""
    data = make_config(randomiser=kind, band_hz=None)
    mixture = Mixture(make_split(banded=False), data, CPU)
    starts = mixture.noise.starts(500).at(torch.arange(10))
    power = mixture.noise.power[starts]
    drawn = mixture._source(mixture.noise, kind).draw(starts, power, seeded())
    torch.testing.assert_close(in_band_power(drawn[:, :1], data), power, rtol=1e-3, atol=0)


def test_sample_shuffled_noise_is_brought_back_into_the_band(make_config: MakeConfig, make_split: MakeSplit) -> None:
    data = make_config(randomiser="sample_shuffle")
    spectrum = torch.zeros(WINDOW // 2 + 1)
    for batch in batches(data, make_split(), gain=1.0):
        spectrum += torch.fft.rfft((batch.noisy - batch.clean)[:, 0]).abs().square().sum(0)
    outside = torch.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    outside = (outside < BAND_HZ[0] / 1.5) | (outside > BAND_HZ[1] * 1.5)
    assert spectrum[outside].sum() < 0.01 * spectrum.sum()


@pytest.mark.parametrize("banded", [True, False])
def test_one_surrogate_per_epoch_keeps_the_stated_snr(
    banded: bool, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """The surrogate is stationary where the recording swells, so its windows have powers of their own."""
    data = make_config(randomise_per="epoch", band_hz=BAND_HZ if banded else None)
    for batch in batches(data, make_split(banded), gain=2.0, per_window=True):
        noise = ((batch.noisy - batch.clean) * batch.scale)[:, :1]
        power = in_band_power(batch.clean * batch.scale, data) / in_band_power(noise, data)
        torch.testing.assert_close(batch.snr_db, torch.full((16,), -6.0206), atol=1e-3, rtol=0)
        if banded:
            torch.testing.assert_close(10 * torch.log10(power), batch.snr_db, atol=0.01, rtol=0)


@settings(max_examples=60)
@given(
    gain=st.floats(0, 1e4, allow_subnormal=False),
    spread_db=st.floats(0, 40),
    per_window=st.booleans(),
    level=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_the_target_is_bounded_and_all_is_finite(
    gain: float, spread_db: float, per_window: bool, level: float, make_config: MakeConfig, make_segment: MakeSegment
) -> None:
    """|clean| < 1 for any gain and level, so that a model that ends in tanh can represent it."""
    parts = Split((make_segment(1, level=level),), (make_segment(3),))
    for batch in batches(make_config(), parts, n_steps=1, gain=gain, spread_db=spread_db, per_window=per_window):
        assert batch.clean.abs().max() < 1
        assert batch.noisy[:, 0].abs().max() < 1
        for values in (batch.noisy, batch.clean, batch.scale):
            assert torch.isfinite(values).all()
        assert not (batch.snr_db.isnan() | batch.snr_db.isneginf()).any()
        assert gain < 1e-30 or torch.isfinite(batch.snr_db).all()


def test_noise_that_cancels_the_clean_window_leaves_the_target_bounded() -> None:
    clean = torch.randn(2, 1, 64, generator=seeded())
    batch = mix(clean.clone(), -clean, torch.ones(2), clean.abs().amax((1, 2)), torch.zeros(2))
    assert batch.clean.abs().max() < 1
    assert not batch.noisy.any()


def test_spread_lowers_each_gain_by_up_to_its_decibels(make_config: MakeConfig, make_split: MakeSplit) -> None:
    drawn = torch.cat(
        [b.snr_db for b in batches(make_config(), make_split(), n_steps=10, gain=2.0, spread_db=12.0, per_window=True)]
    )
    assert drawn.min() >= -6.03
    assert drawn.max() <= -6.02 + 12.0
    assert drawn.std() > 2.5  # uniform over 12 dB: 3.46


@pytest.mark.parametrize("per_window", [True, False])
def test_shares_of_the_windows_are_quiet_and_without_noise(
    per_window: bool, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """Noiseless windows are the clean ones; quiet ones lie up to 30 dB above the others."""
    special = Special(quiet_share=0.3, quiet_spread_db=30.0, noiseless_share=0.2)
    drawn = batches(make_config(), make_split(), n_steps=40, gain=1.0, special=special, per_window=per_window)
    snr_db = torch.cat([b.snr_db for b in drawn])
    assert float(snr_db.isinf().float().mean()) == pytest.approx(0.2, abs=0.05)
    for batch in drawn:
        noiseless = batch.snr_db.isinf()
        assert torch.equal(batch.noisy[noiseless], batch.clean[noiseless])
    if per_window:
        raised = snr_db[snr_db.isfinite() & (snr_db > 1e-3)]
        assert len(raised) / len(snr_db) == pytest.approx(0.3, abs=0.05)
        assert float(raised.max()) <= 30.01
        assert float(raised.mean()) == pytest.approx(15, abs=2)


@pytest.mark.parametrize("augment", [AugmentConfig(), AugmentConfig(tempo=0.1, noise_mix=0.5)])
def test_a_share_of_the_windows_has_no_heart(
    augment: AugmentConfig, make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """Their target is silence, their noise is as loud as that of the others, and all else stays."""
    config, special = make_config(augment=augment), Special(heartless_share=0.25, noiseless_share=0.1)
    drawn = batches(config, make_split(), n_steps=40, gain=1.0, special=special, per_window=True)
    usual = batches(config, make_split(), n_steps=40, gain=1.0, special=Special(noiseless_share=0.1), per_window=True)
    heartless = torch.cat([b.snr_db.isneginf() for b in drawn])
    assert float(heartless.float().mean()) == pytest.approx(0.25, abs=0.05)
    for batch, other in zip(drawn, usual, strict=True):
        silent = batch.snr_db.isneginf()
        assert not batch.clean[silent].any()
        assert batch.noisy[silent].abs().amax((1, 2)).min() > 0.5
        assert torch.equal(batch.noisy[~silent], other.noisy[~silent])
        assert torch.equal(batch.clean[~silent], other.clean[~silent])


def test_the_stated_snr_holds_at_raw_levels_far_apart(make_config: MakeConfig, make_segment: MakeSegment) -> None:
    """A sensor in volts and one in mm/s2: the gain that makes them equal may be 1e-8."""
    parts = Split((make_segment(1, level=1e-6),), (make_segment(3, level=1e2),))
    for batch in batches(make_config(level="raw"), parts, gain=2.0, per_window=True):
        torch.testing.assert_close(batch.snr_db, torch.full((16,), -6.0206), atol=1e-3, rtol=0)
        noise = ((batch.noisy - batch.clean) * batch.scale).square().mean(-1)
        measured = 10 * torch.log10((batch.clean * batch.scale).square().mean(-1) / noise)
        torch.testing.assert_close(measured[:, 0], batch.snr_db, atol=0.01, rtol=0)


@settings(max_examples=30)
@given(level=st.floats(1e-12, 1e12), n_channels=st.integers(1, 3))
def test_the_scale_is_that_of_channel_zero_and_never_zero(level: float, n_channels: int) -> None:
    windows = torch.randn(2, n_channels, 32, generator=seeded()) * level
    windows[1, 0] = 0
    scale = window_scale(windows)
    assert scale.shape == (2, 1, 1)
    assert scale[1] == 1
    assert 0.9 < float((windows[0, 0] / scale[0, 0]).abs().max()) < 1


def test_too_few_bins_leave_band_noise_to_the_general_way(
    make_config: MakeConfig, make_segment: MakeSegment, make_split: MakeSplit
) -> None:
    short = cut((make_segment(1),), 32, CPU)
    assert thin_out(short, band_gain(32, make_config(window_samples=32))) is None
    (batch, *_) = batches(make_config(window_samples=32), make_split(), gain=1.0, per_window=True)
    measured = 10 * torch.log10(batch.clean.square().mean(-1) / (batch.noisy - batch.clean).square().mean(-1))
    torch.testing.assert_close(measured[:, 0], batch.snr_db, atol=0.01, rtol=0)
