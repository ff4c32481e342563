"""Tilts and resonances have the gain and the phase that their formulas state."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.mixing.response import filtered, octaves_from_centre, resonance_response, tilt_response

RATE_HZ = 500.0
N_SAMPLES = 2000
BAND_HZ = (25.0, 55.0)
FREQUENCY_HZ = torch.fft.rfftfreq(N_SAMPLES, 1 / RATE_HZ)
OCTAVES = octaves_from_centre(FREQUENCY_HZ, BAND_HZ)


def tone(frequency_hz: float, phase: float = 0.0) -> Tensor:
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(N_SAMPLES) / RATE_HZ + phase)


@pytest.mark.parametrize("slope_db", [-12.0, -3.0, 0.0, 6.0, 12.0])
def test_a_tilt_parts_two_tones_an_octave_apart_by_its_slope(slope_db: float) -> None:
    out = filtered(tone(26.0) + tone(52.0), tilt_response(OCTAVES, torch.tensor(slope_db)))
    spectrum = torch.fft.rfft(out).abs()
    low, high = spectrum[104], spectrum[208]  # bins 0.25 Hz apart
    assert 20 * math.log10(high / low) == pytest.approx(slope_db, abs=0.01)


def test_a_tilt_leaves_the_band_s_centre_at_its_level_and_is_level_beyond_half_an_octave() -> None:
    response = tilt_response(
        octaves_from_centre(torch.tensor([0.0, 5.0, math.sqrt(25 * 55), 110.0, 250.0]), BAND_HZ), torch.tensor(12.0)
    )
    gain_db = 20 * response.abs().log10()
    assert gain_db[2] == pytest.approx(0, abs=1e-4)
    assert gain_db[0] == gain_db[1]
    assert gain_db[3] == gain_db[4]
    assert gain_db[3] == pytest.approx(12 * (math.log2(55 / 25) / 2 + 0.5), abs=1e-3)


def test_a_tilt_of_six_decibels_per_octave_is_a_differentiator() -> None:
    """Minimum phase: j f turns a sine into a cosine; the opposite slope integrates."""
    slope_db = torch.tensor([20 * math.log10(2), -20 * math.log10(2)])
    rising, falling = filtered(tone(40.0), tilt_response(OCTAVES, slope_db))
    ratio = 40 / math.sqrt(25 * 55)
    torch.testing.assert_close(rising, ratio * tone(40.0, math.pi / 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(falling, tone(40.0, -math.pi / 2) / ratio, atol=1e-3, rtol=0)


@settings(max_examples=40)
@given(centre_hz=st.floats(20, 60), quality=st.floats(1, 6), gain_db=st.floats(0, 24))
def test_a_resonance_has_its_gain_at_its_centre_and_none_far_away(
    centre_hz: float, quality: float, gain_db: float
) -> None:
    at = torch.tensor([0.0, centre_hz, centre_hz * 1000])
    response = resonance_response(at, torch.tensor(centre_hz), torch.tensor(quality), torch.tensor(gain_db))
    gain = 20 * response.abs().log10()
    assert gain[1] == pytest.approx(gain_db, abs=1e-3)
    assert response[1].imag == pytest.approx(0, abs=1e-2)
    assert gain[0] == pytest.approx(0, abs=0.01)
    assert gain[2] == pytest.approx(0, abs=0.01)


def test_a_resonance_is_as_wide_as_its_quality_says() -> None:
    """The mode alone, response - 1, is down 3 dB at the two frequencies that lie centre / Q apart."""
    centre_hz, quality = 40.0, 4.0
    half_hz = centre_hz / (2 * quality)
    edges = torch.sqrt(torch.tensor(centre_hz**2 + half_hz**2)) + torch.tensor([-half_hz, half_hz])
    mode = resonance_response(edges, torch.tensor(centre_hz), torch.tensor(quality), torch.tensor(20.0)) - 1
    torch.testing.assert_close(mode.abs(), torch.full((2,), 9 / math.sqrt(2)), rtol=1e-4, atol=0)


def test_a_resonance_answers_only_after_its_cause() -> None:
    """It rings on after a click and is silent before it, as a real sensor and no zero-phase filter is."""
    click = torch.zeros(N_SAMPLES)
    click[1000] = 1
    ringing = filtered(
        click, resonance_response(FREQUENCY_HZ, torch.tensor(40.0), torch.tensor(6.0), torch.tensor(12.0))
    )
    before, after = ringing[:1000], ringing[1001:1200]
    assert before.square().sum() < 0.02 * after.square().sum()


def test_each_window_has_a_response_of_its_own() -> None:
    slopes_db, centres_hz = torch.tensor([0.0, 6.0]), torch.tensor([30.0, 45.0])
    assert tilt_response(OCTAVES, slopes_db).shape == (2, len(FREQUENCY_HZ))
    both = resonance_response(FREQUENCY_HZ, centres_hz, torch.full((2,), 3.0), torch.full((2,), 12.0))
    assert FREQUENCY_HZ[both.abs().argmax(-1)].tolist() == [30.0, 45.0]
