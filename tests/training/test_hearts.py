"""The gate of hearts: good ones are graded, and each defect is refused by its name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.recording import Recording
from tests.support.published import beating
from training.hearts import MAX_CLIPPED, MIN_CONTRAST_S, MIN_S, Heart, contrast_db, contrasts_db, judge

RATE_HZ = 1000.0
Floats = NDArray[np.float64]


def judged(*rows: Floats, rate_hz: float = RATE_HZ, ranked: bool = True) -> Heart:
    names = ("x", "y", "z")[: len(rows)]
    return judge(Recording(np.stack(rows).astype(np.float32), rate_hz, names, Path("heart.npz")), ranked)


def silenced(heart: Floats, seconds: float) -> Floats:
    """The middle of the recording without a signal."""
    start, n_silent = heart.size // 2, round(seconds * RATE_HZ)
    return np.concatenate([heart[:start], np.zeros(n_silent), heart[start + n_silent :]])


@pytest.mark.parametrize("bpm", [45.0, 72.0, 120.0, 160.0])
@pytest.mark.parametrize("rate_hz", [99.4, 198.0, 1000.0, 8000.0])
def test_a_steady_heart_has_grade_a_at_any_rate(bpm: float, rate_hz: float) -> None:
    """At 99.4 Hz the band ends at 44.7 Hz."""
    heart = judged(beating(rate_hz, bpm, 30.0), rate_hz=rate_hz)
    assert (heart.grade, heart.problem) == ("A", "")
    assert heart.heart_rate_bpm == pytest.approx(bpm, rel=0.02)
    assert heart.halves < 0.02


def test_noise_lowers_the_grade_before_it_is_refused() -> None:
    grades = [judged(beating(RATE_HZ, noise=size)).grade for size in (0.01, 0.7, 5.0)]
    assert grades == ["A", "B", ""]


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_refused(seed: int) -> None:
    heart = judged(np.random.default_rng(seed).standard_normal(12_000))
    assert heart.grade == ""
    assert heart.problem.startswith("without a rhythm: periodicity 0.")


@pytest.mark.parametrize(
    ("heart", "rate_hz", "problem"),
    [
        (np.clip(beating(RATE_HZ), -0.5, 0.5), RATE_HZ, "clipped: "),
        (silenced(beating(RATE_HZ), 0.3), RATE_HZ, "with dropouts: constant for 50 ms and more in 2.5% of the time"),
        (
            np.concatenate([beating(RATE_HZ, 60.0, 6.0), beating(RATE_HZ, 100.0, 6.0)]),
            RATE_HZ,
            "with unequal halves: heart rates differ by 50%, at most 20% is allowed",
        ),
        (np.full(12_000, 3.0), RATE_HZ, "flat: all samples are equal"),
        (beating(RATE_HZ, seconds=MIN_S - 0.1), RATE_HZ, "too short: 7.9 s, 8 s are needed"),
        (beating(89.0), 89.0, "of too low a rate: 89 Hz, 90 Hz are needed for 25 to 45 Hz"),
        (np.eye(1, 12_000, 5)[0], RATE_HZ, "with dropouts: "),
    ],
    ids=["clipped", "dropouts", "halves", "flat", "short", "slow", "one click"],
)
def test_each_defect_is_refused_by_its_name(heart: Floats, rate_hz: float, problem: str) -> None:
    found = judged(heart, rate_hz=rate_hz)
    assert found.grade == ""
    assert found.problem.startswith(problem)


def test_a_rhythm_without_quiet_between_its_sounds_is_refused() -> None:
    """A tone whose level swells with each beat, as that of an engine: periodic, and no heart."""
    time_s = np.arange(12_000) / RATE_HZ
    tone = (1 + 0.4 * np.sin(2 * np.pi * 1.2 * time_s)) * np.sin(2 * np.pi * 38 * time_s)
    found = judged(tone)
    assert found.periodicity > 0.9
    assert found.problem.startswith("without contrast: sounds ")


def test_few_defects_cost_the_grade_a_alone() -> None:
    heart = beating(RATE_HZ)
    assert judged(heart).grade == "A"
    assert judged(silenced(heart, 0.06)).grade == "B"
    heart[100:105] = 1.5
    found = judged(heart)
    assert 0 < found.clipped <= MAX_CLIPPED
    assert found.grade == "B"


def test_the_axis_with_the_steadiest_rhythm_comes_first_unless_the_authors_named_one() -> None:
    noise = np.random.default_rng(1).standard_normal(12_000)
    flat = np.zeros(12_000)
    rows = (flat, noise, beating(RATE_HZ, noise=0.05))
    found = judged(*rows, ranked=False)
    assert found.recording.channels == ("z", "x", "y")
    np.testing.assert_array_equal(found.recording.signals, np.stack(rows).astype(np.float32)[[2, 0, 1]])
    assert found.grade == "A"
    assert judged(*rows[1:], ranked=True).problem.startswith("without a rhythm")


def test_a_heart_rate_that_rises_over_minutes_is_no_defect() -> None:
    """As in exercise: each window of 12 s is judged by itself."""
    parts = [beating(RATE_HZ, bpm, 12.0, seed=i) for i, bpm in enumerate(np.linspace(70, 150, 10))]
    assert judged(np.concatenate(parts)).grade == "A"


def test_an_offset_and_the_scale_do_not_matter() -> None:
    heart = beating(RATE_HZ, noise=0.05)
    one, other = judged(heart), judged(1e-4 * heart + 0.05)
    assert other.grade == one.grade
    assert other.periodicity == pytest.approx(one.periodicity, abs=0.01)
    assert other.contrast_db == pytest.approx(one.contrast_db, abs=0.2)


def switched(quiet_db: float, seconds: float = 24.0) -> Floats:
    """A tone of 38 Hz, loud for 0.4 s of each second and `quiet_db` below that for the rest."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    level = np.where(time_s % 1.0 < 0.4, 1.0, 10 ** (-quiet_db / 20))
    return np.asarray(level * np.sin(2 * np.pi * 38 * time_s))


@pytest.mark.parametrize("quiet_db", [0.0, 6.0, 15.0, 25.0])
def test_the_contrast_is_the_distance_from_loud_to_quiet(quiet_db: float) -> None:
    assert contrast_db(switched(quiet_db).astype(np.float32), RATE_HZ) == pytest.approx(quiet_db, abs=1.0)


@given(scale=st.floats(1e-6, 1e6), offset=st.floats(-10, 10), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_the_contrast_has_no_unit_and_is_that_of_the_gate(scale: float, offset: float, seed: int) -> None:
    heart = beating(RATE_HZ, noise=0.1, seed=seed)
    moved = (scale * (heart + offset)).astype(np.float32)
    assert contrast_db(moved, RATE_HZ) == pytest.approx(judged(heart).contrast_db, abs=0.2)


def test_the_contrast_of_noise_is_that_of_no_sounds() -> None:
    noise = np.random.default_rng(0).standard_normal(60_000).astype(np.float32)
    assert contrast_db(noise, RATE_HZ) == pytest.approx(8.2, abs=0.5)


@pytest.mark.parametrize(
    ("signal", "rate_hz", "own_hz"),
    [
        (beating(RATE_HZ, seconds=MIN_CONTRAST_S - 0.1), RATE_HZ, None),
        (np.full(60_000, 3.0), RATE_HZ, None),
        (beating(89.0), 89.0, None),
        (beating(RATE_HZ), RATE_HZ, 50.0),
    ],
    ids=["short", "constant", "slow", "recorded slowly"],
)
def test_a_signal_without_a_measurable_contrast_has_none(signal: Floats, rate_hz: float, own_hz: float | None) -> None:
    assert np.isnan(contrast_db(signal.astype(np.float32), rate_hz, own_hz))


def test_each_channel_has_its_contrast() -> None:
    rows = np.stack([beating(RATE_HZ), np.zeros(12_000)]).astype(np.float32)
    heart, silence = contrasts_db(Recording(rows, RATE_HZ, ("x", "y"), Path("heart.npz")))
    assert heart > 20.0 and np.isnan(silence)
