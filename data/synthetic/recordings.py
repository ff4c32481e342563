"""Generate seeded recordings with known heartbeats in a car that is standing, idling or driving.

A recording is sensor(heart + vehicle) + floor on six seat channels, with an ECG. The recordings of a session have the
same driver, sensor and car; each has its own rhythm, road and noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from data.errors import DataError
from data.filters import resample
from data.recording import Recording, Signal
from data.synthetic.files import CHANNELS, SYNTH_LAYOUTS, TRUTH, run_name, write_run, write_truth
from data.synthetic.heart import Beats, Driver, draw_beats, draw_driver, ecg, heart_sound
from data.synthetic.sensor import Samples, Sensor, band_power, bins_hz, draw_sensor, sensor_gain, wander
from data.synthetic.vehicle import Car, draw_bumps, draw_car, noise_to_heart_db, vehicle_vibration

RATE_HZ = 1000.0
LAYOUT_240219_HZ = 32000.0
MINUTES_ALLOWED = (0.1, 60.0)
SPEEDS_ALLOWED_KMH = (10, 160)
SESSIONS_ALLOWED = (1, 999)
_HEART_RMS = 0.003


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """What to generate. Each recording lasts `minutes`; a session has one driver, sensor and car.

    Raises DataError naming the value that is not allowed.
    """

    seed: int = 0
    minutes: float = 3.0
    speeds_kmh: tuple[int, ...] = (30, 50, 60, 100)
    layout: str = "wav"
    sessions: int = 1

    def __post_init__(self) -> None:
        if self.layout not in SYNTH_LAYOUTS:
            raise DataError(f"layout is {self.layout!r}; allowed: {', '.join(SYNTH_LAYOUTS)}")
        if self.seed < 0:
            raise DataError(f"seed is {self.seed}; a whole number from 0 up is needed")
        _check("minutes", self.minutes, MINUTES_ALLOWED)
        _check("sessions", self.sessions, SESSIONS_ALLOWED)
        if not self.speeds_kmh:
            raise DataError("speeds_kmh is empty; give at least one speed, as 30,50,60,100")
        for speed_kmh in self.speeds_kmh:
            _check("speed in km/h", speed_kmh, SPEEDS_ALLOWED_KMH)
        if len(set(self.speeds_kmh)) != len(self.speeds_kmh):
            raise DataError(f"speeds_kmh is {self.speeds_kmh}; give each speed once")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The ground truth of a synthetic recording.

    r_s, s1_s, s2_s: float64[beat], times in s of the R peaks and of the envelope peaks of S1 and S2.
    bumps_s: float64[bump], times in s at which the front axle meets a bump; the rear axle follows.
    heart: float32[time] at rate_hz, the heart's part of ch1z without noise.
    """

    r_s: Samples
    s1_s: Samples
    s2_s: Samples
    bumps_s: Samples
    heart: Signal
    rate_hz: float


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    driver: Driver
    sensor: Sensor
    car: Car
    heart_gain: Samples
    heart_tilt_db_per_octave: Samples
    heart_delay_s: Samples
    floor_gain: Samples
    clean_snr_db: float
    noise_offset_db: float


def simulate(config: SynthConfig, speed_kmh: int | None, session: int = 1) -> tuple[Recording, Truth]:
    """Generate a recording and its ground truth. Equal arguments give equal samples.

    speed_kmh: None for a standing car with its engine off, 0 for idling.

    Raises DataError for a speed or session out of range.
    """
    if speed_kmh:
        _check("speed in km/h", speed_kmh, SPEEDS_ALLOWED_KMH)
    _check("session", session, SESSIONS_ALLOWED)
    who = _draw_session(config.seed, session)
    rng = np.random.default_rng((config.seed, session, 1, 0 if speed_kmh is None else speed_kmh + 1))
    n_samples = round(config.minutes * 60 * RATE_HZ)
    duration_s = n_samples / RATE_HZ

    beats = draw_beats(who.driver, duration_s, rng)
    heart = _heart(who, beats, n_samples, rng)
    signals = heart + _floor(who, heart[0], n_samples, rng)
    bumps_s = np.zeros(0)
    if speed_kmh is not None:
        bumps_s = draw_bumps(who.car, speed_kmh, duration_s, rng)
        signals += _vehicle(who, heart[0], speed_kmh, bumps_s, n_samples, rng)
    lead = ecg(beats, n_samples, RATE_HZ, rng)

    rate_hz = LAYOUT_240219_HZ if config.layout == "240219" else RATE_HZ
    recording = Recording(
        signals=resample(signals, RATE_HZ, rate_hz),
        rate_hz=rate_hz,
        channels=CHANNELS,
        source=Path(f"synthetic/seed{config.seed}/s{session:02d}/{run_name(speed_kmh)}"),
        ecg=resample(lead, RATE_HZ, rate_hz),
        ecg_rate_hz=rate_hz,
        r_peaks_s=beats.r_s,
    )
    truth = Truth(beats.r_s, beats.s1_s, beats.s2_s, bumps_s, heart[0].astype(np.float32), RATE_HZ)
    return recording, truth


def synthesise(config: SynthConfig, out: Path, *, progress: Callable[[str], None] | None = None) -> tuple[Path, ...]:
    """Write all recordings of `config` below `out` in its layout; return the files in the order written.

    Each session also gets a truth.npz with the fields of Truth for each recording, named `stop_r_s`, `30km_heart` and
    so on. If there are several sessions, each has a folder s01, s02 ... Equal configs give equal bytes.

    progress: called with the path of each file.

    Raises FileError if `out` cannot be written.
    """
    written: list[Path] = []
    for session in range(1, config.sessions + 1):
        folder = out if config.sessions == 1 else out / f"s{session:02d}"
        for path in _write_session(config, session, folder):
            written.append(path)
            if progress is not None:
                progress(str(path))
    return tuple(written)


def _write_session(config: SynthConfig, session: int, folder: Path) -> Iterator[Path]:
    known: dict[str, Truth] = {}
    joined: list[Recording] = []
    for speed_kmh in (None, *SYNTH_LAYOUTS[config.layout], *config.speeds_kmh):
        recording, known[run_name(speed_kmh)] = simulate(config, speed_kmh, session)
        if config.layout == "240517" and speed_kmh is not None:
            joined.append(recording)
            continue
        yield from write_run(folder, config.layout, speed_kmh, [recording])
    if joined:
        yield from write_run(folder, config.layout, config.speeds_kmh[0], joined)
    arrays = {
        f"{name}_{field}": np.asarray(getattr(truth, field))
        for name, truth in known.items()
        for field in Truth.__slots__
    }
    yield write_truth(folder / TRUTH, arrays)


def _draw_session(seed: int, session: int) -> _Session:
    rng = np.random.default_rng((seed, session, 0))
    n_channels = len(CHANNELS)
    heart_gain = rng.uniform(0.25, 0.85, n_channels)
    tilt, delay_s = rng.uniform(-3, 3, n_channels), rng.uniform(0, 0.006, n_channels)
    # The first channel lies next to the heart; it is the strongest, and `Truth` describes it.
    heart_gain[0], tilt[0], delay_s[0] = 1, 0, 0
    return _Session(
        driver=draw_driver(rng),
        sensor=draw_sensor(rng),
        car=draw_car(n_channels, rng),
        heart_gain=heart_gain,
        heart_tilt_db_per_octave=tilt,
        heart_delay_s=delay_s,
        floor_gain=np.concatenate([[1.0], rng.uniform(0.7, 1.4, n_channels - 1)]),
        clean_snr_db=rng.uniform(8.5, 17.5),
        noise_offset_db=float(np.clip(rng.normal(0, 1), -2, 2)),
    )


def _heart(who: _Session, beats: Beats, n_samples: int, rng: np.random.Generator) -> Samples:
    """Return the heart at each sensor, float64[channel, time]; on ch1z at a fixed in-band level times sensitivity."""
    sound = heart_sound(who.driver, beats, n_samples, RATE_HZ, rng)
    frequency_hz, n_fft = _bins(n_samples)
    octaves = np.log2(np.clip(frequency_hz, 12.5, 110) / 37)
    response = (
        who.heart_gain[:, None]
        * 10 ** (who.heart_tilt_db_per_octave[:, None] * octaves / 20)
        * np.exp(-2j * np.pi * frequency_hz * who.heart_delay_s[:, None])
        * sensor_gain(who.sensor, frequency_hz)
    )
    heart = np.fft.irfft(np.fft.rfft(sound, n_fft) * response, n=n_fft)[:, :n_samples]
    return np.asarray(heart * (_HEART_RMS * who.sensor.sensitivity / np.sqrt(_power(heart[0]))))


def _floor(who: _Session, heart: Samples, n_samples: int, rng: np.random.Generator) -> Samples:
    """Draw the noise of a standing car, float64[channel, time]: body sway below 10 Hz over a flat floor.

    The in-band heart-to-floor ratio of ch1z is the session's `clean_snr_db`.
    """
    frequency_hz, n_fft = _bins(n_samples)
    shape = (len(CHANNELS), frequency_hz.size, 2)
    spectrum = rng.standard_normal(shape).view(np.complex128)[..., 0]
    spectrum *= np.where(frequency_hz < 0.2, 0, 1 + (8 / np.maximum(frequency_hz, 0.5)) ** 1.5)
    floor = np.fft.irfft(spectrum, n=n_fft)[:, :n_samples]
    floor *= 10 ** (1.5 * wander(n_samples, RATE_HZ, 3.0, rng) / 20)
    ratio = _power(heart) / _power(floor[0]) * 10 ** (-who.clean_snr_db / 10)
    return np.asarray(who.floor_gain[:, None] * floor * np.sqrt(ratio))


def _vehicle(
    who: _Session,
    heart: Samples,
    speed_kmh: int,
    bumps_s: Samples,
    n_samples: int,
    rng: np.random.Generator,
) -> Samples:
    """Draw the vehicle's vibration after the sensor, float64[channel, time], at its in-band level over the heart."""
    frequency_hz, n_fft = _bins(n_samples)
    vibration = vehicle_vibration(who.car, speed_kmh, bumps_s, n_samples, RATE_HZ, rng)
    spectrum: NDArray[np.complex128] = np.fft.rfft(vibration, n_fft)
    sensed = np.fft.irfft(spectrum * sensor_gain(who.sensor, frequency_hz), n=n_fft)[:, :n_samples]
    over_heart = 10 ** ((noise_to_heart_db(speed_kmh) + who.noise_offset_db) / 10)
    return np.asarray(sensed * np.sqrt(_power(heart) / _power(sensed[0]) * over_heart))


def _bins(n_samples: int) -> tuple[Samples, int]:
    n_fft = int(next_fast_len(n_samples, real=True))
    return bins_hz(n_fft, RATE_HZ), n_fft


def _power(signal: Samples) -> float:
    """Return the in-band mean square."""
    frequency_hz, n_fft = _bins(signal.size)
    return float(2 * band_power(np.fft.rfft(signal, n_fft), frequency_hz)) / n_fft / signal.size


def _check(what: str, value: float, allowed: tuple[float, float]) -> None:
    if not allowed[0] <= value <= allowed[1]:
        raise DataError(f"{what} is {value}; {allowed[0]:g} to {allowed[1]:g} is allowed")
