"""Metrics: closed forms, agreement with torchmetrics, and what each makes of silence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_noise_ratio,
)

from objectives.contract import METRIC_RULES
from objectives.metrics import (
    METRICS,
    SI_SDR_CEILING_DB,
    SI_SDR_FLOOR_DB,
    cosine_similarity,
    mad,
    prd_percent,
    register_metric,
    rms_ratio_db,
    si_sdr_db,
    snr_db,
    snr_improvement_db,
)
from training.plugins.contract import Rule, problem


def mixture(snr: float, seed: int = 0, shape: tuple[int, ...] = (3, 2000)) -> tuple[Tensor, Tensor]:
    """(noisy, clean) of [..., time] with exactly `snr` dB, noise made orthogonal to clean."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    noise -= (noise * clean).sum(-1, keepdim=True) / clean.square().sum(-1, keepdim=True) * clean
    noise *= clean.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    return clean + 10 ** (-snr / 20) * noise, clean


@pytest.mark.parametrize("rule", METRIC_RULES, ids=[rule[1].__name__ for rule in METRIC_RULES])
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_keeps_the_rule(name: str, rule: Rule) -> None:
    assert problem(rule, METRICS[name]) == ""


def test_two_metrics_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match=r"'mad' is registered already, by objectives\.metrics"):
        register_metric("mad", unit="", direction="minimize", silence_wins=True)(lambda e, n, c: mad(e, c))


@pytest.mark.parametrize("snr", [-15.0, 0.0, 20.0])
def test_all_scores_of_an_orthogonal_mixture_follow_from_its_snr(snr: float) -> None:
    noisy, clean = mixture(snr)
    share = 1 / (1 + 10 ** (-snr / 10))
    for score, expected in (
        (si_sdr_db(noisy, clean), snr),
        (si_sdr_db(0.01 * noisy, clean), snr),
        (snr_db(noisy, clean), snr),
        (snr_improvement_db(noisy, noisy, clean), 0.0),
        (prd_percent(noisy, clean), 100 * 10 ** (-snr / 20)),
        (cosine_similarity(noisy, clean), math.sqrt(share)),
        (rms_ratio_db(noisy, clean), -10 * math.log10(share)),
    ):
        torch.testing.assert_close(score, torch.full_like(score, expected), atol=1e-9, rtol=1e-9)


def test_hand_computed_values() -> None:
    e, c = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])
    assert si_sdr_db(e, c).item() == pytest.approx(0.0)
    assert si_sdr_db(torch.tensor([1.0, 0.1]), c).item() == pytest.approx(20.0, abs=1e-6)
    assert mad(e, c).item() == pytest.approx(0.5)
    assert prd_percent(torch.tensor([0.7, 0.0]), c).item() == pytest.approx(30.0, rel=1e-6)
    assert cosine_similarity(e, c).item() == pytest.approx(math.sqrt(0.5))
    assert rms_ratio_db(0.1 * c, c).item() == pytest.approx(-20.0, abs=1e-6)


def test_prd_divides_by_the_energy_of_the_reference() -> None:
    c = torch.tensor([1.0, 0.0])
    assert prd_percent(10 * c, c).item() == pytest.approx(900.0)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), snr=st.floats(-30, 40))
def test_si_sdr_and_snr_agree_with_torchmetrics(seed: int, snr: float) -> None:
    noisy, clean = mixture(snr, seed, (2, 300))
    for ours, theirs in (
        (si_sdr_db, scale_invariant_signal_distortion_ratio),
        (snr_db, signal_noise_ratio),
    ):
        torch.testing.assert_close(ours(noisy, clean), theirs(noisy, clean, False), atol=1e-6, rtol=0)


@settings(max_examples=50)
@given(exponent=st.floats(-4, 4), sign=st.sampled_from([-1, 1]), snr=st.floats(-40, 60), seed=st.integers(0, 99))
def test_si_sdr_knows_neither_scale_nor_polarity(exponent: float, sign: int, snr: float, seed: int) -> None:
    noisy, clean = mixture(snr, seed, (200,))
    scaled = si_sdr_db(sign * 10**exponent * noisy, clean)
    assert scaled.item() == pytest.approx(si_sdr_db(noisy, clean).item(), abs=1e-6)


def test_silence_gets_the_si_sdr_floor_and_not_zero_db() -> None:
    _, clean = mixture(0.0)
    for estimate in (0 * clean, 1e-9 * clean, torch.full_like(clean, 1e-30), math.nan * clean):
        assert (si_sdr_db(estimate, clean) == SI_SDR_FLOOR_DB).all()
    theirs = scale_invariant_signal_distortion_ratio(0 * clean, clean)
    assert theirs.abs().max() < 0.1, "the trap that ours closes"


def test_a_constant_that_correlates_with_nothing_gets_a_low_si_sdr() -> None:
    clean = torch.sin(2 * math.pi * 5 * torch.arange(1000, dtype=torch.float64) / 1000)
    assert si_sdr_db(torch.ones(1000), clean).item() == SI_SDR_FLOOR_DB


def test_perfection_gets_the_ceiling() -> None:
    _, clean = mixture(0.0)
    assert (si_sdr_db(clean, clean) == SI_SDR_CEILING_DB).all()
    assert (si_sdr_db(-2 * clean, clean) == SI_SDR_CEILING_DB).all()
    assert (snr_db(clean, clean) == SI_SDR_CEILING_DB).all()


@settings(max_examples=50)
@given(snr=st.floats(-20, 5))
def test_zeros_improve_the_snr_by_minus_the_input_snr(snr: float) -> None:
    """Why SNR improvement must not choose a model: +10 dB for nothing at -10 dB."""
    noisy, clean = mixture(snr)
    improvement = snr_improvement_db(torch.zeros_like(clean), noisy, clean)
    torch.testing.assert_close(improvement, torch.full_like(improvement, -snr), atol=1e-9, rtol=0)


def test_float32_signals_are_scored_in_float64() -> None:
    """At 90 dB float32 sums would be off by decibels."""
    noisy, clean = mixture(90.0)
    noisy, clean = noisy.float(), clean.float()
    assert si_sdr_db(noisy, clean).mean().item() == pytest.approx(
        si_sdr_db(noisy.double(), clean.double()).mean().item(), abs=1e-9
    )


def test_rms_ratio_shows_faint_silent_and_loud() -> None:
    _, clean = mixture(0.0)
    assert rms_ratio_db(2 * clean, clean).mean().item() == pytest.approx(20 * math.log10(2))
    assert (rms_ratio_db(0 * clean, clean) == SI_SDR_FLOOR_DB).all()
    assert (rms_ratio_db(math.nan * clean, clean) == SI_SDR_CEILING_DB).all()


def test_signals_of_two_shapes_are_refused_with_both() -> None:
    noisy, clean = mixture(0.0)
    with pytest.raises(ValueError, match="all must have one shape"):
        si_sdr_db(noisy[..., :-1], clean)
