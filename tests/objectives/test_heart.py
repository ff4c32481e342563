"""Events and heart rate: synthetic beats with known times, real recordings against their R peaks, silence."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from objectives.heart import (
    EventCounts,
    detect_events,
    envelope,
    event_counts,
    heart_rate_bpm,
    heart_rates_bpm,
    match_events,
)

RATE_HZ = 1000.0
WINDOW_S = 5.12
Floats = NDArray[np.float64]


def event_times(bpm: float, start_s: float = 0.2, duration_s: float = WINDOW_S) -> tuple[Floats, Floats]:
    """Times of S1 and of S2, 486 - 2.2 bpm ms apart (QS2 less the 55 ms from the R peak to S1)."""
    s1 = np.arange(start_s, duration_s, 60 / bpm)
    return s1, s1 + 0.486 - 0.0022 * bpm


def beats(
    bpm: float, s2_over_s1: float = 0.7, rate_hz: float = RATE_HZ, start_s: float = 0.2, tone_hz: float = 40.0
) -> Floats:
    """One window of heart sounds: 40 Hz bursts, 60 ms wide at half maximum."""
    time_s = np.arange(round(WINDOW_S * rate_hz)) / rate_hz
    signal = np.zeros_like(time_s)
    for times, amplitude in zip(event_times(bpm, start_s), (1.0, s2_over_s1), strict=True):
        for t in times:
            burst = np.exp(-0.5 * ((time_s - t) / 0.0255) ** 2)
            signal += amplitude * burst * np.cos(2 * np.pi * tone_hz * (time_s - t))
    return signal


def in_band_noise(seed: int, n_windows: int = 1) -> Floats:
    white = np.random.default_rng(seed).normal(size=(n_windows, 5120))
    band = butter(4, (25, 55), "bandpass", fs=RATE_HZ, output="sos")
    return sosfiltfilt(band, white, axis=-1)


def event_f1(estimate: Floats, clean: Floats, rate_hz: float, tolerance_s: float = 0.060) -> float:
    """Return the event F1 of one window [time], or pooled over [window, time]."""
    return event_counts(np.atleast_2d(estimate), np.atleast_2d(clean), rate_hz, tolerance_s).f1


def heart_rate_errors_bpm(estimates: Floats, reference_bpm: Floats) -> Floats:
    """Return |estimated - reference| of each window; infinite without an estimated heart rate."""
    return np.nan_to_num(np.abs(heart_rates_bpm(estimates, RATE_HZ) - reference_bpm), nan=np.inf)


def test_envelope_of_a_steady_tone_is_its_relative_amplitude_away_from_the_ends() -> None:
    tone = 3.0 * np.sin(2 * np.pi * 40 * np.arange(4000) / RATE_HZ)
    inside = envelope(np.stack([tone, 0.1 * tone]), RATE_HZ)[:, 500:-500]
    assert inside == pytest.approx(np.ones_like(inside), abs=0.02)


@pytest.mark.parametrize("rate_hz", [200.0, 500.0, 1000.0, 4000.0])
def test_events_are_found_within_10_ms_at_any_rate(rate_hz: float) -> None:
    s1, s2 = event_times(72)
    expected = np.sort(np.concatenate([s1, s2]))
    expected = expected[expected < WINDOW_S - 0.05]
    found = detect_events(beats(72, rate_hz=rate_hz), rate_hz)
    assert found == pytest.approx(expected, abs=0.010)


@pytest.mark.parametrize("s2_over_s1", [0.41, 0.7, 1.24])
@pytest.mark.parametrize("bpm", [45, 72, 110, 150])
def test_faint_and_loud_second_sounds_are_found(bpm: float, s2_over_s1: float) -> None:
    s1, s2 = event_times(bpm)
    expected = np.sort(np.concatenate([s1, s2]))
    expected = expected[expected < WINDOW_S - 0.1]
    found = detect_events(beats(bpm, s2_over_s1), RATE_HZ)
    assert match_events(expected, found, 0.03)[2] == 0
    assert len(found) <= len(expected) + 1, "one more may stand at the window's end"


def test_one_bump_does_not_hide_the_beats() -> None:
    window = beats(72)
    bumpy = window + 10 * np.roll(beats(10, 0.0), 1500)
    tp, _, fn = match_events(detect_events(window, RATE_HZ), detect_events(bumpy, RATE_HZ))
    assert tp >= 10
    assert fn <= 2


@settings(max_examples=40)
@given(bpm=st.floats(45, 170), s2_over_s1=st.sampled_from([0.4, 0.7, 1.0, 1.24]), start_s=st.floats(-0.5, 0.5))
def test_heart_rate_of_a_beat_train_is_right_within_2_bpm(bpm: float, s2_over_s1: float, start_s: float) -> None:
    """With S2 as loud as S1 too: the half-period trap."""
    assert heart_rate_bpm(beats(bpm, s2_over_s1, start_s=start_s), RATE_HZ) == pytest.approx(bpm, abs=2)


@pytest.mark.parametrize("rate_hz", [200.0, 500.0, 4000.0])
def test_heart_rate_is_the_same_at_any_rate(rate_hz: float) -> None:
    assert heart_rate_bpm(beats(83.3, rate_hz=rate_hz), rate_hz) == pytest.approx(83.3, abs=0.5)


def test_equal_sounds_of_a_slow_uneven_heart_are_not_taken_for_single_beats() -> None:
    """At 57 bpm S1 to S2 lasts 0.36 s, like a beat at 167 bpm; uneven beats make that lag the stronger."""
    time_s = np.arange(5120) / RATE_HZ
    s1 = 0.2 + np.cumsum([0.0, 1.0, 1.1, 1.01, 1.09])
    events = np.concatenate([s1, s1 + 0.36])
    signal = np.exp(-0.5 * ((time_s - events[:, None]) / 0.0255) ** 2).sum(0) * np.cos(2 * np.pi * 40 * time_s)
    assert heart_rate_bpm(signal, RATE_HZ) == pytest.approx(57, abs=4)


def test_alternating_beats_do_not_halve_the_rate() -> None:
    """Every other beat weaker: two beats' lag correlates best, one beat's is the period."""
    window = beats(80, 0.6)
    weak = np.where((np.arange(5120) / RATE_HZ - 0.05) // 0.75 % 2 == 0, 1.0, 0.75)
    assert heart_rate_bpm(window * weak, RATE_HZ) == pytest.approx(80, abs=2)


def test_a_rate_outside_the_limits_is_not_reported() -> None:
    rate = heart_rate_bpm(beats(72), RATE_HZ, low_bpm=100, high_bpm=140)
    assert np.isnan(rate) or 100 <= rate <= 141
    assert np.isnan(heart_rate_bpm(beats(72)[:600], RATE_HZ)), "0.6 s cannot show a rate"


@pytest.mark.parametrize(
    "silence", [np.zeros(5120), np.full(5120, np.nan), np.r_[np.inf, np.ones(5119)]], ids=["0", "NaN", "inf"]
)
def test_silence_has_neither_events_nor_a_heart_rate(silence: Floats) -> None:
    assert len(detect_events(silence, RATE_HZ)) == 0
    assert np.isnan(heart_rate_bpm(silence, RATE_HZ))
    assert event_f1(silence, beats(72), RATE_HZ) == 0.0


def test_dust_under_the_clean_level_is_silence() -> None:
    clean = beats(72)
    assert event_f1(1e-7 * clean, clean, RATE_HZ) == 0.0
    assert event_f1(1e-5 * clean, clean, RATE_HZ) == 1.0


TIMES = st.lists(st.integers(0, 60), max_size=5, unique=True).map(lambda ms: np.sort(ms) / 20)


@settings(max_examples=100)
@given(reference=TIMES, estimate=TIMES)
def test_matching_is_the_best_one_to_one_assignment(reference: Floats, estimate: Floats) -> None:
    tolerance_s = 0.12
    short, long = sorted((reference, estimate), key=len)
    best = max(
        sum(abs(a - b) <= tolerance_s for a, b in zip(short, chosen, strict=True))
        for chosen in permutations(long, len(short))
    )
    tp, fp, fn = match_events(reference, estimate, tolerance_s)
    assert (tp, tp + fp, tp + fn) == (best, len(estimate), len(reference))
    assert match_events(estimate, reference, tolerance_s) == (tp, fn, fp)


def test_one_event_is_matched_once_and_the_tolerance_is_inclusive() -> None:
    assert match_events(np.array([1.0]), np.array([0.96, 1.0, 1.04])) == (1, 2, 0)
    assert match_events(np.array([1.0, 2.0]), np.array([1.0625, 2.0]), 0.0625) == (2, 0, 0)
    assert match_events(np.array([1.0, 2.0]), np.array([1.0626, 2.0]), 0.0625) == (1, 1, 1)


def test_f1_by_hand_per_window_and_pooled() -> None:
    """Window F1 are 2*3/(6+1+0), 0 and, with no event on either side, 1, which weighs nothing when pooled."""
    counts = EventCounts(tp=np.array([3, 0, 0]), fp=np.array([1, 0, 0]), fn=np.array([0, 4, 0]))
    assert counts.per_window == pytest.approx([6 / 7, 0, 1])
    assert counts.f1 == pytest.approx(6 / 11)
    assert EventCounts(*(np.zeros(2, np.int64),) * 3).f1 == 1.0


@settings(max_examples=25)
@given(seed=st.integers(0, 999), gain=st.floats(0, 3), scale=st.floats(-4, 4).map(lambda e: 10**e))
def test_f1_stays_in_bounds_and_ignores_the_estimate_s_scale(seed: int, gain: float, scale: float) -> None:
    clean = beats(60 + seed % 60)
    estimate = clean + gain * in_band_noise(seed)[0]
    score = event_f1(estimate, clean, RATE_HZ)
    assert 0 <= score <= 1
    assert event_f1(scale * estimate, clean, RATE_HZ) == score
    assert event_f1(-estimate, clean, RATE_HZ) == score
    assert event_f1(estimate, estimate, RATE_HZ) == 1.0


def test_noise_lowers_f1_and_windows_are_judged_alone() -> None:
    clean = np.stack([beats(60), beats(75), beats(95)])
    noise = in_band_noise(0, 3)
    scores = [event_f1(clean + gain * noise, clean, RATE_HZ) for gain in (0.0, 0.5, 4.0)]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    together = event_counts(clean + noise, clean, RATE_HZ)
    for i in range(3):
        alone = event_counts(clean[i : i + 1] + noise[i], clean[i : i + 1], RATE_HZ)
        assert (alone.tp[0], alone.fp[0], alone.fn[0]) == (together.tp[i], together.fp[i], together.fn[i])


def test_reference_times_may_be_given() -> None:
    clean = beats(72)[None]
    counts = event_counts(clean, clean, RATE_HZ, reference_s=[[0.2, 4.99]])
    assert (counts.tp[0], counts.fn[0]) == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: envelope(x, 100.0), "rate_hz is 100.0; heart scores need 200 Hz or more"),
        (lambda x: envelope(x, np.nan), "rate_hz is nan"),
        (lambda x: envelope(x[:, :1], RATE_HZ), "a window has 1 samples"),
        (lambda x: detect_events(x, RATE_HZ), r"signal has shape \(2, 5120\); one window"),
        (lambda x: heart_rates_bpm(x[0], RATE_HZ), r"shape \(5120,\); \[window, time\]"),
        (lambda x: heart_rates_bpm(x, RATE_HZ, 180, 40), "low_bpm is 180 and high_bpm 40"),
        (lambda x: event_f1(x, x[:1], RATE_HZ), r"\(2, 5120\) and cleans \(1, 5120\)"),
        (lambda x: event_f1(x, x, RATE_HZ, 0.0), "tolerance_s is 0.0"),
        (lambda x: event_counts(x, x, RATE_HZ, reference_s=[[1.0]]), "1 lists of times for 2 windows"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message) as refused:
        call(np.stack([beats(60), beats(70)]))
    assert "\n" not in str(refused.value)


def real_windows(realdata: Path) -> tuple[Floats, Floats]:
    """Windows [window, time] in band at 1 kHz and unit RMS, and their R-peak rates in bpm."""
    windows, rates = [], []
    for file in sorted((realdata / "heart_ecg" / "springer").glob("*.npz")):
        with np.load(file, allow_pickle=False) as record:
            band = butter(4, (25, 55), "bandpass", fs=int(record["fs"]), output="sos")
            sound, r_peaks_s = sosfiltfilt(band, record["hs"].astype(float)), record["r_peak_s"]
        for start in range(0, len(sound) - 5120 + 1, 2560):
            inside = r_peaks_s[(r_peaks_s >= start / 1000) & (r_peaks_s < (start + 5120) / 1000)]
            if len(inside) >= 4:
                window = sound[start : start + 5120]
                windows.append(window / window.std())
                rates.append(60 / np.median(np.diff(inside)))
    return np.array(windows), np.array(rates)


def test_real_heart_sounds_give_the_rate_of_their_r_peaks(realdata: Path) -> None:
    windows, rates = real_windows(realdata)
    error_bpm = heart_rate_errors_bpm(windows, rates)
    assert len(windows) >= 20
    assert np.mean(error_bpm < 5) >= 0.95
    assert np.median(error_bpm) < 1


def test_real_heart_sounds_have_about_two_events_per_beat(realdata: Path) -> None:
    windows, rates = real_windows(realdata)
    n_events = np.array([len(detect_events(window, RATE_HZ)) for window in windows])
    per_beat = n_events / (rates * WINDOW_S / 60)
    assert 1.8 < per_beat.mean() < 2.3
    assert (per_beat > 1.5).all()


def test_real_vehicle_noise_spoils_both_scores_step_by_step(realdata: Path) -> None:
    windows, rates = real_windows(realdata)
    with np.load(realdata / "vehicle" / "bratislava_L35_1915_Borska_Zaluhy.npz") as ride:
        z = resample_poly(ride["acc"][:, 2].astype(float) - 9.81, 2, 1)
    z = sosfiltfilt(butter(4, (25, 55), "bandpass", fs=RATE_HZ, output="sos"), z)
    noise = np.stack([z[i * 5120 :][:5120] for i in range(1, len(windows) + 1)])
    noise /= noise.std(axis=-1, keepdims=True)
    f1, share = [], []
    for snr_db in (30, 0, -10):
        noisy = windows + 10 ** (-snr_db / 20) * noise
        f1.append(event_f1(noisy, windows, RATE_HZ))
        share.append(np.mean(heart_rate_errors_bpm(noisy, rates) < 5))
    assert f1[0] > 0.95 > f1[1] > 0.7 > f1[2] > 0.3
    assert share[0] > 0.95 >= share[1] > 0.6 > share[2]
