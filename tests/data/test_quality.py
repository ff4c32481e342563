"""Defects that were put into a channel are found, and none where there is none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.quality import Defects, defects
from data.recording import Recording

RATE_HZ = 1000.0
NOISE = np.random.default_rng(0).standard_normal((3, 20_000))
TIME_S = np.arange(NOISE.shape[1]) / RATE_HZ


def found(*rows: np.ndarray) -> tuple[Defects, ...]:
    names = tuple(f"ch{i + 1}" for i in range(len(rows)))
    return defects(Recording(np.stack(rows).astype(np.float32), RATE_HZ, names, Path("x")))


def test_noise_tones_and_one_largest_sample_have_none() -> None:
    spike = NOISE[0].copy()
    spike[777] = 100.0
    tone = np.sin(2 * np.pi * 40 * TIME_S)
    assert [str(each) for each in found(NOISE[1], spike, NOISE[2] + 10 * tone)] == ["", "", ""]


@given(level=st.floats(0.5, 1.5))
def test_clipped_samples_are_counted(level: float) -> None:
    """Those in runs of three and more at the limit."""
    smooth = np.convolve(NOISE[0], np.ones(40) / 40**0.5, "same")
    (got,) = found(np.clip(smooth, -level, level))
    at_limit = float(np.mean(np.abs(smooth) >= level))
    assert 0.85 * at_limit <= got.clipped <= at_limit
    assert got.dropout_s == 0 and "clipped in" in str(got)


def test_dropouts_are_measured_and_repeated_samples_of_a_coarse_converter_are_none() -> None:
    row = NOISE[0].copy()
    row[5000:5400] = 0.0
    row[9000:9100] = row[9000]
    (got,) = found(row)
    assert got.dropout_s == pytest.approx(0.5, abs=0.003)
    coarse = np.round(NOISE[1])
    assert found(coarse)[0].dropout_s == 0


def test_a_flat_channel_is_only_flat_and_a_copy_names_its_original() -> None:
    flat, copy, inverted = found(np.zeros(20_000), NOISE[0], -3 * NOISE[0] + 5)
    assert (flat, str(flat)) == (Defects(flat=True), "flat: all samples are equal")
    assert (copy.copy_of, inverted.copy_of) == (None, "ch2")
    assert found(NOISE[0], NOISE[0] + 0.01 * NOISE[1])[1].copy_of is None


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_mains_hum_is_found_with_its_level(mains_hz: float) -> None:
    """A still line; an engine's line, which wanders by 2 %, is none."""
    hum = 0.5 * np.sin(2 * np.pi * mains_hz * TIME_S)
    engine = np.sin(2 * np.pi * mains_hz * TIME_S + 5 * np.sin(2 * np.pi * 0.7 * TIME_S))
    still, wandering = found(NOISE[0] + hum, NOISE[1] + 0.5 * engine)
    assert still.hum_hz == mains_hz
    assert still.hum_db is not None and still.hum_db > 10
    assert wandering.hum_hz is None
