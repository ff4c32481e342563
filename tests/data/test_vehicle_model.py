"""The vehicle's part of synthetic recordings, and the sensor, against the numbers they were made from."""

import numpy as np
import pytest
from scipy.signal import coherence, welch

from data.filters import bandpass
from data.synthetic.sensor import draw_sensor, sensor_gain
from data.synthetic.vehicle import (
    WHEEL_RADIUS_M,
    axle_delay_s,
    bump_vibration,
    draw_bumps,
    draw_car,
    engine_rpm,
    level_db,
    vehicle_vibration,
)

SEEDS = (0, 1, 2)
RATE_HZ = 1000.0


def vehicle_alone(seed: int, speed_kmh: int, *, bumps: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    car = draw_car(6, rng)
    times = draw_bumps(car, speed_kmh, 60, rng) if bumps else np.zeros(0)
    return vehicle_vibration(car, speed_kmh, times, 60_000, RATE_HZ, rng), times


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_share_part_of_the_road_not_all(seed: int) -> None:
    vibration = bandpass(vehicle_alone(seed, 60, bumps=True)[0], RATE_HZ, 25, 55)
    pairs = np.triu_indices(6, 1)
    frequency_hz, shared = coherence(vibration[pairs[0]], vibration[pairs[1]], RATE_HZ, nperseg=1024)
    inside = (frequency_hz > 25) & (frequency_hz < 55)
    mean = shared[:, inside].mean(axis=1)
    assert mean.min() > 0.27
    assert mean.max() < 0.73
    assert 0.3 < np.median(mean) < 0.7


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("speed_kmh", [30, 100])
def test_the_road_is_not_stationary(seed: int, speed_kmh: int) -> None:
    vibration = vehicle_alone(seed, speed_kmh, bumps=True)[0][0]
    assert 3.3 < level_db(vibration, RATE_HZ).std() < 6.6
    band = bandpass(vibration, RATE_HZ, 25, 55)
    assert 3 < np.mean(band**4) / np.mean(band**2) ** 2 < 17


@pytest.mark.parametrize("seed", range(5))
def test_engine_lines_stand_at_multiples_of_the_half_order(seed: int) -> None:
    """Idling: the strongest line in 12-60 Hz is an engine order, far above the band's median."""
    car = draw_car(6, np.random.default_rng(seed))
    signal = vehicle_alone(seed, 0)[0][0]
    frequency_hz, power = welch(signal, RATE_HZ, nperseg=8192)
    inside = (frequency_hz > 12) & (frequency_hz < 60)
    peak_hz = frequency_hz[inside][power[inside].argmax()]
    order = peak_hz / (engine_rpm(car, 0) / 60)
    assert order * 2 == pytest.approx(round(order * 2), abs=0.05)
    assert 10 * np.log10(power[inside].max() / np.median(power[inside])) > 15


def test_gears_keep_the_first_order_where_cars_have_it() -> None:
    """Half orders of 10.6 Hz at 40 km/h; a first order of 33-43 Hz at 100 km/h."""
    for seed in range(30):
        car = draw_car(6, np.random.default_rng(seed))
        assert 33 < engine_rpm(car, 100) / 60 < 43
        assert 1190 < engine_rpm(car, 30) < 2100
        assert car.idle_rpm == engine_rpm(car, 0)
    exact = 40 * 31.8
    assert exact / 120 == pytest.approx(10.6, abs=0.05)


def test_wheel_orders_follow_from_the_speed() -> None:
    """At 100 km/h orders 2 and 3 at 28.5 and 42.8 Hz stand out; averaged over cars, whose other lines differ."""
    turns_hz = 100 / 3.6 / (2 * np.pi * WHEEL_RADIUS_M)
    assert 2 * turns_hz == pytest.approx(28.5, abs=0.05)
    assert 3 * turns_hz == pytest.approx(42.8, abs=0.05)
    spectra = []
    for seed in range(6):
        frequency_hz, power = welch(vehicle_alone(seed, 100)[0][0], RATE_HZ, nperseg=4096)
        spectra.append(10 * np.log10(power))
    mean_db = np.mean(spectra, axis=0)
    for order in (2, 3):
        on = mean_db[np.abs(frequency_hz - order * turns_hz) < 0.4].max()
        beside = (np.abs(frequency_hz - order * turns_hz) > 1.5) & (np.abs(frequency_hz - order * turns_hz) < 3)
        assert on - np.median(mean_db[beside]) > 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("speed_kmh", "delay_ms"), [(30, 312), (60, 156)])
def test_front_and_rear_axle_meet_a_bump_wheelbase_over_v_apart(seed: int, speed_kmh: int, delay_ms: int) -> None:
    ring = bump_vibration(np.array([10.0]), speed_kmh, 6, 20_000, RATE_HZ, np.random.default_rng(seed))
    assert np.abs(ring[:, :10_000]).max() == 0
    for row in ring:
        front, rear = (np.sum(row[at : at + 100] ** 2) for at in (10_000, 10_000 + delay_ms))
        before_rear = np.sum(row[10_000 + delay_ms - 40 : 10_000 + delay_ms] ** 2)
        assert 0.2 < rear / front < 1.5
        assert rear > 5 * before_rear


def test_the_axle_delay_mimics_s1_to_s2_at_30_km_h() -> None:
    assert axle_delay_s(30) == pytest.approx(0.312)
    assert axle_delay_s(100) == pytest.approx(0.0936)


def test_bumps_come_2_to_10_times_a_minute_and_none_while_idling() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        car = draw_car(6, rng)
        assert 2 <= draw_bumps(car, 50, 180, rng).size / 3 <= 10
        assert draw_bumps(car, 0, 180, rng).size == 0


def test_sensors_differ_by_tilts_up_to_12_db_per_octave() -> None:
    tilts, one_octave = [], []
    for seed in range(200):
        sensor = draw_sensor(np.random.default_rng(seed))
        tilts.append(sensor.tilt_db_per_octave)
        low, high = 20 * np.log10(sensor_gain(sensor, np.array([2000.0, 4000.0])))
        one_octave.append(high - low)
    assert min(tilts) < -10
    assert max(tilts) > 10
    assert max(np.abs(tilts)) <= 12
    # The tilt ends at 110 Hz, so that nothing grows without bound.
    assert np.abs(one_octave).max() < 0.5
