"""Every score by one contract: what is perfect, what is noisy and what is silent come out in the right order."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from data.config import DataConfig
from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from training.evaluation.estimate import estimate_held_out
from training.evaluation.scores import (
    SCORES,
    Score,
    Windows,
    better,
    heart_rate_errors_bpm,
    in_heart_band,
    score_by_snr,
    windows_at,
)

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


@pytest.mark.parametrize("name", SCORES)
def test_perfect_beats_identity_at_every_snr(name: str, mixture: HeldOut) -> None:
    perfect, identity = (score_by_snr(name, estimates(mixture, kind), mixture) for kind in ("perfect", "identity"))
    assert better(SCORES[name], perfect["-10"], identity["-10"])
    assert not better(SCORES[name], identity["+0"], perfect["+0"])


@pytest.mark.parametrize("name", SCORES)
def test_silence_wins_where_and_only_where_it_is_said_to(name: str, mixture: HeldOut) -> None:
    """At -10 dB; a study must not choose by such a score."""
    zeros, identity = (score_by_snr(name, estimates(mixture, kind), mixture) for kind in ("zeros", "identity"))
    assert better(SCORES[name], zeros["-10"], identity["-10"]) == SCORES[name].silence_wins


@pytest.mark.parametrize("name", SCORES)
def test_one_value_for_each_window_and_one_summary(name: str, mixture: HeldOut) -> None:
    windows = windows_at(mixture, estimates(mixture, "identity"), 0)
    values = SCORES[name].values(windows)
    assert values.shape == (12,)
    assert values.dtype == np.float64
    summary = np.mean(values) if SCORES[name].summary == "mean" else np.median(values)
    assert score_by_snr(name, estimates(mixture, "identity"), mixture)["-10"] == pytest.approx(float(summary))


@pytest.mark.parametrize("name", SCORES)
def test_windows_are_judged_one_by_one(name: str, mixture: HeldOut) -> None:
    """A window's value does not depend on its neighbours."""
    whole = windows_at(mixture, estimates(mixture, "identity"), 1)
    part = Windows(
        whole.estimate[3:5],
        whole.noisy[3:5],
        whole.clean[3:5],
        whole.reference_bpm[3:5],
        whole.rate_hz,
        whole.in_band,
    )
    np.testing.assert_allclose(SCORES[name].values(part), SCORES[name].values(whole)[3:5])


@pytest.mark.parametrize("name", SCORES)
def test_an_estimate_that_is_not_finite_never_wins(name: str, mixture: HeldOut) -> None:
    broken = np.full_like(estimates(mixture, "identity"), np.nan)
    got, identity = (score_by_snr(name, e, mixture)["+0"] for e in (broken, estimates(mixture, "identity")))
    assert not better(SCORES[name], got, identity)


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
