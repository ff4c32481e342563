"""The heart in the synthetic recordings: rhythm, S1 and S2 at the seat, and ECG.

Sources: QS2 = 541 - 2.2 HR ms (men), 540 - 2.0 HR ms (women): Chest 80 (1981) 613. The other numbers are ranges
measured on paired ECG and heart-sound recordings in 25-55 Hz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.synthetic.sensor import Samples, wander

# QS2 counts from the onset of the Q wave, everything else here from the R peak.
Q_TO_R_S = 0.045
_FWHM_TO_SD = 1 / (2 * np.sqrt(2 * np.log(2)))
# ECG waves as (offset from R in s, width in s, height); T is placed by QT instead.
_ECG_WAVES = ((-0.17, 0.022, 0.12), (-0.028, 0.009, -0.12), (0.0, 0.011, 1.0), (0.028, 0.010, -0.22))


@dataclass(frozen=True, slots=True)
class Driver:
    """One person: rates in bpm, times in s, amplitudes relative to S1."""

    heart_rate_bpm: float
    heart_rate_sd_bpm: float
    breathing_hz: float
    breathing_depth: float
    female: bool
    s1_delay_s: float
    beat_jitter_s: float
    s1_fwhm_s: float
    s2_fwhm_s: float
    s1_hz: float
    s2_hz: float
    s2_amplitude: float
    amplitude_jitter: float
    ectopic_share: float


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """Times in s float64[beat] of R peaks and of the envelope peaks of S1 and S2, and both sounds' amplitudes."""

    r_s: Samples
    s1_s: Samples
    s2_s: Samples
    s1_amplitude: Samples
    s2_amplitude: Samples


def draw_driver(rng: np.random.Generator) -> Driver:
    return Driver(
        heart_rate_bpm=rng.uniform(60, 92),
        heart_rate_sd_bpm=rng.uniform(1.5, 4),
        breathing_hz=rng.uniform(0.2, 0.3),
        breathing_depth=rng.uniform(0.10, 0.25),
        female=bool(rng.random() < 0.5),
        s1_delay_s=rng.uniform(0.045, 0.065),
        beat_jitter_s=rng.uniform(0.003, 0.007),
        s1_fwhm_s=rng.uniform(0.050, 0.080),
        s2_fwhm_s=rng.uniform(0.045, 0.060),
        s1_hz=rng.uniform(33, 42),
        s2_hz=rng.uniform(36, 46),
        s2_amplitude=rng.uniform(0.45, 1.15),
        amplitude_jitter=rng.uniform(0.04, 0.18),
        ectopic_share=rng.uniform(0, 0.01),
    )


def qs2_s(heart_rate_bpm: Samples, female: bool) -> Samples:
    """Return the electromechanical systole, from the Q wave to S2, in s (Chest 80 (1981) 613)."""
    return (540 - 2.0 * heart_rate_bpm if female else 541 - 2.2 * heart_rate_bpm) / 1000


def draw_beats(driver: Driver, duration_s: float, rng: np.random.Generator) -> Beats:
    """Draw all beats whose R peak lies within the recording; the sounds of the last may lie beyond its end.

    The heart rate is the driver's mean plus a component at 0.1 Hz and one that follows breathing, with powers 1 : 2. A
    few beats come 20 to 35 % early and are followed by a full pause.
    """
    grid_hz = 20.0
    time_s = np.arange(int(duration_s * grid_hz) + 40) / grid_hz
    breath = _breath(driver, time_s, rng)
    slow = _narrow(time_s, 0.1, rng)
    rate_bpm = driver.heart_rate_bpm + driver.heart_rate_sd_bpm * (np.sqrt(1 / 3) * slow + np.sqrt(2 / 3) * breath)
    count = rng.random() + np.cumsum(rate_bpm) / 60 / grid_hz
    r_s = np.interp(np.arange(np.ceil(count[0]), np.floor(count[-1]) + 1), count, time_s)
    ectopic = (rng.random(r_s.size) < driver.ectopic_share) & (np.arange(r_s.size) > 0)
    ectopic[1:] &= ~ectopic[:-1]
    early = np.where(ectopic, rng.uniform(0.20, 0.35, r_s.size), 0)
    r_s = r_s - early * 60 / np.interp(r_s, time_s, rate_bpm)
    inside = (r_s >= 0) & (r_s < duration_s)
    r_s, ectopic = r_s[inside], ectopic[inside]

    inspiration = np.interp(r_s, time_s, breath) / np.sqrt(2)
    jitter = rng.normal(0, driver.beat_jitter_s, (2, r_s.size))
    # Inspiration: S1 weaker and up to 5 ms later, S2 stronger.
    s1_delay = driver.s1_delay_s + 0.005 * inspiration + jitter[0]
    s2_delay = qs2_s(np.interp(r_s, time_s, rate_bpm), driver.female) - Q_TO_R_S + jitter[1]
    strength = np.exp(driver.amplitude_jitter * rng.standard_normal((2, r_s.size)))
    return Beats(
        r_s=r_s,
        s1_s=r_s + np.clip(s1_delay, 0.035, 0.078),
        s2_s=r_s + s2_delay,
        s1_amplitude=strength[0] * (1 - driver.breathing_depth * inspiration),
        # A beat that comes early ejects little: its S2 is faint.
        s2_amplitude=strength[1]
        * driver.s2_amplitude
        * (1 + driver.breathing_depth * inspiration)
        * np.where(ectopic, 0.4, 1),
    )


def heart_sound(driver: Driver, beats: Beats, n_samples: int, rate_hz: float, rng: np.random.Generator) -> Samples:
    """Return S1 and S2 of all beats, float64[time]: for each a main burst and a weaker burst 10-24 Hz higher.

    The bursts rise faster than they fall, and their frequency glides. Frequency and phase vary from beat to beat.
    """
    sound = np.zeros(n_samples)
    kinds = (
        (beats.s1_s, beats.s1_amplitude, driver.s1_hz, driver.s1_fwhm_s),
        (beats.s2_s, beats.s2_amplitude, driver.s2_hz, driver.s2_fwhm_s),
    )
    for centre_s, amplitude, frequency_hz, fwhm_s in kinds:
        phase = rng.uniform(0, 2 * np.pi)
        _add_bursts(sound, rate_hz, centre_s, amplitude, frequency_hz, fwhm_s, phase, rng)
        over_hz = frequency_hz + rng.uniform(10, 24)
        late_s = centre_s + rng.uniform(-0.005, 0.005)
        share = rng.uniform(0.25, 0.6)
        _add_bursts(sound, rate_hz, late_s, amplitude * share, over_hz, 0.7 * fwhm_s, phase, rng)
    return sound


def ecg(beats: Beats, n_samples: int, rate_hz: float, rng: np.random.Generator) -> Samples:
    """Return an ECG lead in mV, float64[time]: P, Q, R, S and T waves, baseline wander, 50 Hz hum, white noise."""
    time_s = np.arange(n_samples) / rate_hz
    lead = 0.05 * wander(n_samples, rate_hz, 2.0, rng) + 0.01 * rng.standard_normal(n_samples)
    lead += 0.01 * np.sin(2 * np.pi * 50 * time_s)
    t_wave = beats.s2_s - beats.r_s - 0.05
    for offset_s, width_s, height in _ECG_WAVES:
        _add_pulses(lead, rate_hz, beats.r_s + offset_s, width_s, height)
    _add_pulses(lead, rate_hz, beats.r_s + t_wave, 0.045, 0.28)
    return lead


def _breath(driver: Driver, time_s: Samples, rng: np.random.Generator) -> Samples:
    return _narrow(time_s, driver.breathing_hz, rng)


def _narrow(time_s: Samples, frequency_hz: float, rng: np.random.Generator) -> Samples:
    """Draw a sine of variance 1 with a drifting phase, which widens its spectral line."""
    drift = wander(time_s.size, 20.0, 15.0, rng)
    phase = 2 * np.pi * frequency_hz * time_s + rng.uniform(0, 2 * np.pi) + 0.7 * drift
    return np.asarray(np.sqrt(2) * np.sin(phase))


def _windows(
    n_samples: int, rate_hz: float, centre_s: Samples, before_s: float, after_s: float
) -> tuple[NDArray[np.int64], Samples]:
    """Return sample indices [event, sample] around each centre, and their times from it. Indices may lie outside."""
    first = np.floor((centre_s - before_s) * rate_hz).astype(np.int64)
    index = first[:, None] + np.arange(int((before_s + after_s) * rate_hz) + 2)
    return index, index / rate_hz - centre_s[:, None]


def _add(sound: Samples, index: NDArray[np.int64], values: Samples) -> None:
    inside = (index >= 0) & (index < sound.size)
    np.add.at(sound, index[inside], values[inside])


def _add_bursts(
    sound: Samples,
    rate_hz: float,
    centre_s: Samples,
    amplitude: Samples,
    frequency_hz: float,
    fwhm_s: float,
    phase: float,
    rng: np.random.Generator,
) -> None:
    sd_s = fwhm_s * _FWHM_TO_SD
    glide_hz_per_s = rng.uniform(-150, 150)
    index, time_s = _windows(sound.size, rate_hz, centre_s, 4 * sd_s, 5 * sd_s)
    beat_hz = frequency_hz * (1 + 0.05 * rng.standard_normal((centre_s.size, 1)))
    beat_phase = phase + 0.3 * rng.standard_normal((centre_s.size, 1))
    now_hz = beat_hz + glide_hz_per_s / 2 * time_s
    width_s = np.where(time_s < 0, 0.85, 1.15) * sd_s
    envelope = amplitude[:, None] * np.exp(-0.5 * (time_s / width_s) ** 2)
    _add(sound, index, envelope * np.cos(2 * np.pi * now_hz * time_s + beat_phase))


def _add_pulses(lead: Samples, rate_hz: float, centre_s: Samples, sd_s: float, height: float) -> None:
    index, time_s = _windows(lead.size, rate_hz, centre_s, 4 * sd_s, 4 * sd_s)
    _add(lead, index, height * np.exp(-0.5 * (time_s / sd_s) ** 2))
