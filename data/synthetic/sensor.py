"""Parts that the synthetic heart and vehicle share: the sensor's response, band power and slow random variation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Samples = NDArray[np.float64]

HEART_LOW_HZ, HEART_HIGH_HZ = 25.0, 55.0
_CENTRE_HZ = float(np.sqrt(HEART_LOW_HZ * HEART_HIGH_HZ))


@dataclass(frozen=True, slots=True)
class Sensor:
    """The response of sensor and seat.

    tilt_db_per_octave: slope of the response between 12.5 and 110 Hz, flat outside; 0 dB at 37 Hz.
    resonance_hz, resonance_q, resonance_db: a peak on top of it.
    sensitivity: gain of the whole chain.
    """

    tilt_db_per_octave: float
    resonance_hz: float
    resonance_q: float
    resonance_db: float
    sensitivity: float


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a sensor with a tilt of up to +-12 dB per octave, one resonance and a sensitivity within a decade."""
    return Sensor(
        tilt_db_per_octave=rng.uniform(-12, 12),
        resonance_hz=float(np.exp(rng.uniform(np.log(15), np.log(120)))),
        resonance_q=rng.uniform(1.5, 5),
        resonance_db=rng.uniform(3, 12),
        sensitivity=float(10 ** rng.uniform(-0.5, 0.5)),
    )


def sensor_gain(sensor: Sensor, frequency_hz: Samples) -> Samples:
    """Return the magnitude response float64[frequency]; the phase is zero, so heart sounds are not delayed."""
    octaves = np.log2(np.clip(frequency_hz, 12.5, 110) / _CENTRE_HZ)
    peak = 10 ** (sensor.resonance_db / 20) - 1
    ratio = np.maximum(frequency_hz, 1e-6) / sensor.resonance_hz
    resonance = 1 + peak / np.sqrt(1 + (sensor.resonance_q * (ratio - 1 / ratio)) ** 2)
    return np.asarray(sensor.sensitivity * 10 ** (sensor.tilt_db_per_octave * octaves / 20) * resonance)


def bins_hz(n_samples: int, rate_hz: float) -> Samples:
    """Return the frequencies of the rfft bins in Hz, float64[n_samples // 2 + 1]."""
    return np.arange(n_samples // 2 + 1, dtype=np.float64) * (rate_hz / n_samples)


def band_power(spectrum: NDArray[np.complex128], frequency_hz: Samples) -> Samples:
    """Return the relative power of rfft spectra complex[..., bin] after the band-pass 25-55 Hz.

    The weight is that of a Butterworth band-pass of order 4, run forwards and backwards. Sharp edges would exclude an
    engine line at 24.5 Hz, which that filter passes.
    """
    frequency_hz = np.maximum(frequency_hz, 1e-3)
    detuning = (frequency_hz**2 - _CENTRE_HZ**2) / (frequency_hz * (HEART_HIGH_HZ - HEART_LOW_HZ))
    gain = 1 / (1 + detuning**8)
    return np.asarray(np.sum((np.abs(spectrum) * gain) ** 2, axis=-1))


def wander(n_samples: int, rate_hz: float, time_constant_s: float, rng: np.random.Generator) -> Samples:
    """Draw a slow Gaussian process float64[time] of variance 1: Ornstein-Uhlenbeck at 10 Hz, interpolated."""
    n_knots = int(n_samples / rate_hz * 10) + 2
    keep = float(np.exp(-0.1 / time_constant_s))
    drive = rng.standard_normal(n_knots) * np.sqrt(1 - keep**2)
    drive[0] /= np.sqrt(1 - keep**2)
    knots = lfilter([1.0], [1.0, -keep], drive)
    return np.interp(np.arange(n_samples) / rate_hz, np.arange(n_knots) / 10, knots)
