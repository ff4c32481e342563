"""Beats of whole recordings against a known truth: what counts, what is wrong, and what a calibration is fitted to."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from data.config import DataConfig, HeldOutConfig
from data.corpus import Corpus, Split
from data.mixing.stretches import stretches
from objectives.heart import WITHIN_BPM
from objectives.rhythm.confidence import reliability
from objectives.rhythm.decode import RateSpan, Rhythm
from objectives.rhythm.durations import Floats
from training.calibration import DEFAULT
from training.config import RunConfig
from training.evaluation.whole import (
    COLUMNS,
    LEAST_SPANS,
    Cases,
    Measured,
    Truth,
    cases_of,
    fitted,
    joined,
    measure,
    scores_of,
    truth_of,
)
from training.sounds import rhythm_of

RATE_HZ = 250.0
R_S = np.arange(0.5, 19.5, 0.8)


def clean() -> np.ndarray:
    """Sounds 60 ms after the R peaks, in 20 s."""
    time_s = np.arange(round(20 * RATE_HZ)) / RATE_HZ
    signal = np.zeros(time_s.size, dtype=np.float32)
    for at_s in R_S + 0.06:
        signal += np.exp(-0.5 * ((time_s - at_s) / 0.025) ** 2) * np.cos(2 * np.pi * 40 * (time_s - at_s))
    return signal


def rhythm(s1_s: Floats, spans: list[tuple[float, float]], probability: float = 0.9) -> Rhythm:
    """Beats of one probability, and spans of 10 s of a rate and a probability."""
    return Rhythm(
        s1_s=s1_s,
        s2_s=s1_s + 0.3,
        probability=np.full(s1_s.size, probability),
        frames=np.empty((0, 3)),
        no_rhythm=np.empty(0),
        spans=tuple(RateSpan(10.0 * i, 10.0 * i + 10, *one) for i, one in enumerate(spans)),
        log_likelihood=0.0,
        log_bayes=0.0,
    )


def spans(probability: list[float], right: list[bool]) -> Cases:
    return Cases(
        np.array(probability), np.array(right), np.array([0.8, 0.2]), np.array([True, False]), np.array([8, 1, 3])
    )


def test_s1_follows_the_r_peaks_by_the_delay_of_the_envelope() -> None:
    truth = truth_of(clean(), RATE_HZ, R_S)
    np.testing.assert_allclose(truth.s1_s, R_S + 0.06, atol=1.5 / RATE_HZ)
    assert truth.rates_bpm == pytest.approx([75, 75])


@pytest.mark.parametrize("r_peaks_s", [None, np.array([1.0, 2.0])], ids=["none", "too few"])
def test_without_r_peaks_the_truth_is_what_the_clean_recording_tells(
    r_peaks_s: Floats | None, corpus: Corpus, data: DataConfig
) -> None:
    segment = corpus.splits["validation"].clean[0]
    by_sound = truth_of(segment.in_band, data.rate_hz, r_peaks_s)
    by_ecg = truth_of(segment.in_band, data.rate_hz, segment.r_peaks_s)
    np.testing.assert_allclose(by_sound.rates_bpm, by_ecg.rates_bpm, atol=1)
    n = min(by_sound.s1_s.size, by_ecg.s1_s.size)
    np.testing.assert_allclose(by_sound.s1_s[:n], by_ecg.s1_s[:n], atol=0.02)


def test_beats_and_spans_are_counted() -> None:
    """A beat 50 ms late is right, a beat in the diastole is wrong; the second span has a wrong rate."""
    s1_s = R_S + 0.06
    beats_s = np.sort(np.concatenate([s1_s[:-2] + 0.05, [5.0, 19.95]]))
    cases = cases_of(rhythm(beats_s, [(76.0, 0.8), (90.0, 0.7)]), Truth(s1_s, np.array([75.0, 75.0])))
    assert cases.counts.tolist() == [s1_s.size - 2, 1, 2]
    assert list(zip(cases.span_p.tolist(), cases.span_right.tolist(), strict=True)) == [(0.8, True), (0.7, False)]
    assert cases.beat_right.sum() == s1_s.size - 2
    assert cases.beat_p.size == s1_s.size - 1
    assert cases.f1 == pytest.approx(2 * (s1_s.size - 2) / (2 * (s1_s.size - 2) + 3))


def test_where_the_truth_has_no_rate_nothing_counts() -> None:
    s1_s = R_S + 0.06
    cases = cases_of(rhythm(s1_s, [(75.0, 0.9), (30.0, 0.9)]), Truth(s1_s, np.array([75.0, np.nan])))
    assert cases.span_right.tolist() == [True]
    assert cases.counts.tolist() == [np.count_nonzero(s1_s < 10), 0, 0]


def test_a_span_without_a_rate_is_not_right_and_has_no_probability() -> None:
    cases = cases_of(rhythm(np.empty(0), [(np.nan, 0.0)] * 2), Truth(R_S, np.array([75.0, 75.0])))
    assert list(zip(cases.span_p.tolist(), cases.span_right.tolist(), strict=True)) == [(0.0, False)] * 2
    assert cases.counts.tolist() == [0, 0, R_S.size]
    assert cases.f1 == 0


def test_whatever_is_found_in_noise_without_a_heart_is_wrong() -> None:
    cases = cases_of(rhythm(R_S, [(75.0, 0.9), (75.0, 0.4)]), None)
    assert not cases.span_right.any() and not cases.beat_right.any()
    assert cases.counts.tolist() == [0, R_S.size, 0]


def test_the_scores_are_those_of_their_definitions() -> None:
    """Of five spans three are sure, of these one is wrong; the calibration error is that of the probabilities."""
    p, right = [0.95, 0.92, 0.9, 0.5, 0.1], [True, True, False, False, False]
    scores = scores_of(spans(p, right), DEFAULT)
    assert tuple(scores) == COLUMNS
    assert scores["usable_share"] == pytest.approx(3 / 5)
    assert scores["wrong_share"] == pytest.approx(1 / 3)
    assert scores["beat_f1"] == pytest.approx(16 / 20)
    assert scores["calibration_error"] == pytest.approx(reliability(p, right).error)
    assert all(np.isnan(value) for value in scores_of(joined([]), DEFAULT).values())


def test_a_calibration_keeps_its_promise_on_the_cases_it_was_fitted_to() -> None:
    """Probabilities that are far too high: half of the surest come true, and none below 0.5."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=4000)
    right = rng.uniform(size=4000) < np.where(p > 0.9, 0.995, np.where(p > 0.5, 0.5, 0.0))
    cases = spans(p.tolist(), right.tolist())
    measured = Measured({"envelope": {0.0: cases}}, 3, 4.0, 1.0)
    made = fitted(measured, "a" * 64, "data", HeldOutConfig(snrs_db=(0.0,), seed=7))
    sure = made.of_spans(cases.span_p) >= made.threshold
    assert 1 - right[sure].mean() <= 0.02
    assert sure.mean() == pytest.approx(0.1, abs=0.02)
    assert reliability(made.of_spans(cases.span_p), right).error < 0.3 * reliability(p, right).error
    assert made.fitted_on is not None
    assert (made.fitted_on.n_spans, made.fitted_on.n_recordings, made.fitted_on.seed) == (4000, 3, 7)


def test_no_rate_is_sure_that_is_likely_to_be_wrong() -> None:
    """From 0.6 on few of all spans are wrong, but of those at 0.6 every second one."""
    likely, even = 400, 12
    p = [0.95] * likely + [0.6] * even + [0.1] * 50
    right = [True] * likely + [True, False] * (even // 2) + [False] * 50
    cases = spans(p, right)
    made = fitted(Measured({"envelope": {0.0: cases}}, 1, 1.0, 1.0), "a" * 64, "data", HeldOutConfig())
    sure = made.of_spans(np.array(p)) >= made.threshold
    assert sure.tolist() == [True] * likely + [False] * (even + 50)


def test_of_two_kinds_of_evidence_that_with_the_longer_usable_time_is_taken() -> None:
    """The network is sure of noise too, so with it nothing is safe; with the network better, it is taken."""
    n = LEAST_SPANS
    careful, nothing = spans([0.9] * n, [True] * n), spans([0.1] * n, [False] * n)
    bold = spans([0.9] * n, [False] * n)
    plan = HeldOutConfig()
    envelope = {0.0: careful, -np.inf: nothing}
    for network, chosen in (({0.0: careful, -np.inf: bold}, "envelope"), (envelope, "network")):
        made = fitted(Measured({"envelope": envelope, "network": network}, 1, 1.0, 1.0), "a" * 64, "data", plan)
        assert made.evidence == chosen


def test_where_every_sure_rate_is_wrong_nothing_is_sure() -> None:
    cases = spans([0.99] * LEAST_SPANS, [False] * LEAST_SPANS)
    made = fitted(Measured({"envelope": {0.0: cases}}, 1, 1.0, 1.0), "a" * 64, "data", HeldOutConfig())
    assert made.threshold == np.inf
    assert scores_of(cases, made)["usable_share"] == 0


def test_too_few_spans_are_no_ground_for_a_promise() -> None:
    cases = spans([0.9] * (LEAST_SPANS - 1), [True] * (LEAST_SPANS - 1))
    with pytest.raises(ValueError, match=f"have {LEAST_SPANS - 1} spans of 10 s .*{LEAST_SPANS} are needed"):
        fitted(Measured({"envelope": {0.0: cases}}, 1, 1.0, 1.0), "a" * 64, "data", HeldOutConfig())
    with pytest.raises(ValueError, match="have 0 spans"):
        fitted(Measured({}, 0, 0.0, 0.0), "a" * 64, "data", HeldOutConfig())


def test_noise_alone_has_no_heart_though_the_drivers_is_in_the_recording(data: DataConfig, corpus: Corpus) -> None:
    """Of noise with a heart at 0 dB: its rate is sure as it was recorded, and in none of the stretches without."""
    recorded: list[RateSpan] = []
    without: list[RateSpan] = []
    pairs = [pair for split in corpus.splits.values() for pair in zip(split.clean, split.noise, strict=True)]
    for heart, road in pairs:
        rows = heart.signals + road.signals[:1] * heart.signals.std() / road.signals[0].std()
        noise = dataclasses.replace(heart, signals=rows, in_band=rows[0])
        (alone,) = (s for s in stretches(Split((heart,), (noise,)), data, data.validation) if s.clean is None)
        recorded += rhythm_of(rows[0], data.rate_hz, None).spans
        without += rhythm_of(alone.noisy[0], data.rate_hz, None).spans
    assert np.mean([span.probability > 0.9 for span in recorded]) > 0.8
    assert not any(span.probability > 0.9 for span in without)


class Perfect(nn.Module):
    """Gives each window as it is, or nothing."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, noisy):  # type: ignore[no-untyped-def]
        return noisy[:, :1] * self.factor


@pytest.mark.parametrize("factor", [1.0, 0.0, float("nan")], ids=["copy", "silence", "NaN"])
def test_the_noisy_signal_is_measured_beside_any_model(
    factor: float, run: RunConfig, corpus: Corpus, data: DataConfig, tmp_path: Path
) -> None:
    """At 20 dB a copy is sure and right. An estimate that is silent or no number is sure of nothing and raises none."""
    plan = dataclasses.replace(data.test, snrs_db=(20.0,))
    found = measure(Perfect(factor), run, corpus.splits["test"], data, plan, 1, with_identity=True)
    own, identity = (found.by_snr[name] for name in ("envelope", "identity"))
    assert list(own) == list(identity) == [20.0, -np.inf]
    assert found.n_recordings == 1 and found.minutes == found.noise_minutes == 0.5
    assert scores_of(identity[20.0], DEFAULT) == pytest.approx(
        {"usable_share": 1, "wrong_share": 0, "beat_f1": 1, "calibration_error": 0}, abs=0.03
    )
    if factor == 1:
        np.testing.assert_allclose(own[20.0].span_p, identity[20.0].span_p, atol=0.02)
    else:
        assert scores_of(own[20.0], DEFAULT)["usable_share"] == 0
    assert WITHIN_BPM == 5
