"""The vehicle in the synthetic recordings: engine, wheels, road and bumps, at six places of one seat.

Line frequencies: engine order k at k rpm / 60 (firing at rpm x cylinders / 120), wheel order k at
k v / (2 pi 0.31 m). Levels: axle RMS as v^0.47.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from data.synthetic.sensor import HEART_HIGH_HZ, HEART_LOW_HZ, Samples, bins_hz, wander

WHEEL_RADIUS_M = 0.31
# 312 ms between the axles at 30 km/h, which is how far S2 lies behind S1.
WHEELBASE_M = 2.6
REFERENCE_KMH = 30.0
# rpm per km/h in gears 1 to 6: 1272 rpm at 40 km/h in fourth, 38 Hz at 100 km/h in sixth.
_GEARS = (110.0, 60.0, 41.0, 31.8, 26.0, 22.8)
_LOWEST_DRIVING_RPM = 1200.0
_TABLE_SIZE = 16384


@dataclass(frozen=True, slots=True, eq=False)
class Car:
    """One car; every tuple or array has one entry per channel.

    shared: share of a channel's road noise power that is common to all channels (the coherence of two channels
        is the product of theirs).
    gain, delay_s: of the vehicle's vibration at each channel.
    log_sd_db: how far the 1 s level wanders on the road.
    """

    n_cylinders: int
    idle_rpm: float
    gear_scale: float
    engine_orders: Samples
    wheel_orders: Samples
    boom_hz: float
    bumps_per_minute: float
    log_sd_db: float
    idle_log_sd_db: float
    engine_share: float
    idle_engine_share: float
    shared: Samples
    gain: Samples
    delay_s: Samples


def draw_car(n_channels: int, rng: np.random.Generator) -> Car:
    n_cylinders = int(rng.choice((3, 4, 4, 4, 6)))
    # Half orders 0.5 ... 12: firing and its harmonics stand out, the first order is unbalance.
    half_order = np.arange(1, 25)
    amplitude = rng.uniform(0.05, 0.2, half_order.size) / np.sqrt(half_order)
    harmonic = half_order / n_cylinders
    amplitude += np.where(half_order % n_cylinders == 0, harmonic**-1.3, 0)
    amplitude[1] += rng.uniform(0.3, 0.6)
    gain = rng.uniform(0.6, 1.4, n_channels)
    gain[0] = 1
    return Car(
        n_cylinders=n_cylinders,
        idle_rpm=rng.uniform(650, 900),
        gear_scale=rng.uniform(0.92, 1.08),
        engine_orders=amplitude,
        wheel_orders=np.array([0.5, 1.0, 0.8, 0.3]) * rng.uniform(0.7, 1.3, 4),
        boom_hz=rng.uniform(25, 40),
        bumps_per_minute=rng.uniform(2, 10),
        log_sd_db=rng.uniform(3.8, 5.8),
        idle_log_sd_db=rng.uniform(0.5, 1.5),
        engine_share=rng.uniform(0.4, 0.7),
        idle_engine_share=rng.uniform(0.90, 0.98),
        shared=rng.uniform(0.57, 0.80, n_channels),
        gain=gain,
        delay_s=rng.uniform(0, 0.01, n_channels),
    )


def engine_rpm(car: Car, speed_kmh: float) -> float:
    """Return the idling speed at 0 km/h, else the rpm in the highest gear with at least 1200 rpm."""
    if speed_kmh == 0:
        return car.idle_rpm
    rpm = [speed_kmh * ratio * car.gear_scale for ratio in _GEARS]
    pulling = [value for value in rpm if value >= _LOWEST_DRIVING_RPM]
    return min(pulling, default=rpm[0])


def noise_to_heart_db(speed_kmh: float) -> float:
    """Return the in-band level of vehicle over heart: 3 dB idling, 8 dB at 30 km/h, 15 dB at 100 km/h."""
    if speed_kmh == 0:
        return 3.0
    return 8.0 + 7.0 * float(np.log(speed_kmh / REFERENCE_KMH) / np.log(100 / REFERENCE_KMH))


def axle_delay_s(speed_kmh: float) -> float:
    """Return the time in s from a bump under the front axle to the same bump under the rear axle."""
    return WHEELBASE_M / (speed_kmh / 3.6)


def draw_bumps(car: Car, speed_kmh: float, duration_s: float, rng: np.random.Generator) -> Samples:
    """Draw the times in s, float64[bump], at which the front axle meets a bump; none while idling."""
    minutes = duration_s / 60
    few, many = np.ceil(2 * minutes), max(np.ceil(2 * minutes), np.floor(10 * minutes))
    n_bumps = int(np.clip(rng.poisson(car.bumps_per_minute * minutes), few, many)) if speed_kmh > 0 else 0
    return np.sort(rng.uniform(0, duration_s, n_bumps))


def vehicle_vibration(
    car: Car, speed_kmh: float, bumps_s: Samples, n_samples: int, rate_hz: float, rng: np.random.Generator
) -> Samples:
    """Draw the vibration float64[channel, time] at the seat, before the sensor.

    The in-band parts, in units of their sum at 30 km/h: road 0.5 (v/30)^0.94; engine, wheels and boom share the
    rest of the total, which grows by 7 dB from 30 to 100 km/h. The 1 s level wanders with the car's log-SD.
    """
    n_channels = car.gain.size
    frequency_hz = bins_hz(n_samples, rate_hz)
    parts = _part_powers(car, speed_kmh)

    shared = _white(1, frequency_hz, rng) * np.exp(-2j * np.pi * frequency_hz * car.delay_s[:, None])
    own = _white(n_channels, frequency_hz, rng)
    coloured = np.sqrt(car.shared)[:, None] * shared + np.sqrt(1 - car.shared)[:, None] * own
    road, boom = _road_gain(frequency_hz), _boom_gain(car, frequency_hz)
    inside = (frequency_hz >= HEART_LOW_HZ) & (frequency_hz <= HEART_HIGH_HZ)
    density = parts["road"] * road**2 / np.sum(road[inside] ** 2)
    density += parts["boom"] * boom**2 / np.sum(boom[inside] ** 2)
    # irfft of unit-variance bins: a band of power p has bins of magnitude n sqrt(p / 2 / n_bins).
    coloured *= n_samples * np.sqrt(density / 2)
    noise = np.fft.irfft(coloured, n=n_samples)

    speed = 1 + 0.008 * wander(n_samples, rate_hz, 5.0, rng)
    rpm = engine_rpm(car, speed_kmh)
    orders = np.arange(1, car.engine_orders.size + 1)
    noise += _lines(car.engine_orders, orders, rpm / 120, parts["engine"], speed, n_channels, rate_hz, rng)
    if speed_kmh > 0:
        turns_hz = speed_kmh / 3.6 / (2 * np.pi * WHEEL_RADIUS_M)
        orders = np.arange(1, car.wheel_orders.size + 1)
        noise += _lines(car.wheel_orders, orders, turns_hz, parts["wheel"], speed, n_channels, rate_hz, rng)
        height = np.sqrt(sum(parts.values()))
        noise += height * bump_vibration(bumps_s, speed_kmh, n_channels, n_samples, rate_hz, rng)

    target_db = car.log_sd_db if speed_kmh > 0 else car.idle_log_sd_db
    return car.gain[:, None] * noise * _level(noise[0], target_db, rate_hz, rng)


def bump_vibration(
    bumps_s: Samples,
    speed_kmh: float,
    n_channels: int,
    n_samples: int,
    rate_hz: float,
    rng: np.random.Generator,
) -> Samples:
    """Draw the ringing float64[channel, time] after the front and then the rear axle meets each bump.

    Both axles ring alike: seat and body at 25-45 Hz, and wheel hop at 10-14 Hz.
    """
    n_bumps = bumps_s.size
    times_s = np.concatenate([bumps_s, bumps_s + axle_delay_s(speed_kmh)])
    strength = np.tile(rng.uniform(2.0, 4.5, n_bumps), 2)
    strength[n_bumps:] *= rng.uniform(0.6, 1.1, n_bumps)
    ring_hz = np.tile(rng.uniform(25, 45, n_bumps), 2)
    ring_s = np.tile(rng.uniform(0.03, 0.06, n_bumps), 2)
    hop_hz = rng.uniform(10, 14)
    first = np.ceil(times_s * rate_hz).astype(np.int64)
    index = first[:, None] + np.arange(int(0.4 * rate_hz))
    time_s = index / rate_hz - times_s[:, None]
    inside = index < n_samples
    attack = 1 - np.exp(-time_s / 0.008)
    hop = 1.5 * np.exp(-time_s / 0.08) * np.sin(2 * np.pi * hop_hz * time_s)
    out = np.zeros((n_channels, n_samples))
    for row in out:
        phase = rng.uniform(-0.5, 0.5, (times_s.size, 1))
        own_hz = ring_hz[:, None] * (1 + 0.05 * rng.standard_normal((times_s.size, 1)))
        ring = np.exp(-time_s / ring_s[:, None]) * np.sin(2 * np.pi * own_hz * time_s + phase)
        np.add.at(row, index[inside], (strength[:, None] * attack * (ring + hop))[inside])
    return out


def level_db(signal: Samples, rate_hz: float) -> Samples:
    """Return the in-band RMS in dB of each whole second, float64[second]."""
    spectrum = np.fft.rfft(signal)
    frequency_hz = bins_hz(signal.size, rate_hz)
    spectrum[(frequency_hz < HEART_LOW_HZ) | (frequency_hz > HEART_HIGH_HZ)] = 0
    per_s = int(rate_hz)
    n_seconds = signal.size // per_s
    seconds = np.fft.irfft(spectrum, n=signal.size)[: n_seconds * per_s].reshape(n_seconds, per_s)
    return np.asarray(10 * np.log10(np.mean(seconds**2, axis=1)))


def _part_powers(car: Car, speed_kmh: float) -> dict[str, float]:
    if speed_kmh == 0:
        engine = car.idle_engine_share
        return {"road": 1 - engine, "boom": 0.0, "engine": engine, "wheel": 0.0}
    relative = speed_kmh / REFERENCE_KMH
    road = 0.5 * relative ** (2 * 0.47)
    total = 10 ** ((noise_to_heart_db(speed_kmh) - noise_to_heart_db(REFERENCE_KMH)) / 10)
    rest = max(total - road, 0.2 * total)
    engine = rest * min(0.8, car.engine_share * relative**-0.9)
    wheel = 0.15 * rest
    return {"road": road, "boom": rest - engine - wheel, "engine": engine, "wheel": wheel}


def _white(n_rows: int, frequency_hz: Samples, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Draw complex[row, bin] of mean square 1."""
    pairs = rng.standard_normal((n_rows, frequency_hz.size, 2)) * np.sqrt(0.5)
    return np.asarray(pairs.view(np.complex128)[..., 0])


def _road_gain(frequency_hz: Samples) -> Samples:
    """Return the road's spectrum: body bounce at 1.3 Hz, seat at 4.5 Hz, wheel hop at 12 Hz, a flat floor above."""
    gain = 0.6 + 6 / (1 + (frequency_hz / 6) ** 2)
    for centre_hz, q, height in ((1.3, 3.0, 12.0), (4.5, 2.5, 6.0), (12.0, 3.0, 3.0)):
        gain += height * _peak(frequency_hz, centre_hz, q)
    return np.asarray(np.where(frequency_hz < 0.5, 0, gain))


def _boom_gain(car: Car, frequency_hz: Samples) -> Samples:
    return _peak(frequency_hz, car.boom_hz, 4.0)


def _peak(frequency_hz: Samples, centre_hz: float, q: float) -> Samples:
    ratio = np.maximum(frequency_hz, 1e-3) / centre_hz
    return np.asarray(1 / np.sqrt(1 + (q * (ratio - 1 / ratio)) ** 2))


def _lines(
    amplitude: Samples,
    orders: NDArray[np.int64],
    base_hz: float,
    power: float,
    speed: Samples,
    n_channels: int,
    rate_hz: float,
    rng: np.random.Generator,
) -> Samples:
    """Draw lines float64[channel, time] at orders x base_hz that follow `speed`, with `power` in 20-60 Hz.

    The waveform of a channel is a table over one cycle, read at the phase of the cycle. The phase of each channel
    varies a little separately, so that lines are not fully coherent.
    """
    line_hz = orders * base_hz
    near = (line_hz > 20) & (line_hz < 60)
    if not near.any():
        near = np.abs(line_hz - 40) == np.abs(line_hz - 40).min()
    scaled = amplitude * np.sqrt(power / np.sum(amplitude[near] ** 2 / 2)) * (line_hz < 0.4 * rate_hz)
    cycle = np.arange(_TABLE_SIZE) / _TABLE_SIZE
    phase = np.cumsum(speed) * base_hz / rate_hz
    step = orders[np.argmax(scaled)]
    lines = np.empty((n_channels, speed.size))
    for row in lines:
        offset = rng.uniform(0, 2 * np.pi, orders.size)
        table = scaled @ np.cos(2 * np.pi * orders[:, None] * cycle + offset[:, None])
        # 0.4 rad at the strongest order: a coherence of exp(-2 x 0.4^2) = 0.7 between two channels.
        own = phase + 0.4 / (2 * np.pi * step) * wander(speed.size, rate_hz, 2.0, rng)
        row[:] = table[(own * _TABLE_SIZE).astype(np.int64) % _TABLE_SIZE]
    return lines


def _level(noise: Samples, target_db: float, rate_hz: float, rng: np.random.Generator) -> Samples:
    """Draw a gain float64[time] that brings the standard deviation of the 1 s level to the target.

    In dB it has a uniform distribution: the tails of a normal one would make the kurtosis larger than that of real
    vehicles.
    """
    have_db = float(np.std(level_db(noise, rate_hz))) if noise.size >= 2 * rate_hz else 0.0
    need_db = np.sqrt(max(target_db**2 - have_db**2, 0.0))
    spread = ndtr(wander(noise.size, rate_hz, 4.0, rng))
    spread = (spread - spread.mean()) / max(float(spread.std()), 1e-9)
    return np.asarray(10 ** (need_db * spread / 20))
