"""Synthetic recordings against the numbers they were made from."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import hilbert, welch

from data.errors import DataError
from data.filters import bandpass
from data.recording import Recording
from data.synthetic.heart import Q_TO_R_S, draw_beats, draw_driver, qs2_s
from data.synthetic.recordings import SynthConfig, Truth, simulate

SEEDS = (0, 1, 2)
RATE_HZ = 1000.0


@cache
def made(seed: int, speed_kmh: int | None) -> tuple[Recording, Truth]:
    return simulate(SynthConfig(seed=seed, minutes=2), speed_kmh)


def in_band_db(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(bandpass(signal, RATE_HZ, 25, 55).astype(np.float64) ** 2)))


# --- the heart


@pytest.mark.parametrize("seed", range(8))
def test_beats_keep_to_the_ranges(seed: int) -> None:
    """RR, its SD (ectopic beats apart), S1 and S2 delays from R and their beat-to-beat SD."""
    rng = np.random.default_rng(seed)
    driver = draw_driver(rng)
    beats = draw_beats(driver, 300, rng)
    rate_bpm = 60 / np.diff(beats.r_s)
    usual = np.abs(rate_bpm - np.median(rate_bpm)) < 4.5 * driver.heart_rate_sd_bpm
    assert 58 < rate_bpm[usual].mean() < 94
    assert 1 < rate_bpm[usual].std() < 5
    assert usual.mean() > 0.94
    s1_s, s2_s = beats.s1_s - beats.r_s, beats.s2_s - beats.r_s
    assert s1_s.min() > 0.035 - 1e-9
    assert s1_s.max() < 0.078 + 1e-9
    assert 0.045 - 0.003 < s1_s.mean() < 0.065 + 0.003
    assert 0.282 < s2_s.mean() < 0.376
    assert 0.003 < s1_s.std() < 0.010
    for amplitude in (beats.s1_amplitude, beats.s2_amplitude):
        assert 0.06 < amplitude.std() / amplitude.mean() < 0.30
    assert 0.41 < np.median(beats.s2_amplitude) / np.median(beats.s1_amplitude) < 1.24


def test_qs2_is_the_published_line() -> None:
    rate_bpm = np.array([60.0, 100.0])
    np.testing.assert_allclose(qs2_s(rate_bpm, female=False), [0.409, 0.321])
    np.testing.assert_allclose(qs2_s(rate_bpm, female=True), [0.420, 0.340])


@pytest.mark.parametrize("seed", range(6))
def test_s2_follows_the_heart_rate_by_qs2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    driver = draw_driver(rng)
    beats = draw_beats(driver, 300, rng)
    rate_bpm = 60 / np.median(np.diff(beats.r_s))
    wanted_s = qs2_s(np.array([rate_bpm]), driver.female)[0]
    assert np.median(beats.s2_s - beats.r_s) + Q_TO_R_S == pytest.approx(wanted_s, abs=0.003)


def test_breathing_moves_the_heart_rate_twice_as_much_in_power_as_the_slow_rhythm() -> None:
    """LF/HF about 0.5 in the tachogram (0.04-0.15 Hz against 0.15-0.4 Hz)."""
    ratios = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        beats = draw_beats(draw_driver(rng), 300, rng)
        rr_s = np.diff(beats.r_s)
        rr_s = np.clip(rr_s, *np.quantile(rr_s, (0.02, 0.98)))
        even = np.interp(np.arange(5, 295, 0.25), beats.r_s[1:], rr_s)
        frequency_hz, power = welch(even, 4, nperseg=256)
        low = power[(frequency_hz >= 0.04) & (frequency_hz < 0.15)].sum()
        high = power[(frequency_hz >= 0.15) & (frequency_hz < 0.4)].sum()
        ratios.append(low / high)
    assert 0.3 < np.median(ratios) < 0.9


def test_inspiration_weakens_s1_and_strengthens_s2() -> None:
    rng = np.random.default_rng(0)
    beats = draw_beats(draw_driver(rng), 900, rng)
    later = np.corrcoef(beats.s1_s - beats.r_s, beats.s1_amplitude)[0, 1]
    opposite = np.corrcoef(beats.s1_amplitude, beats.s2_amplitude)[0, 1]
    assert later < -0.1
    assert opposite < -0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_s1_and_s2_peak_in_band_where_the_truth_says(seed: int) -> None:
    _, truth = made(seed, None)
    envelope = np.abs(hilbert(bandpass(truth.heart, RATE_HZ, 25, 55)))
    for times_s in (truth.s1_s, truth.s2_s):
        at = np.round(times_s[(times_s > 0.2) & (times_s < 119.8)] * RATE_HZ).astype(int)
        pieces = envelope[at[:, None] + np.arange(-90, 91)]
        near = pieces[:, 40:141]
        assert abs(np.median(near.argmax(axis=1) - 50)) <= 15
        above = pieces >= near.max(axis=1, keepdims=True) / 2
        assert 40 < np.median(above.sum(axis=1)) < 92  # full width at half maximum in ms


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ecg_peaks_at_the_r_times(seed: int) -> None:
    recording, truth = made(seed, None)
    assert recording.ecg is not None
    assert recording.r_peaks_s is not None
    np.testing.assert_array_equal(recording.r_peaks_s, truth.r_s)
    at = np.round(truth.r_s[(truth.r_s > 0.3) & (truth.r_s < 119.5)] * RATE_HZ).astype(int)
    pieces = recording.ecg[at[:, None] + np.arange(-150, 151)]
    assert np.abs(pieces.argmax(axis=1) - 150).max() <= 8


# --- the whole


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_record_has_8_to_18_db_in_band(seed: int) -> None:
    recording, truth = made(seed, None)
    assert 8 < in_band_db(truth.heart) - in_band_db(recording.signals[0] - truth.heart) < 18


@pytest.mark.parametrize("seed", SEEDS)
def test_every_channel_holds_the_heart_and_ch1z_most(seed: int) -> None:
    recording, truth = made(seed, None)
    heart = bandpass(truth.heart, RATE_HZ, 25, 55)
    band = bandpass(recording.signals, RATE_HZ, 25, 55)
    spectrum = np.fft.rfft(np.vstack([heart, band]), axis=-1)
    # The heart reaches channels at different times: the best lag of the cross-correlation.
    cross = np.fft.irfft(spectrum[1:] * spectrum[0].conj(), axis=-1)
    gain = np.abs(np.concatenate([cross[:, :20], cross[:, -20:]], axis=1)).max(axis=1) / np.sum(heart**2)
    assert gain[0] == pytest.approx(1, abs=0.05)
    assert (gain[1:] < 0.95).all()
    assert (gain[1:] > 0.15).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("speed_kmh", "over_heart_db"), [(0, 3), (30, 8), (100, 15)])
def test_the_vehicle_is_this_much_louder_than_the_heart(seed: int, speed_kmh: int, over_heart_db: float) -> None:
    recording, truth = made(seed, speed_kmh)
    vehicle_db = in_band_db(recording.signals[0] - truth.heart)
    assert vehicle_db - in_band_db(truth.heart) == pytest.approx(over_heart_db, abs=2.8)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_level_grows_with_speed(seed: int) -> None:
    """From 30 to 100 km/h: 20 x 0.47 x log10(100/30) = 4.9 dB by the axle, 7 dB in band with boom and wheels."""
    levels = [in_band_db(made(seed, speed)[0].signals[0]) for speed in (30, 60, 100)]
    assert levels[0] < levels[1] < levels[2]
    assert levels[2] - levels[0] == pytest.approx(6.5, abs=1.5)
    rms = [made(seed, speed)[0].signals[0].std() for speed in (30, 100)]
    assert rms[1] > rms[0]


# --- seeds and arguments


def test_the_seed_decides_everything() -> None:
    config = SynthConfig(seed=4, minutes=0.2)
    first, again = (simulate(config, None)[0] for _ in range(2))
    np.testing.assert_array_equal(first.signals, again.signals)
    np.testing.assert_array_equal(first.ecg, again.ecg)
    other_seed = SynthConfig(seed=5, minutes=0.2)
    for other, _ in (simulate(other_seed, None), simulate(config, None, session=2), simulate(config, 0)):
        assert not np.array_equal(first.signals, other.signals)


def test_a_session_keeps_its_driver_and_sensor_but_not_its_beats() -> None:
    """The heart's spectrum agrees between speeds of a session, the beat times do not."""
    (_, stop), (_, fast) = made(1, None), made(1, 100)
    assert not np.allclose(stop.r_s[:50], fast.r_s[:50], atol=0.01)
    assert in_band_db(stop.heart) == pytest.approx(in_band_db(fast.heart), abs=0.3)


def test_shapes_rates_and_names() -> None:
    recording, truth = simulate(SynthConfig(minutes=0.2), 50)
    assert recording.signals.shape == (6, 12_000)
    assert recording.signals.dtype == np.float32
    assert recording.channels == ("ch1z", "ch2z", "ch3z", "ch4z", "ch5z", "ch6z")
    assert (recording.rate_hz, recording.ecg_rate_hz) == (1000, 1000)
    assert recording.source == Path("synthetic/seed0/s01/50km")
    assert truth.heart.shape == (12_000,)


def test_layout_240219_is_the_same_recording_at_32_khz() -> None:
    slow = simulate(SynthConfig(minutes=0.1), None)[0]
    fast = simulate(SynthConfig(minutes=0.1, layout="240219"), None)[0]
    assert (fast.rate_hz, fast.ecg_rate_hz) == (32_000, 32_000)
    assert fast.signals.shape == (6, 32 * 6_000)
    np.testing.assert_allclose(fast.signals[:, ::32], slow.signals, atol=2e-3 * slow.signals.std() * 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "240220"}, "layout is '240220'; allowed: 240219, 240517, 240826, wav"),
        ({"speeds_kmh": (30, 300)}, "speed in km/h is 300; 10 to 160 is allowed"),
        ({"speeds_kmh": ()}, "speeds_kmh is empty"),
        ({"speeds_kmh": (30, 30)}, "give each speed once"),
        ({"minutes": 0}, r"minutes is 0; 0\.1 to 60 is allowed"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"sessions": 0}, "sessions is 0; 1 to 999 is allowed"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SynthConfig(**changes)  # type: ignore[arg-type]


def test_an_unknown_speed_is_refused_in_memory_too() -> None:
    with pytest.raises(DataError, match="speed in km/h is 5; 10 to 160 is allowed"):
        simulate(SynthConfig(minutes=0.2), 5)
