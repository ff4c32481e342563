"""Every score keeps the contract of training.evaluation.contract, on synthetic windows and on recordings."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from data.config import DataConfig
from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from training.evaluation.contract import SCORE_RULES
from training.evaluation.estimate import estimate_held_out
from training.evaluation.scores import (
    SCORES,
    Score,
    better,
    heart_rate_errors_bpm,
    in_heart_band,
    register_score,
    score_by_snr,
    windows_at,
)
from training.plugins.contract import Rule, problem

Signals = NDArray[np.float32]


@pytest.fixture(scope="module")
def mixture(corpus: Corpus, data: DataConfig) -> HeldOut:
    """Twelve windows at -10 and 0 dB."""
    plan = dataclasses.replace(data.validation, n_windows=12, snrs_db=(-10.0, 0.0))
    return held_out(corpus.splits["validation"], data, plan)


def estimates(mixture: HeldOut, kind: str) -> Signals:
    """Of kind perfect, identity or zeros: float32[snr, window, time]."""
    noisy: Signals = np.ascontiguousarray(mixture.noisy[:, :, 0])
    if kind == "perfect":
        return np.broadcast_to(mixture.clean, noisy.shape)
    return noisy if kind == "identity" else np.zeros_like(noisy)


@pytest.mark.parametrize("rule", SCORE_RULES, ids=[rule[1].__name__ for rule in SCORE_RULES])
@pytest.mark.parametrize("name", SCORES)
def test_every_score_keeps_the_rule(name: str, rule: Rule) -> None:
    assert problem(rule, SCORES[name]) == ""


@pytest.mark.parametrize("name", SCORES)
def test_the_clean_signal_scores_better_than_the_mixture_on_recordings_too(name: str, mixture: HeldOut) -> None:
    perfect, identity = (score_by_snr(name, estimates(mixture, kind), mixture) for kind in ("perfect", "identity"))
    assert better(SCORES[name], perfect["-10"], identity["-10"])
    assert not better(SCORES[name], identity["+0"], perfect["+0"])


@pytest.mark.parametrize("name", SCORES)
def test_silence_wins_on_recordings_too_where_it_is_said_to(name: str, mixture: HeldOut) -> None:
    """At -10 dB, as the contract has it for synthetic windows."""
    zeros, identity = (score_by_snr(name, estimates(mixture, kind), mixture) for kind in ("zeros", "identity"))
    assert better(SCORES[name], zeros["-10"], identity["-10"]) == SCORES[name].silence_wins


@pytest.mark.parametrize("name", SCORES)
def test_the_windows_values_are_summed_up(name: str, mixture: HeldOut) -> None:
    values = SCORES[name].values(windows_at(mixture, estimates(mixture, "identity"), 0))
    summary = np.mean(values) if SCORES[name].summary == "mean" else np.median(values)
    assert score_by_snr(name, estimates(mixture, "identity"), mixture)["-10"] == pytest.approx(float(summary))


def test_a_score_cannot_have_the_name_of_a_metric_or_of_another_score() -> None:
    for name, owner in (("mad", r"objectives\.metrics"), ("event_f1", r"training\.evaluation\.scores")):
        with pytest.raises(ValueError, match=rf"{name!r} is registered already, by {owner}"):
            register_score(name, SCORES["event_f1"])


def test_si_sdr_of_the_mixture_is_its_snr(mixture: HeldOut) -> None:
    got = score_by_snr("si_sdr_db", estimates(mixture, "identity"), mixture)
    assert list(got) == ["-10", "+0"]
    assert got["-10"] == pytest.approx(-10, abs=1.0)
    assert got["+0"] == pytest.approx(0, abs=0.5)


def test_improvement_is_in_decibels_over_the_mixture(mixture: HeldOut) -> None:
    half = mixture.clean + 0.5 * mixture.noise
    assert score_by_snr("snr_improvement_db", half, mixture) == pytest.approx({"-10": 6.0206, "+0": 6.0206}, abs=1e-3)


def test_heart_rate_is_measured_against_r_peaks_and_else_against_the_clean_window(mixture: HeldOut) -> None:
    """The clean windows beat at the R peaks' rate; with a reference 20 bpm off, they are wrong by that."""
    windows = windows_at(mixture, estimates(mixture, "perfect"), 0)
    assert np.isfinite(windows.reference_bpm).all()
    assert np.median(heart_rate_errors_bpm(windows)) < 2
    shifted = dataclasses.replace(windows, reference_bpm=windows.reference_bpm + 20)
    assert np.median(heart_rate_errors_bpm(shifted)) == pytest.approx(20, abs=2)
    without = dataclasses.replace(windows, reference_bpm=np.full(12, np.nan))
    np.testing.assert_array_equal(heart_rate_errors_bpm(without), 0)


def test_an_estimate_without_a_heart_rate_is_infinitely_wrong(mixture: HeldOut) -> None:
    windows = windows_at(mixture, estimates(mixture, "zeros"), 0)
    assert np.isinf(heart_rate_errors_bpm(windows)).all()
    assert not SCORES["hr_within_5_bpm"].values(windows).any()


def test_a_window_without_any_reference_is_left_out(mixture: HeldOut) -> None:
    windows = windows_at(mixture, estimates(mixture, "identity"), 0)
    clean, reference = windows.clean.copy(), windows.reference_bpm.copy()
    clean[:3], reference[:3] = 0, np.nan
    assert heart_rate_errors_bpm(dataclasses.replace(windows, clean=clean, reference_bpm=reference)).shape == (9,)


@pytest.mark.parametrize("summary", ["mean", "median"])
def test_nothing_to_judge_by_is_not_a_number(summary: str) -> None:
    score = Score(lambda _: np.empty(0), "", "maximize", summary=summary)  # type: ignore[arg-type]
    assert np.isnan(score.sum_up(np.empty(0)))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_not_a_number_beats_nothing(direction: str) -> None:
    score = Score(lambda _: np.empty(0), "", direction)  # type: ignore[arg-type]
    assert not better(score, float("nan"), 0.0)
    assert better(score, 1.0, 0.0) == (direction == "maximize")
    assert not better(score, 0.0, 0.0)


def test_without_a_band_pass_beats_are_read_in_the_heart_s_band(mixture: HeldOut) -> None:
    """A drift far stronger than the heart changes neither events nor heart rate."""
    drift = (30 * np.sin(2 * np.pi * 1.5 * np.arange(mixture.clean.shape[1]) / mixture.rate_hz)).astype(np.float32)
    wide = dataclasses.replace(mixture, clean=mixture.clean + drift, noisy=mixture.noisy + drift, in_band=False)
    windows = windows_at(wide, np.broadcast_to(mixture.clean + drift, mixture.noisy[:, :, 0].shape), 0)
    assert SCORES["event_f1"].values(windows).mean() > 0.99
    assert np.median(heart_rate_errors_bpm(windows)) < 2
    assert in_heart_band(mixture.clean, mixture) is mixture.clean


def test_estimates_do_not_depend_on_the_batch_size(mixture: HeldOut, identity: object) -> None:
    import torch

    one, many = (estimate_held_out(identity, mixture, torch.device("cpu"), size) for size in (1, 64))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one, many)
    np.testing.assert_allclose(one, mixture.noisy[:, :, 0], rtol=1e-6, atol=1e-7)
