"""The prior in frames: probabilities with the sum 1, means and steps as stated, and values that are refused."""

import numpy as np
import pytest

from objectives.rhythm.durations import Lags, RhythmPrior, tables

FRAME_HZ = 125.0


def all_lags(lags: Lags) -> list[int]:
    return [int(f) + int(i) for f, row in zip(lags.first, lags.share, strict=True) for i in np.flatnonzero(row)]


@pytest.mark.parametrize("frame_hz", [50.0, 125.0, 250.0])
def test_all_probabilities_have_the_sum_1(frame_hz: float) -> None:
    t = tables(RhythmPrior(), frame_hz)
    for lags in (t.cycle, t.early, t.pause, t.systole, t.end):
        np.testing.assert_allclose(lags.share.sum(axis=1), 1)
    np.testing.assert_allclose(t.change.sum(axis=1), 1)
    np.testing.assert_allclose(t.p_cycle + t.p_early + t.p_end, 1)
    assert t.start.sum() == pytest.approx(1)


def test_classes_span_the_rates_and_cycles_have_their_periods() -> None:
    t = tables(RhythmPrior(), FRAME_HZ)
    assert (t.rates_bpm[0], t.rates_bpm[-1], len(t.rates_bpm)) == (pytest.approx(40), pytest.approx(180), 30)
    np.testing.assert_allclose(t.cycle.mean, 60 / t.rates_bpm * FRAME_HZ, rtol=0.01)
    spread = np.sqrt(np.sum(t.change[15] * np.log(t.rates_bpm / t.rates_bpm[15]) ** 2))
    assert spread == pytest.approx(RhythmPrior().change_sd, rel=0.01)


def test_the_systole_is_that_of_the_regression_down_to_its_floor() -> None:
    """QS2 less 100 ms: 309 ms at 60 bpm."""
    prior = RhythmPrior()
    assert prior.systole_mean_s(np.array([60.0, 100.0, 180.0])).tolist() == pytest.approx([0.309, 0.221, 0.16])
    t = tables(prior, FRAME_HZ)
    rest = np.argmin(np.abs(t.rates_bpm - 60))
    assert t.systole.mean[rest] / FRAME_HZ == pytest.approx(float(prior.systole_mean_s(t.rates_bpm)[rest]), abs=0.004)


@pytest.mark.parametrize("frame_hz", [100.0, 125.0, 250.0])
def test_no_two_sounds_of_a_rhythm_overlap(frame_hz: float) -> None:
    """S2 is at least a sound's width after S1 and before the next beat, early or not."""
    t = tables(RhythmPrior(), frame_hz)
    width = t.sound.size
    assert min(all_lags(t.systole)) >= width
    assert (t.systole.last + width <= t.cycle.first).all()
    usable = t.p_early > 0
    assert usable.any()
    assert (t.systole.last + width <= t.early.first)[usable].all()
    assert (t.systole.last + width <= t.end.first).all()


def test_survival_is_the_probability_of_at_least_as_many_frames() -> None:
    lags = Lags(np.array([2, 3]), np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert lags.survival(5).tolist() == [[1, 1, 1, 0.75, 0], [1, 1, 1, 1, 0]]
    assert lags.last.tolist() == [3, 3]
    assert lags.mean.tolist() == [2.75, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low_bpm": 200.0}, "0 < low_bpm < high_bpm"),
        ({"n_periods": 1}, "at least 2 classes"),
        ({"missed_s1": 1.0}, "missed_s1 is 1.0; a share between 0 and 1"),
        ({"early_share": (0.9, 0.6)}, "early_share is"),
        ({"cycle_spread": float("nan")}, "cycle_spread is nan; a positive number"),
    ],
)
def test_a_prior_with_a_value_out_of_range_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RhythmPrior(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prior", "frame_hz", "message"),
    [
        (RhythmPrior(), 0.0, "frame_hz is 0.0; a positive number"),
        (RhythmPrior(high_bpm=300), 125.0, "lower high_bpm or sound_sd_s"),
        (RhythmPrior(clutter_hz=20), 125.0, "clutter_hz is 20"),
    ],
)
def test_tables_that_cannot_be_made_are_refused(prior: RhythmPrior, frame_hz: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables(prior, frame_hz)
