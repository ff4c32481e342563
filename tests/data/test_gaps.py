"""What is cut out of a recording is cut out of its ECG and beats too. Broken channels after the first do no harm."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.readers.contents import Contents
from data.readers.gaps import without_gaps

RATE_HZ = 100.0


def contents(signals: np.ndarray, **changes: object) -> Contents:
    names = tuple(f"ch{i + 1}" for i in range(len(signals)))
    return Contents(signals.astype(np.float32), names, RATE_HZ, **changes)  # type: ignore[arg-type]


@given(start=st.integers(0, 990), n_lost=st.integers(1, 90), ecg_rate_hz=st.sampled_from([50.0, 100.0, 250.0]))
def test_signals_ecg_and_beats_stay_together(start: int, n_lost: int, ecg_rate_hz: float) -> None:
    """Every sample of the ECG, and every beat, is still at the sample of the signal at which it was."""
    time_s = np.arange(1000) / RATE_HZ
    signals = time_s[None].copy()
    signals[0, start : start + n_lost] = np.nan
    ecg_s = np.arange(round(10.0 * ecg_rate_hz)) / ecg_rate_hz
    beats_s = np.arange(0.505, 10.0, 0.5)
    held = contents(signals, ecg=ecg_s.astype(np.float32), ecg_rate_hz=ecg_rate_hz, r_peaks_s=beats_s)
    got = without_gaps(held, RATE_HZ, "cut", asked=True, where=Path("x"))
    assert got.signals.shape[1] == np.isfinite(signals).sum()
    assert got.ecg is not None and got.r_peaks_s is not None
    known = time_s[np.isfinite(signals[0])]
    at = np.minimum((np.arange(got.ecg.size) / ecg_rate_hz * RATE_HZ + 1e-6).astype(int), known.size - 1)
    apart_s = np.abs(known[at] - got.ecg)
    assert np.sum(apart_s > 1 / RATE_HZ + 1 / ecg_rate_hz + 1e-4) <= ecg_rate_hz / RATE_HZ  # those at the joint
    kept = [beat for beat in beats_s if np.isfinite(signals[0, int(beat * RATE_HZ)])]
    now = known[(got.r_peaks_s * RATE_HZ + 1e-6).astype(int)]
    np.testing.assert_allclose(now, kept, rtol=0, atol=1.01 / RATE_HZ)


@given(
    lost=st.lists(st.integers(1, 990), min_size=1, max_size=90, unique=True),
    ecg_rate_hz=st.sampled_from([50.0, 100.0, 128.0, 250.0]),
    extra=st.integers(-3, 3),
)
def test_each_sample_that_is_cut_takes_its_time_out_of_an_ecg_of_another_rate(
    lost: list[int], ecg_rate_hz: float, extra: int
) -> None:
    """However many samples are cut, the ECG holds the time at which the signal was, within a sample."""
    time_s = np.arange(1000) / RATE_HZ
    signals = time_s[None].copy()
    signals[0, lost] = np.nan
    ecg_s = np.arange(round(10.0 * ecg_rate_hz) + extra) / ecg_rate_hz
    held = contents(signals, ecg=ecg_s.astype(np.float32), ecg_rate_hz=ecg_rate_hz)
    got = without_gaps(held, RATE_HZ, "cut", asked=True, where=Path("x"))
    assert got.ecg is not None
    assert got.ecg.size == pytest.approx(ecg_s.size - len(lost) * ecg_rate_hz / RATE_HZ, abs=1.001)
    known = time_s[np.isfinite(signals[0])]
    at = np.arange(got.ecg.size) / ecg_rate_hz * RATE_HZ + 1e-6
    inside = at < known.size
    np.testing.assert_allclose(got.ecg[inside], known[at[inside].astype(int)], rtol=0, atol=1.01 / RATE_HZ)


def test_a_broken_channel_after_the_first_is_left_out_unless_it_was_asked_for() -> None:
    signals = np.random.default_rng(0).standard_normal((3, 1000))
    signals[1, 100:] = np.nan
    signals[2, 5] = np.nan
    got = without_gaps(contents(signals), RATE_HZ, "cut", asked=False, where=Path("x"))
    assert (got.channels, got.signals.shape) == (("ch1", "ch3"), (2, 999))
    assert any("ch2 is left out: 90 %" in note for note in got.notes)


def test_an_ecg_with_large_gaps_is_left_out() -> None:
    ecg = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    ecg[:500] = np.nan
    got = without_gaps(contents(np.ones((1, 1000)), ecg=ecg), RATE_HZ, "cut", asked=False, where=Path("x"))
    assert got.ecg is None
    assert any("ECG is left out" in note for note in got.notes)


def test_no_gap_is_noted_where_only_a_channel_that_is_left_out_has_one() -> None:
    signals = np.random.default_rng(0).standard_normal((2, 1000))
    signals[1, 100:] = np.nan
    got = without_gaps(contents(signals), RATE_HZ, "cut", asked=False, where=Path("x"))
    assert got.channels == ("ch1",) and got.signals.shape == (1, 1000)
    assert got.notes == ("channel ch2 is left out: 90 % of its samples are missing",)
