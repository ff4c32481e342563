"""Beats of whole recordings: made beats are found at their times, and silence, noise and vehicles have none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from objectives.beats import Beats, find_beats
from objectives.heart import heart_rate_bpm, match_events

RATE_HZ = 250.0
Floats = NDArray[np.float64]


def heart(s1_s: Floats, duration_s: float, s2_over_s1: float = 0.7, noise: float = 0.02, seed: int = 0) -> Floats:
    """S1 as Gabor bumps of 38 Hz at the given times, and S2 of 45 Hz after the systole of the local heart rate."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    signal = noise * in_band_noise(seed, duration_s)
    bpm = 60 / np.gradient(s1_s)
    for times_s, height, tone_hz in ((s1_s, 1.0, 38.0), (s1_s + 0.441 - 0.0022 * bpm, s2_over_s1, 45.0)):
        for at_s in times_s:
            near = slice(max(0, round((at_s - 0.2) * RATE_HZ)), max(0, round((at_s + 0.2) * RATE_HZ)))
            since_s = time_s[near] - at_s
            signal[near] += height * np.exp(-0.5 * (since_s / 0.025) ** 2) * np.cos(2 * np.pi * tone_hz * since_s)
    return signal


def in_band_noise(seed: int, duration_s: float) -> Floats:
    """Gaussian noise in 25-55 Hz with RMS 1."""
    white = np.random.default_rng(seed).normal(size=round(duration_s * RATE_HZ))
    noise: Floats = sosfiltfilt(butter(4, (25, 55), "bandpass", fs=RATE_HZ, output="sos"), white)
    return noise / float(noise.std())


def even(bpm: float, duration_s: float, start_s: float = 0.3) -> Floats:
    return np.arange(start_s, duration_s - 0.5, 60 / bpm)


def f1(expected_s: Floats, found_s: Floats, tolerance_s: float = 0.03) -> float:
    tp, fp, fn = match_events(expected_s, found_s, tolerance_s)
    return 2 * tp / (2 * tp + fp + fn)


def n_told(found: Beats) -> int:
    return sum(span.heart_rate_bpm is not None for span in found.spans)


@pytest.mark.parametrize("s2_over_s1", [0.0, 0.41, 0.7, 1.24])
@pytest.mark.parametrize("bpm", [45.0, 60.0, 75.0, 100.0, 125.0])
def test_beats_at_known_times_are_found_and_their_intervals_are_right(bpm: float, s2_over_s1: float) -> None:
    """With S2 louder than S1 too: the beat is S1."""
    s1_s = even(bpm, 30.0)
    found = find_beats(heart(s1_s, 30.0, s2_over_s1), RATE_HZ)
    assert f1(s1_s, found.times_s) > 0.97
    assert found.heart_rate_bpm == pytest.approx(bpm, abs=1)
    assert [span.heart_rate_bpm for span in found.spans] == pytest.approx([bpm] * 3, abs=2)
    assert np.isnan(found.rates_bpm[0])
    assert found.rates_bpm[1:] == pytest.approx(bpm, rel=0.08)


@pytest.mark.parametrize("bpm", [140.0, 170.0])
def test_beats_so_fast_that_s1_and_s2_are_one_event_have_the_right_intervals(bpm: float) -> None:
    found = find_beats(heart(even(bpm, 30.0), 30.0, s2_over_s1=1.24), RATE_HZ)
    assert len(found.times_s) == pytest.approx(len(even(bpm, 30.0)), abs=1)
    assert found.rates_bpm[2:-1] == pytest.approx(bpm, rel=0.08)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), mean_bpm=st.floats(55, 110))
def test_intervals_that_vary_with_breathing_are_followed(seed: int, mean_bpm: float) -> None:
    rng = np.random.default_rng(seed)
    n_beats = round(40 * mean_bpm / 60) - 2
    breathing = np.sin(2 * np.pi * 0.25 * np.arange(n_beats) * 60 / mean_bpm + rng.uniform(0, 6))
    s1_s = 0.3 + np.cumsum(60 / (mean_bpm + 3 * breathing + rng.normal(0, 0.5, n_beats)))
    found = find_beats(heart(s1_s, 42.0, seed=seed), RATE_HZ)
    assert f1(s1_s, found.times_s) > 0.95
    inside = found.times_s[1:] < s1_s[-1] + 0.1
    expected = np.interp(found.times_s[1:], s1_s[1:], 60 / np.diff(s1_s))
    assert np.median(np.abs(found.rates_bpm[1:] - expected)[inside]) < 2


@pytest.mark.parametrize("snr_db", [5.0, 0.0, -5.0])
def test_a_rate_that_is_told_is_right_whatever_the_noise(snr_db: float) -> None:
    """Noise takes spans away, but leaves no wrong ones; of ten hearts from 52 to 97 bpm, 30 s each."""
    n_tp = n_all = n_spans = 0
    for seed, bpm in enumerate(range(52, 102, 5)):
        s1_s = even(float(bpm), 30.0)
        signal = heart(s1_s, 30.0)
        found = find_beats(signal + signal.std() * 10 ** (-snr_db / 20) * in_band_noise(seed, 30.0), RATE_HZ)
        told = [span for span in found.spans if span.heart_rate_bpm is not None]
        assert [span.heart_rate_bpm for span in told] == pytest.approx([bpm] * len(told), abs=5)
        inside_s = [s1_s[(s1_s >= span.start_s) & (s1_s < span.end_s)] for span in told]
        tp, fp, fn = match_events(np.concatenate([*inside_s, []]), found.times_s, 0.04)
        n_tp, n_all, n_spans = n_tp + 2 * tp, n_all + 2 * tp + fp + fn, n_spans + len(told)
    assert n_tp >= 0.9 * n_all
    assert n_spans >= (25 if snr_db >= 0 else 3)


def test_spans_count_their_beats_and_the_last_is_as_long_as_is_left() -> None:
    s1_s = even(72.0, 34.0)
    found = find_beats(heart(s1_s, 34.0), RATE_HZ)
    assert [(span.start_s, span.end_s) for span in found.spans] == [(0, 10), (10, 20), (20, 30), (30, 34)]
    counts = [span.n_beats or 0 for span in found.spans]
    assert sum(counts) == len(found.times_s)
    assert counts[:3] == [np.count_nonzero((s1_s >= 10 * i) & (s1_s < 10 * i + 10)) for i in range(3)]


def test_the_interval_across_a_missed_beat_has_no_heart_rate() -> None:
    s1_s = even(60.0, 30.0)
    found = find_beats(heart(np.delete(s1_s, 15), 30.0, s2_over_s1=0.0), RATE_HZ)
    after = int(np.argmin(np.abs(found.times_s - s1_s[16])))
    assert np.isnan(found.rates_bpm[after])
    assert np.isfinite(np.delete(found.rates_bpm, [0, after])).all()


def test_beats_are_told_where_there_is_a_heart_and_not_where_noise_covers_it() -> None:
    """30 s of a heart, 30 s of noise, 30 s of a heart."""
    signal = heart(even(80.0, 90.0), 90.0)
    signal[30 * 250 : 60 * 250] = in_band_noise(1, 30.0)
    found = find_beats(signal, RATE_HZ)
    assert [span.heart_rate_bpm is not None for span in found.spans] == 3 * [True] + 3 * [False] + 3 * [True]
    assert all(span.n_beats is None for span in found.spans[3:6])
    assert not ((found.times_s >= 30) & (found.times_s < 60)).any()
    assert np.isnan(found.rates_bpm[np.argmax(found.times_s >= 60)]), "the interval across the noise is no beat's"


def test_a_louder_part_does_not_hide_the_other_beats() -> None:
    s1_s = even(70.0, 40.0)
    signal = heart(s1_s, 40.0)
    signal[12 * 250 : 17 * 250] *= 20
    assert f1(s1_s, find_beats(signal, RATE_HZ).times_s) > 0.95


@pytest.mark.parametrize(
    "signal",
    [np.zeros(5000), np.full(5000, np.nan), np.sin(2 * np.pi * 40 * np.arange(5000) / RATE_HZ), np.zeros(2)],
    ids=["silence", "NaN", "tone", "two samples"],
)
def test_what_does_not_beat_has_no_beats(signal: Floats) -> None:
    found = find_beats(signal, RATE_HZ)
    assert found.times_s.size == found.rates_bpm.size == n_told(found) == 0
    assert found.heart_rate_bpm is None


@pytest.mark.parametrize(("duration_s", "n_allowed"), [(10.0, 1), (5.0, 1), (60.0, 6)])
def test_noise_alone_has_no_heart_rate(duration_s: float, n_allowed: int) -> None:
    """At most one span in a hundred of stationary noise; 100 recordings of each length."""
    assert sum(n_told(find_beats(in_band_noise(seed, duration_s), RATE_HZ)) for seed in range(100)) <= n_allowed


def test_a_hum_that_swells_a_little_has_a_period_but_no_beats() -> None:
    time_s = np.arange(round(20 * RATE_HZ)) / RATE_HZ
    swell = 1 + 0.1 * np.cos(2 * np.pi * 80 / 60 * time_s)
    signal = swell * np.cos(2 * np.pi * 40 * time_s)
    assert heart_rate_bpm(signal, RATE_HZ) == pytest.approx(80, abs=1)
    assert n_told(find_beats(signal, RATE_HZ)) == 0


def test_a_recording_of_few_seconds_does_not_tell_its_rate() -> None:
    assert find_beats(heart(even(75.0, 4.9), 4.9), RATE_HZ).heart_rate_bpm is None
    assert find_beats(heart(even(75.0, 6.0), 6.0), RATE_HZ).heart_rate_bpm == pytest.approx(75, abs=2)


@pytest.mark.parametrize("rate_hz", [200.0, 1000.0])
def test_the_rate_of_the_samples_decides_nothing(rate_hz: float) -> None:
    s1_s = even(66.0, 20.0)
    signal = resample_poly(heart(s1_s, 20.0), round(rate_hz), 250)
    assert f1(s1_s, find_beats(signal, rate_hz).times_s) > 0.97


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"signal has shape \(2, 5000\); \[time\]"):
        find_beats(np.zeros((2, 5000)), RATE_HZ)
    with pytest.raises(ValueError, match="heart scores need 200 Hz"):
        find_beats(np.zeros(5000), 100.0)


def in_band(signal: Floats, rate_hz: int) -> Floats:
    at_250_hz = resample_poly(signal, 250, rate_hz)
    return np.asarray(sosfiltfilt(butter(4, (25, 55), "bandpass", fs=RATE_HZ, output="sos"), at_250_hz))


def test_the_beats_of_real_heart_sounds_are_those_of_their_r_peaks(realdata: Path) -> None:
    """S1 follows the R peak by about 50 ms; records in which spans have no rate are compared where they have one."""
    n_right = n_all = 0
    for file in sorted((realdata / "heart_ecg" / "springer").glob("*.npz")):
        with np.load(file, allow_pickle=False) as record:
            found = find_beats(in_band(record["hs"].astype(float), int(record["fs"])), RATE_HZ)
            r_peaks_s = record["r_peak_s"]
        told = [span for span in found.spans if span.heart_rate_bpm is not None]
        assert told
        inside_s = np.concatenate([r_peaks_s[(r_peaks_s >= s.start_s) & (r_peaks_s < s.end_s)] for s in told])
        tp, fp, fn = match_events(inside_s + 0.05, found.times_s, 0.06)
        n_right, n_all = n_right + 2 * tp, n_all + 2 * tp + fp + fn
    assert n_right / n_all > 0.9


def test_real_vehicle_noise_seldom_has_a_heart_rate(realdata: Path) -> None:
    """Of the drivers' hearts nothing is known, so the bound is no more than a bound: 3 % of the spans."""
    n_found = n_spans = 0
    for file in sorted((realdata / "vehicle").glob("*.npz")):
        with np.load(file, allow_pickle=False) as ride:
            found = find_beats(in_band(ride["acc"][:, 2] - ride["acc"][:, 2].mean(), int(ride["fs"])), RATE_HZ)
        n_found, n_spans = n_found + n_told(found), n_spans + len(found.spans)
    assert n_spans > 50
    assert n_found <= 0.03 * n_spans
