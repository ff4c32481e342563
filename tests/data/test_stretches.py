"""Long stretches of held-out recordings: their SNR is exact, they are the same each time, and no heart is cut short."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig, HeldOutConfig, Source
from data.corpus import Segment, Split
from data.mixing.stretches import LEAST_S, LONGEST_S, MOST, Stretch, stretches

RATE_HZ = 250.0
CONFIG = DataConfig((Source(("a",)),), (Source(("b",)),), rate_hz=RATE_HZ, window_samples=1280)
PLAN = HeldOutConfig(snrs_db=(-5.0, 5.0), seed=3)


def segment(seconds: float, seed: int, n_channels: int = 1, *, peaks: bool = True) -> Segment:
    rows = np.random.default_rng(seed).standard_normal((n_channels, round(seconds * RATE_HZ))).astype(np.float32)
    return Segment(rows, rows[0], Path(f"{seed}.wav"), np.arange(0.5, seconds, 0.8) if peaks else None)


def drawn(clean: list[Segment], noise: list[Segment], plan: HeldOutConfig = PLAN) -> list[Stretch]:
    return list(stretches(Split(tuple(clean), tuple(noise)), CONFIG, plan))


@settings(max_examples=30, deadline=None)
@given(
    clean_s=st.lists(st.floats(LEAST_S + 0.1, 200.0), min_size=1, max_size=4),
    noise_s=st.lists(st.floats(5.0, 100.0), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_each_heart_has_the_snr_and_the_noise_it_is_said_to_have(
    clean_s: list[float], noise_s: list[float], seed: int
) -> None:
    clean, noise = [segment(s, i) for i, s in enumerate(clean_s)], [segment(s, 50 + i) for i, s in enumerate(noise_s)]
    plan = replace(PLAN, seed=seed)
    found = drawn(clean, noise, plan)
    mixed = [stretch for stretch in found if stretch.clean is not None]
    assert len(mixed) % 2 == 0 and 2 <= len(mixed) <= 2 * MOST
    for stretch in mixed:
        assert stretch.clean is not None
        assert LEAST_S <= stretch.clean.size / RATE_HZ <= LONGEST_S
        added = stretch.noisy[0] - stretch.clean
        snr_db = 10 * np.log10(np.mean(stretch.clean**2) / np.mean(added**2))
        assert snr_db == pytest.approx(stretch.snr_db, abs=1e-3)
    for quiet, loud in zip(mixed[::2], mixed[1::2], strict=True):
        assert quiet.clean is loud.clean
        ratio = (quiet.noisy[0] - quiet.clean) / (loud.noisy[0] - loud.clean)
        np.testing.assert_allclose(np.median(ratio), 10**0.5, rtol=1e-3)
    again = drawn(clean, noise, plan)
    assert all(np.array_equal(a.noisy, b.noisy) for a, b in zip(found, again, strict=True))


def test_r_peaks_count_from_the_start_of_their_stretch() -> None:
    found = [s for s in drawn([segment(150.0, 0)], [segment(80.0, 1)]) if s.clean is not None]
    assert [s.noisy.shape[1] / RATE_HZ for s in found[::2]] == [60, 60, 30]
    for stretch, start_s in zip(found[::2], (0.0, 60.0, 120.0), strict=True):
        expected_s = np.arange(0.5, 150.0, 0.8)
        inside_s = expected_s[(expected_s >= start_s) & (expected_s < start_s + stretch.noisy.shape[1] / RATE_HZ)]
        assert stretch.r_peaks_s is not None
        np.testing.assert_allclose(stretch.r_peaks_s, inside_s - start_s)
    assert all(s.r_peaks_s is None for s in drawn([segment(40.0, 0, peaks=False)], [segment(40.0, 1)]))


def test_short_recordings_are_left_out_where_there_are_long_ones_and_taken_whole_where_there_are_none() -> None:
    mixed = [s for s in drawn([segment(15.0, 0), segment(45.0, 1)], [segment(90.0, 2)]) if s.clean is not None]
    assert {s.recording for s in mixed} == {1}
    mixed = [s for s in drawn([segment(15.0, 0), segment(8.0, 1)], [segment(90.0, 2)]) if s.clean is not None]
    assert [(s.recording, s.noisy.shape[1]) for s in mixed] == [(0, round(15 * RATE_HZ))] * 2
    assert drawn([segment(8.0, 0)], [segment(90.0, 1)]) == []


def test_noise_alone_is_a_quarter_of_the_time_and_never_the_same_twice() -> None:
    """The second channel of the noise is the number of its minute."""
    rows = segment(600.0, 9, n_channels=2).signals.copy()
    rows[1] = np.repeat(np.arange(10.0), round(60 * RATE_HZ))
    found = drawn([segment(60.0, i) for i in range(6)], [Segment(rows, rows[0], Path("a"))])
    alone = [s for s in found if s.clean is None]
    assert len(alone) == len(found) / 4 == 4
    assert len({float(np.median(s.noisy[1])) for s in alone}) == 4
    assert all(s.snr_db == -np.inf and s.noisy.shape == (2, round(60 * RATE_HZ)) for s in alone)


def test_noise_alone_keeps_its_power_and_what_its_channels_share() -> None:
    rows = np.random.default_rng(0).standard_normal((1, 15_000)).astype(np.float32)
    noise = Segment(np.concatenate([rows, -2 * rows]), rows[0], Path("a"))
    (alone,) = (s for s in drawn([segment(60.0, 1)], [noise]) if s.clean is None)
    np.testing.assert_allclose(alone.noisy[1], -2 * alone.noisy[0], rtol=1e-5)
    assert np.mean(alone.noisy[0] ** 2) == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(alone.noisy[0], rows[0])[0, 1]) < 0.1


def test_the_end_of_a_long_noise_is_no_likelier_than_its_beginning() -> None:
    """Noise of 90 s that counts: a stretch of 60 s starts anywhere in its first 30 s."""
    n = round(90 * RATE_HZ)
    rows = np.stack([np.random.default_rng(0).standard_normal(n), np.arange(n)]).astype(np.float32)
    noise = Segment(rows, rows[0], Path("a"))
    hearts = [replace(h, signals=np.stack([h.in_band, 0 * h.in_band])) for h in (segment(60.0, i) for i in range(6))]
    starts = []
    for seed in range(12):
        plan = HeldOutConfig(snrs_db=(0.0,), seed=seed)
        mixed = [s for s in drawn(hearts, [noise], plan) if s.clean is not None]
        counts = [s.noisy[1] / (s.noisy[1, 1] - s.noisy[1, 0]) for s in mixed]
        starts += [float(count[0]) / RATE_HZ for count in counts]
    assert all(0 <= start_s <= 30 for start_s in starts)
    assert np.histogram(starts, 3, (0, 30))[0].min() > 0.15 * len(starts)
