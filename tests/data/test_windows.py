"""Windows lie within recordings, their tables hold what they say, and the held-out mixture is fixed."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import AugmentConfig, DataConfig, HeldOutConfig
from data.corpus import Segment, Split
from data.filters import bandpass
from data.mixing.mixture import band_gain, held_out
from data.mixing.noise import thin_out
from data.mixing.windows import Context, cut, running_power

RATE_HZ = 500.0
WINDOW = 512
BAND_HZ = (25.0, 55.0)
CPU = torch.device("cpu")
MakeConfig = Callable[..., DataConfig]
MakeSegment = Callable[..., Segment]
MakeSplit = Callable[..., Split]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(40, 90), min_size=1, max_size=4), window=st.integers(16, 40), stride=st.integers(1, 9)
)
def test_no_window_crosses_a_recording_and_none_that_fits_is_missed(
    lengths: list[int], window: int, stride: int
) -> None:
    rows = [np.full((1, n), i + 1, np.float32) for i, n in enumerate(lengths)]
    windows = cut([Segment(row, row[0], Path("x")) for row in rows], window, CPU)
    starts = windows.starts(stride)
    taken = windows.take(starts.at(torch.arange(len(starts))))
    assert torch.equal(taken.amin(-1), taken.amax(-1))
    assert len(taken) == sum((n - window) // stride + 1 for n in lengths)


@settings(max_examples=40)
@given(
    n=st.integers(16, 60),
    window=st.integers(4, 16),
    before=st.integers(0, 200),
    after=st.integers(0, 200),
    margin=st.integers(0, 50),
)
def test_context_is_the_recording_s_own_or_its_mirror_image(
    n: int, window: int, before: int, after: int, margin: int
) -> None:
    """Starts stay in order and mean the same windows; powers and times go with them."""
    rows = [np.random.default_rng(i).standard_normal((2, n + i)).astype(np.float32) for i in range(2)]
    segments = [Segment(row, row[0], Path("x")) for row in rows]
    windows, wide = cut(segments, window, CPU), cut(segments, window, CPU, Context(before, after, margin))
    plain, starts = (w.starts(3).at(torch.arange(len(w.starts(3)))) for w in (windows, wide))
    around = [np.pad(row, ((0, 0), (before, after)), mode="reflect") for row in rows]
    views = [np.lib.stride_tricks.sliding_window_view(row, window + before + after, axis=1) for row in around]
    wanted = np.concatenate([view[:, : n + i - window + 1 : 3] for i, view in enumerate(views)], axis=1)
    np.testing.assert_array_equal(wide.take(starts).numpy(), wanted.transpose(1, 0, 2))
    assert torch.equal(wide.power[starts], windows.power[plain])
    assert torch.equal(wide.times(starts), plain)
    for part, row in zip(wide.recordings(), rows, strict=True):
        np.testing.assert_array_equal(part.numpy(), row)


@settings(max_examples=40)
@given(n_samples=st.integers(20, 80), window=st.integers(1, 20))
def test_the_power_table_is_that_of_each_window(n_samples: int, window: int) -> None:
    x = np.random.default_rng(n_samples * 100 + window).standard_normal(n_samples).astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(x, window)
    power = running_power(torch.from_numpy(x), window).numpy()
    np.testing.assert_allclose(power[: len(views)], np.mean(views.astype(np.float64) ** 2, axis=1), rtol=1e-5)


def test_a_faint_recording_keeps_its_digits_beside_a_loud_one(make_segment: MakeSegment) -> None:
    """Raw levels of two sensors may lie 160 dB apart."""
    loud, faint = make_segment(1, level=1e6), make_segment(2, level=1e-2)
    windows = cut((loud, faint), WINDOW, CPU)
    starts = windows.starts(100)
    last = int(starts.at(torch.tensor(len(starts) - 1)))
    expected = float(np.mean(faint.in_band[last - 4000 : last - 4000 + WINDOW].astype(np.float64) ** 2))
    assert float(windows.power[last]) == pytest.approx(expected, rel=1e-5)


def test_dropouts_are_left_out(make_segment: MakeSegment) -> None:
    """Brought to a stated SNR, a dead stretch would be amplified rounding errors."""
    whole = make_segment(1, n_samples=6000)
    signals, heard = whole.signals.copy(), whole.in_band.copy()
    signals[:, 2000:4000] = heard[2000:4000] = 0
    starts = cut((Segment(signals, heard, Path("x")),), WINDOW, CPU).starts(1)
    alive = starts.at(torch.arange(len(starts)))
    assert not ((alive >= 2000) & (alive <= 4000 - WINDOW)).any()
    assert (alive < 2000).any()
    assert (alive >= 4000).any()


def plan(**options: Any) -> HeldOutConfig:
    usual = HeldOutConfig(n_windows=12, snrs_db=(-10.0, 0.0, 5.0))
    return dataclasses.replace(usual, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"randomiser": "none"},
        {"randomiser": "sample_shuffle"},
        {"randomise_per": "epoch"},
        {"stride_samples": 7},
        {"pairing": "index"},
        {"augment": AugmentConfig(clean_tilt_db_per_octave=12.0, noise_swell_db=6.0, tempo=0.15, polarity=1.0)},
        {"batch_offsets": 3, "offset_samples": 50},
    ],
)
def test_the_held_out_mixture_ignores_what_shapes_training(
    change: dict[str, Any], make_config: MakeConfig, make_split: MakeSplit
) -> None:
    """A score that moved with a sampled parameter could be won by it. Gain and batch size are not even arguments."""
    usual, changed = (held_out(make_split(), data, plan()) for data in (make_config(), make_config(**change)))
    for field in ("noisy", "clean", "noise", "reference_bpm", "recording"):
        np.testing.assert_array_equal(getattr(usual, field), getattr(changed, field))


def test_held_out_snrs_are_exact_and_parts_add_up(make_config: MakeConfig, make_split: MakeSplit) -> None:
    mixture = held_out(make_split(n_channels=3), make_config(), plan())
    power = np.mean(mixture.clean.astype(np.float64) ** 2, axis=-1)
    for i, snr_db in enumerate(mixture.snrs_db):
        measured_db = 10 * np.log10(power / np.mean(mixture.noise[i].astype(np.float64) ** 2, axis=-1))
        np.testing.assert_allclose(measured_db, snr_db, atol=0.01)
        np.testing.assert_allclose(mixture.noisy[i, :, 0], mixture.clean + mixture.noise[i], atol=1e-5)
    assert mixture.noisy.shape == (3, 12, 3, WINDOW)


def test_held_out_arrays_are_read_only_and_seeded(make_config: MakeConfig, make_split: MakeSplit) -> None:
    one, other = held_out(make_split(), make_config(), plan()), held_out(make_split(), make_config(), plan(seed=1))
    with pytest.raises(ValueError, match="read-only"):
        one.noisy[0] = 0
    np.testing.assert_array_equal(one.clean, other.clean)
    assert not np.array_equal(one.noise, other.noise)


def test_held_out_heart_rates_come_from_the_window_s_own_r_peaks(
    make_config: MakeConfig, make_segment: MakeSegment
) -> None:
    """The two clean recordings beat at 150 and at 100 per minute."""
    fast, slow = make_segment(1), dataclasses.replace(make_segment(2), r_peaks_s=np.arange(0.1, 8.0, 0.6))
    blind = dataclasses.replace(make_segment(5), r_peaks_s=None)
    mixture = held_out(Split((fast, slow, blind), (make_segment(3),)), make_config(window_samples=1000), plan())
    expected = np.array([150.0, 100.0, np.nan])[mixture.recording]
    np.testing.assert_allclose(mixture.reference_bpm, expected)
    assert set(mixture.recording) == {0, 1, 2}


def test_the_band_gain_is_the_filter_that_recordings_pass(make_config: MakeConfig) -> None:
    tone: Callable[[float], np.ndarray[Any, Any]] = lambda hz: np.sin(2 * np.pi * hz * np.arange(5000) / RATE_HZ)  # noqa: E731
    data = make_config()
    for frequency_hz in (20.0, 25.0, 40.0, 55.0, 80.0):
        x = tone(frequency_hz).astype(np.float32)
        filtered = bandpass(x, RATE_HZ, *BAND_HZ)[2000:3000]
        gain = band_gain(5000, data)[round(frequency_hz * 10)]
        assert float(gain) == pytest.approx(float(np.std(filtered) / np.std(x)), abs=2e-3)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_band_noise_keeps_magnitudes_in_the_band_and_nothing_else(n_channels: int, make_config: MakeConfig) -> None:
    """Thinned or not, the surrogate has its window's spectrum where the band-pass lets something through."""
    data = make_config(rate_hz=1000.0, window_samples=2048)
    wide = np.random.default_rng(0).standard_normal((n_channels, 20_000))
    signals = bandpass(wide, 1000.0, *BAND_HZ)
    windows = cut((Segment(signals, signals[0], Path("n")),), 2048, CPU)
    band = thin_out(windows, band_gain(2048, data))
    assert band is not None
    assert band.every == 4
    starts = windows.starts(1).at(torch.tensor([0, 1, 2, 3, 5001, 17_000]))
    drawn = band.draw(starts, windows.power[starts], seeded())
    got, wanted = (torch.fft.rfft(x).abs() for x in (drawn, windows.take(starts)))
    outside = torch.ones(got.shape[-1], dtype=torch.bool)
    outside[band.bins] = False
    assert got[..., outside].max() < 1e-3
    middle = slice(round(28 * 2.048), round(52 * 2.048))
    assert ((got - wanted)[..., middle].square().sum() / wanted[..., middle].square().sum()).sqrt() < 0.03
    assert not torch.allclose(drawn, windows.take(starts), atol=0.5)
