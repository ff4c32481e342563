"""The decoder on made evidence: beats at known times, symmetries, and doubt where there is reason for it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from objectives.heart import match_events
from objectives.rhythm.decode import Rhythm, best_beats, decode, refined
from objectives.rhythm.durations import RhythmPrior, tables
from objectives.rhythm.paths import span_rates, surest_rate
from objectives.rhythm.sounds import sounds

Floats = NDArray[np.float64]
FRAME_HZ = 125.0
SYSTOLE_S = 0.276


def bells(n_frames: int, times_s: Floats, height: float) -> Floats:
    time_s = np.arange(n_frames) / FRAME_HZ
    found: Floats = height * np.exp(-0.5 * ((time_s[:, None] - times_s[None, :]) / 0.026) ** 2).sum(axis=1)
    return found


def evidence(
    s1_s: Floats,
    s2_s: Floats,
    duration_s: float,
    height: float = 3.0,
    noise: float = 0.3,
    alike: bool = False,
    seed: int = 0,
) -> Floats:
    """Log-likelihoods with a bell at each sound, and noise of the likelihood ratio of a normal variable between."""
    n_frames = round(duration_s * FRAME_HZ)
    rng = np.random.default_rng(seed)
    values = np.zeros((n_frames, 3))
    values[:, :2] = noise * rng.normal(size=(n_frames, 1 if alike else 2)) - noise**2 / 2 - 0.5
    first, second = bells(n_frames, s1_s, height), bells(n_frames, s2_s, height)
    values[:, 0] += first + (second if alike else 0)
    values[:, 1] += second + (first if alike else 0)
    return values


def steady(bpm: float, duration_s: float, start_s: float = 0.3) -> Floats:
    return np.arange(start_s, duration_s, 60 / bpm)


def noise_alone(n_frames: int, strength: float, seed: int) -> Floats:
    values = np.zeros((n_frames, 3))
    drawn = np.random.default_rng(seed).normal(size=n_frames)
    values[:, :2] = (strength * drawn - strength**2 / 2)[:, None]
    return values


def right(found: Rhythm, s1_s: Floats) -> tuple[int, int, int]:
    return match_events(s1_s, found.s1_s, 0.03)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("bpm", [45.0, 60.0, 75.0, 100.0])
def test_beats_at_known_times_are_found_below_a_frame(bpm: float, alike: bool) -> None:
    """Whether the evidence tells S1 from S2 or only their durations do."""
    s1_s = steady(bpm, 30.0)
    systole_s = 0.441 - 0.0022 * bpm
    found = decode(evidence(s1_s, s1_s + systole_s, 30.0, alike=alike), FRAME_HZ)
    assert right(found, s1_s) == (s1_s.size, 0, 0)
    assert np.abs(found.s1_s - s1_s).max() < 1 / FRAME_HZ
    assert np.abs(found.s1_s - s1_s).mean() < 0.4 / FRAME_HZ
    ended = found.s1_s + systole_s < 29.9
    np.testing.assert_allclose((found.s2_s - found.s1_s)[ended], systole_s, atol=0.012)
    assert found.probability.min() > 0.95
    assert found.no_rhythm.max() < 0.1
    assert [span.rate_bpm for span in found.spans] == pytest.approx([bpm] * 3, abs=2)
    assert min(span.probability for span in found.spans) > 0.95


@settings(max_examples=20)
@given(st.integers(1, 400), st.floats(0, 4), st.integers(0, 1000))
def test_all_probabilities_are_in_0_to_1_and_shares_have_the_sum_1(n: int, spread: float, seed: int) -> None:
    found = decode(np.random.default_rng(seed).normal(0, spread, (n, 3)), FRAME_HZ, n_paths=20)
    for values in (found.frames, found.no_rhythm, found.probability, np.array([s.probability for s in found.spans])):
        assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_allclose(found.frames.sum(axis=1), 1, atol=1e-9)
    assert np.isfinite([found.log_likelihood, found.log_bayes]).all()
    assert (np.diff(found.s1_s) > 0).all()


def test_a_constant_in_each_frame_adds_to_the_log_likelihood_only() -> None:
    s1_s = steady(70, 10.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 10.0, height=1.5)
    added = np.random.default_rng(1).normal(0, 5, (len(values), 1))
    one, other = decode(values, FRAME_HZ), decode(values + added, FRAME_HZ)
    np.testing.assert_allclose(other.frames, one.frames, atol=1e-9)
    np.testing.assert_allclose(other.s1_s, one.s1_s, atol=1e-9)
    np.testing.assert_allclose([s.rate_bpm for s in other.spans], [s.rate_bpm for s in one.spans])
    assert other.log_bayes == pytest.approx(one.log_bayes, abs=1e-7)
    assert other.log_likelihood == pytest.approx(one.log_likelihood + added.sum(), abs=1e-6)


def test_a_shift_in_time_shifts_the_beats() -> None:
    """Far from the ends, a recording without its first 137 frames has the same posterior."""
    s1_s = steady(70, 40.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 40.0)
    whole, later = decode(values, FRAME_HZ), decode(values[137:], FRAME_HZ)
    np.testing.assert_allclose(later.frames[1000:], whole.frames[1137:], atol=1e-6)
    inner_s = whole.s1_s[whole.s1_s > 10]
    np.testing.assert_allclose(later.s1_s[-inner_s.size :] + 137 / FRAME_HZ, inner_s, atol=1e-6)


def test_reversed_in_time_s1_is_s2() -> None:
    """The durations are alike in both directions, so the sounds are found where they were, with swapped names."""
    prior = RhythmPrior(missed_s1=0.1, missed_s2=0.1, ectopic_share=1e-6)
    s1_s = steady(75, 40.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 40.0, height=2.0, alike=True)
    forwards, backwards = decode(values, FRAME_HZ, prior), decode(values[::-1, [1, 0, 2]], FRAME_HZ, prior)
    inner = slice(500, -500)
    np.testing.assert_allclose(backwards.frames[::-1, [1, 0, 2]][inner], forwards.frames[inner], atol=0.1)
    assert backwards.log_bayes == pytest.approx(forwards.log_bayes, abs=5)


def test_noise_has_no_sure_rate_and_few_beats() -> None:
    found = decode(noise_alone(60 * 125, 1.0, 3), FRAME_HZ)
    assert max(span.probability for span in found.spans) < 0.6
    assert found.no_rhythm.mean() > 0.25
    assert (found.probability > 0.9).sum() <= 3


def test_a_sensor_that_is_off_has_no_beats_and_costs_nothing() -> None:
    """Without evidence the prior is all that is known: no gain of likelihood, no beat, no sure rate."""
    found = decode(np.zeros((30 * 125, 3)), FRAME_HZ)
    assert found.log_bayes == pytest.approx(0.0, abs=0.05)
    assert not found.s1_s.size
    assert max(span.probability for span in found.spans) < 0.5


def test_a_rhythm_ends_where_its_sounds_end() -> None:
    """A minute of noise after half a minute of beats: no rhythm there, and the beats are as sure as without it."""
    s1_s = steady(75, 30.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 30.0)
    quiet = noise_alone(60 * 125, 0.3, 1) - np.array([0.5, 0.5, 0.0])
    found = decode(np.concatenate([values, quiet]), FRAME_HZ)
    assert right(found, s1_s)[0] == s1_s.size
    assert found.s1_s.size <= s1_s.size + 1
    assert found.no_rhythm[40 * 125 :].min() > 0.9
    assert [s.probability > 0.9 for s in found.spans] == [True] * 3 + [False] * 6


@pytest.mark.parametrize("is_first", [True, False])
def test_a_rhythm_beside_very_long_silence_keeps_its_beats(is_first: bool) -> None:
    """The probability of the silence, exp(-t / gap_s) and what it says of sounds, is below the smallest number."""
    s1_s = steady(70, 30)
    heart = evidence(s1_s, s1_s + SYSTOLE_S, 30)
    nothing = np.zeros((round(600 * FRAME_HZ), 3))
    nothing[:, :2] = -4.0
    prior = RhythmPrior(gap_s=0.5)
    parts = (heart, nothing) if is_first else (nothing, heart)
    found = decode(np.concatenate(parts), FRAME_HZ, prior, n_paths=1)
    assert np.isfinite(found.no_rhythm).all() and np.isfinite(found.log_bayes)
    start_s = 0 if is_first else 600
    inside = found.s1_s[(found.s1_s > start_s) & (found.s1_s < start_s + 30)] - start_s
    assert match_events(s1_s, inside, 0.03)[0] >= len(s1_s) - 1


def test_loud_bumps_break_no_rhythm() -> None:
    """Front and rear axle, as far apart as S1 and S2, ten times as strong as the heart."""
    s1_s = steady(75, 40.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 40.0, alike=True)
    bumps_s = np.array([8.52, 8.83, 20.1, 20.41, 31.0, 31.31])
    values[:, :2] += bells(len(values), bumps_s, 30.0)[:, None]
    found = decode(values, FRAME_HZ)
    _, n_extra, n_missed = match_events(s1_s, found.s1_s, 0.06)
    assert (n_extra, n_missed) == (0, 0)
    assert found.no_rhythm[125:-125].max() < 0.2


def test_clear_minutes_help_the_faint_ones_beside_them() -> None:
    """Faint beats are surer after clear ones than by themselves."""
    faint_s, clear_s = steady(75, 20.0), steady(75, 39.8)
    faint = evidence(faint_s, faint_s + SYSTOLE_S, 20.0, height=1.2, noise=0.8, alike=True, seed=4)
    clear = evidence(clear_s, clear_s + SYSTOLE_S, 40.0, alike=True)
    alone, both = decode(faint, FRAME_HZ), decode(np.concatenate([clear, faint]), FRAME_HZ)

    def sure(found: Rhythm, start_s: float) -> float:
        near = np.abs(found.s1_s[:, None] - start_s - faint_s[None, :]).min(axis=1, initial=np.inf) < 0.06
        return float(found.probability[near].sum())

    assert sure(both, 40.0) > sure(alone, 0.0) + 1
    assert both.spans[4].probability >= alone.spans[0].probability


def test_an_ectopic_beat_and_its_pause_are_found() -> None:
    s1_s = steady(70, 30.0)
    s1_s[15] -= 0.26
    found = decode(evidence(s1_s, s1_s + SYSTOLE_S, 30.0), FRAME_HZ)
    assert right(found, s1_s) == (s1_s.size, 0, 0)


def test_a_beat_without_its_s2_or_its_s1_is_a_beat() -> None:
    s1_s = steady(75, 30.0)
    s2_s = s1_s + SYSTOLE_S
    found = decode(evidence(np.delete(s1_s, 20), np.delete(s2_s, 10), 30.0), FRAME_HZ)
    assert match_events(s1_s, found.s1_s, 0.06) == (s1_s.size, 0, 0)
    assert np.isnan(found.s2_s[10])
    assert np.isfinite(np.delete(found.s2_s, 10)[:-1]).all()
    assert found.probability[20] < found.probability[19]


def test_weaker_evidence_is_less_sure() -> None:
    s1_s = steady(75, 20.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 20.0, height=1.5, noise=0.8, alike=True)
    sums = [decode(values, FRAME_HZ, RhythmPrior(evidence_weight=w)).probability.sum() for w in (0.1, 0.4, 1.0)]
    assert sums[0] < sums[1] < sums[2]


def test_log_bayes_prefers_the_rhythm_that_is_there() -> None:
    s1_s = steady(75, 30.0)
    values = evidence(s1_s, s1_s + SYSTOLE_S, 30.0, height=1.0)
    scattered_s = np.sort(np.random.default_rng(2).uniform(0, 30, 2 * s1_s.size))
    assert decode(values, FRAME_HZ).log_bayes > 30
    assert decode(evidence(scattered_s, scattered_s, 30.0, height=1.0), FRAME_HZ).log_bayes < 10


def test_a_bump_in_one_frame_is_a_sound_or_clutter_by_the_stated_rates() -> None:
    """Closed form: sound of one frame with likelihood ratio e**3 for both classes; clutter of 1.5 a second."""
    prior = replace(RhythmPrior(), sound_sd_s=0.001)
    t = tables(prior, FRAME_HZ)
    values = np.zeros((5, 3))
    values[2, :2] = 3.0
    found = sounds(values, t)
    clutter = 1 + prior.clutter_hz / FRAME_HZ * (np.exp(3) - 1)
    assert found.log_clutter == pytest.approx(np.log(clutter))
    assert found.s2[2] == pytest.approx(np.exp(3) / clutter)
    assert found.s1[2] == pytest.approx(0.9 * np.exp(3) / clutter + 0.1)
    assert found.s1_heard[2] == pytest.approx(0.9 * np.exp(3) / clutter / found.s1[2])
    assert found.s2[0] == pytest.approx(1.0)


def test_best_beats_are_apart_and_likely() -> None:
    t = tables(RhythmPrior(), FRAME_HZ)
    beat = np.zeros(500)
    beat[[100, 103]] = 0.45  # one beat, between two frames
    beat[110] = 0.05
    beat[300] = 0.3  # not likely enough
    (at,) = best_beats(beat, t)
    assert 99 <= at <= 105


def test_refined_is_the_vertex_of_a_bell() -> None:
    density = np.exp(-0.5 * ((np.arange(50) - 20.3) / 3) ** 2)
    assert refined(density, np.array([20])) == pytest.approx(20.3)
    assert refined(np.zeros(50), np.array([0, 49])).tolist() == [0, 49]


def test_rates_of_paths_are_those_of_their_median_cycles() -> None:
    paths = [np.array([0, 100, 200, 310, 1300, 1400]), np.array([5])]
    rates = span_rates(paths, np.array([0.0, 10.0, 20.0]), 125.0)
    assert rates[0, 0] == pytest.approx(75.0)
    assert np.isnan([rates[0, 1], *rates[1]]).all()


def test_the_surest_rate_is_that_of_most_paths() -> None:
    rates = np.array([60.0, 61.0, 62.0, 120.0, 121.0, np.nan])
    assert surest_rate(rates, 5.0) == (61.0, 0.5)
    rate, p = surest_rate(np.full(4, np.nan), 5.0)
    assert np.isnan(rate)
    assert p == 0


@pytest.mark.parametrize(
    ("values", "n_paths", "message"),
    [
        (np.zeros((0, 3)), 1, r"shape \(0, 3\)"),
        (np.zeros((5, 2)), 1, r"shape \(5, 2\)"),
        (np.full((5, 3), np.nan), 1, "not finite"),
        (np.zeros((5, 3)), 0, "n_paths is 0"),
    ],
)
def test_input_that_cannot_be_decoded_is_refused(values: Floats, n_paths: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(values, FRAME_HZ, n_paths=n_paths)
