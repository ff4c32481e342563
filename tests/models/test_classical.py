"""The rows without learning: what each must do on signals whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from models.classical import CLASSICAL, ClassicalInput

BAND_HZ = (25.0, 55.0)
RATES = [(250.0, 1280), (1000.0, 5120)]
at_both_rates = pytest.mark.parametrize(("rate_hz", "n_samples"), RATES, ids=["250Hz", "1kHz"])
every_row = pytest.mark.parametrize("name", CLASSICAL)


def si_sdr_db(estimate: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """Mean over windows, with the projection of Le Roux et al. 2019."""
    e, c = estimate.astype(float), clean.astype(float)
    target = (e * c).sum(-1, keepdims=True) / (c * c).sum(-1, keepdims=True) * c
    return float(np.mean(10 * np.log10((target**2).sum(-1) / ((e - target) ** 2).sum(-1))))


def in_band(x: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    sections = signal.butter(4, BAND_HZ, "bandpass", fs=rate_hz, output="sos")
    return np.asarray(signal.sosfiltfilt(sections, x, axis=-1))


def mixture(rate_hz: float, n_samples: int, snr_db: float, n_windows: int = 24) -> ClassicalInput:
    """Bursts at 75 per minute in band noise; two references of coherence 0.5 with it, one delayed 8 ms."""
    rng = np.random.default_rng(5)
    time_s = np.arange(n_samples) / rate_hz
    since_beat_s = (time_s[None] + rng.uniform(0, 0.8, (n_windows, 1))) % 0.8
    clean = np.exp(-(((since_beat_s - 0.2) / 0.03) ** 2)) * np.sin(2 * np.pi * 38 * since_beat_s)
    clean += 0.6 * np.exp(-(((since_beat_s - 0.5) / 0.025) ** 2)) * np.sin(2 * np.pi * 45 * since_beat_s)
    parts = in_band(rng.standard_normal((4, n_windows, n_samples)), rate_hz)
    noise = parts[0]
    delay = round(0.008 * rate_hz)
    references = np.stack((np.roll(noise, delay, axis=-1) + parts[1], noise - parts[2]), axis=1)
    gain = np.sqrt((clean**2).mean() / (noise**2).mean() / 10 ** (snr_db / 10))
    noisy = np.concatenate(((clean + gain * noise)[:, None], gain * references), axis=1)
    f32 = np.float32
    return ClassicalInput(noisy.astype(f32), rate_hz, BAND_HZ, clean.astype(f32), (gain * noise).astype(f32))


@every_row
@at_both_rates
def test_shape_kind_and_input_are_kept(name: str, rate_hz: float, n_samples: int) -> None:
    given_input = mixture(rate_hz, n_samples, 0.0, 3)
    before = given_input.noisy.copy()
    estimate = CLASSICAL[name](given_input)
    assert estimate.shape == (3, n_samples) and estimate.dtype == np.float32
    assert np.isfinite(estimate).all()
    assert np.array_equal(given_input.noisy, before)
    assert not np.shares_memory(estimate, given_input.noisy)


@every_row
@settings(deadline=None, max_examples=15)
@given(n_samples=st.integers(1, 300), silent=st.booleans(), n_channels=st.integers(1, 3))
def test_short_and_silent_windows_give_finite_values(name: str, n_samples: int, silent: bool, n_channels: int) -> None:
    rng = np.random.default_rng(n_samples)
    noisy = (0 if silent else 1) * rng.standard_normal((2, n_channels, n_samples)).astype(np.float32)
    clean = 0.5 * noisy[:, 0]
    estimate = CLASSICAL[name](ClassicalInput(noisy.astype(np.float32), 250.0, BAND_HZ, clean, clean))
    assert estimate.shape == (2, n_samples)
    assert np.isfinite(estimate).all()


@every_row
def test_a_window_does_not_see_the_others(name: str) -> None:
    """Seventy windows, so that a chunk border lies among them."""
    many = mixture(250.0, 256, 0.0, 70)
    assert many.clean is not None and many.noise is not None
    last = ClassicalInput(many.noisy[-1:], 250.0, BAND_HZ, many.clean[-1:], many.noise[-1:])
    np.testing.assert_allclose(CLASSICAL[name](many)[-1:], CLASSICAL[name](last), atol=1e-5)


@every_row
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_estimate_scales_with_its_input(name: str, scale: float) -> None:
    x = mixture(250.0, 1280, 0.0, 3)
    assert x.clean is not None and x.noise is not None
    f = np.float32(scale)
    scaled = ClassicalInput(f * x.noisy, 250.0, BAND_HZ, f * x.clean, f * x.noise)
    np.testing.assert_allclose(CLASSICAL[name](scaled) / f, CLASSICAL[name](x), atol=1e-3)


def test_zeros_is_silence_and_identity_is_channel_0() -> None:
    x = mixture(250.0, 1280, 0.0, 2)
    assert not CLASSICAL["zeros"](x).any()
    assert np.array_equal(CLASSICAL["identity"](x), x.noisy[:, 0])


@at_both_rates
def test_bandpass_keeps_the_band_in_place_and_drops_the_rest(rate_hz: float, n_samples: int) -> None:
    time_s = np.arange(n_samples) / rate_hz
    kept, dropped = np.sin(2 * np.pi * 38 * time_s), np.sin(2 * np.pi * 8 * time_s)
    noisy = (kept + dropped)[None, None].astype(np.float32)
    estimate = CLASSICAL["bandpass"](ClassicalInput(noisy, rate_hz, BAND_HZ))[0]
    middle = slice(n_samples // 5, -n_samples // 5)
    np.testing.assert_allclose(estimate[middle], kept[middle], atol=0.02)


@at_both_rates
def test_wavelet_threshold_takes_most_of_light_noise_away(rate_hz: float, n_samples: int) -> None:
    x = mixture(rate_hz, n_samples, 5.0)
    assert x.clean is not None
    assert si_sdr_db(CLASSICAL["wavelet"](x), x.clean) > si_sdr_db(CLASSICAL["bandpass"](x), x.clean) + 1


@at_both_rates
def test_wiener_gains_where_bursts_stand_out_of_known_noise(rate_hz: float, n_samples: int) -> None:
    x = mixture(rate_hz, n_samples, 0.0)
    assert x.clean is not None
    assert si_sdr_db(CLASSICAL["wiener"](x), x.clean) > si_sdr_db(CLASSICAL["bandpass"](x), x.clean) + 1


@at_both_rates
@pytest.mark.parametrize("snr_db", [-10.0, -5.0])
def test_nlms_gains_two_db_on_references_of_coherence_one_half(rate_hz: float, n_samples: int, snr_db: float) -> None:
    x = mixture(rate_hz, n_samples, snr_db)
    assert x.clean is not None
    assert si_sdr_db(CLASSICAL["nlms"](x), x.clean) > si_sdr_db(CLASSICAL["bandpass"](x), x.clean) + 2


def test_nlms_removes_most_of_a_noise_that_a_reference_holds_whole() -> None:
    x = mixture(250.0, 1280, -10.0)
    assert x.clean is not None and x.noise is not None
    whole = ClassicalInput(np.stack((x.noisy[:, 0], -2 * np.roll(x.noise, 3, axis=-1)), axis=1), 250.0, BAND_HZ)
    assert si_sdr_db(CLASSICAL["nlms"](whole), x.clean) > 0


def test_nlms_without_references_is_the_bandpass() -> None:
    x = mixture(250.0, 1280, 0.0, 2)
    alone = ClassicalInput(x.noisy[:, :1], 250.0, BAND_HZ)
    assert np.array_equal(CLASSICAL["nlms"](alone), CLASSICAL["bandpass"](alone))


def test_nlms_leaves_the_signal_alone_where_references_are_silent() -> None:
    x = mixture(250.0, 1280, 0.0, 2)
    noisy = x.noisy * np.array([1, 0, 0], dtype=np.float32)[:, None]
    silent = ClassicalInput(noisy, 250.0, BAND_HZ)
    np.testing.assert_allclose(CLASSICAL["nlms"](silent), CLASSICAL["bandpass"](silent), atol=1e-6)


@at_both_rates
def test_oracle_beats_every_other_row(rate_hz: float, n_samples: int) -> None:
    x = mixture(rate_hz, n_samples, -5.0)
    assert x.clean is not None
    scores = {name: si_sdr_db(f(x), x.clean) for name, f in CLASSICAL.items() if name != "zeros"}
    assert max(scores, key=lambda name: scores[name]) == "oracle"


@pytest.mark.parametrize("name", ["wiener", "oracle"])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
@at_both_rates
def test_a_window_without_noise_is_given_back_and_the_others_are_as_before(
    rate_hz: float, n_samples: int, scale: float, name: str
) -> None:
    x = mixture(rate_hz, n_samples, 0.0, 3)
    assert x.clean is not None and x.noise is not None
    noise = x.noise * np.array([[1], [0], [1]], dtype=np.float32)
    noisy, clean, noise = (np.float32(scale) * part for part in ((x.clean + noise)[:, None], x.clean, noise))
    estimate = CLASSICAL[name](ClassicalInput(noisy, rate_hz, BAND_HZ, clean, noise))
    np.testing.assert_array_equal(estimate[1], clean[1])
    alone = CLASSICAL[name](ClassicalInput(noisy[::2], rate_hz, BAND_HZ, clean[::2], noise[::2]))
    np.testing.assert_allclose(estimate[::2], alone, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("wiener", {"noise": None}, "wiener: noise is None"),
        ("oracle", {"clean": None}, "oracle: clean is None"),
        ("oracle", {"noise": None}, "oracle: noise is None"),
        ("bandpass", {"band_hz": (25.0, 130.0)}, r"band_hz = \(25, 130\) at rate_hz = 250"),
        ("bandpass", {"band_hz": (55.0, 25.0)}, "low < high"),
        ("bandpass", {"noisy": np.zeros((2, 1280), np.float32)}, r"noisy has shape \[2, 1280\]"),
        ("oracle", {"clean": np.zeros((2, 5), np.float32)}, r"clean has shape \[2, 5\].*\[2, 1280\]"),
    ],
)
def test_bad_input_is_refused_in_one_line(name: str, changed: dict[str, object], said: str) -> None:
    x = mixture(250.0, 1280, 0.0, 2)
    values = {field: getattr(x, field) for field in ("noisy", "rate_hz", "band_hz", "clean", "noise")}
    with pytest.raises(ValueError, match=said) as refused:
        CLASSICAL[name](ClassicalInput(**{**values, **changed}))
    assert "\n" not in str(refused.value)


def test_nlms_gains_on_real_vehicle_vibration(realdata: Path) -> None:
    """A bus's z axis with x and y as references: the vibration left in the band is at least 1.5 dB less."""
    file = np.load(realdata / "vehicle" / "bratislava_L20_3014_Zaluhy_Drobneho.npz")
    axes = signal.resample_poly(file["acc"][:, [2, 0, 1]].T, 1, 2, axis=-1)
    n_windows = axes.shape[-1] // 1280
    noisy = axes[:, : n_windows * 1280].reshape(3, n_windows, 1280).transpose(1, 0, 2).astype(np.float32)
    x = ClassicalInput(noisy, float(file["fs"]) / 2, BAND_HZ)
    left, whole = (CLASSICAL[name](x).astype(float).std(axis=-1) for name in ("nlms", "bandpass"))
    assert np.mean(20 * np.log10(whole / left)) > 1.5
