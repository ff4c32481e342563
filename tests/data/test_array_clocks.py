"""Clocks beside a signal that hold dates, times since 1970, or times of no stated unit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.readers.read import read

N = 500
NOISE = np.random.default_rng(5).standard_normal((2, N))
START_S = 1_706_950_800
DATES = np.datetime64("2024-02-03T09:00:00", "us") + np.arange(N) * np.timedelta64(2, "ms")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("name", ["time", "stamps"])
def test_dates_are_a_clock_by_their_type(unit: str, name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, **{name: DATES.astype(f"M8[{unit}]")})  # type: ignore[arg-type]
    recording = read(tmp_path / "x.npz")
    assert recording.rate_hz == pytest.approx(500.0)
    assert recording.notes == (f"{name} is a clock of 500 Hz, and left out",)


def test_dates_that_contradict_the_stated_rate_or_have_a_gap_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, time=DATES, fs=250.0)
    with pytest.raises(DataError, match="time rises as at 500 Hz, but the file says 250 Hz"):
        read(tmp_path / "x.npz")
    for fault in (np.timedelta64(400, "ms"), np.timedelta64("NaT")):
        late = DATES.copy()
        late[300:] += fault
        np.savez(tmp_path / "y.npz", acc=NOISE, time=late)
        with pytest.raises(DataError, match=r"time (holds NaN|does not rise in equal steps)"):
            read(tmp_path / "y.npz")


@pytest.mark.parametrize(
    "times",
    [
        START_S * 10**9 + 2_000_000 * np.arange(N),
        START_S * 10**6 + 2000 * np.arange(N),
        START_S * 1000 + 2 * np.arange(N),
        START_S * 1000.0 + 2 * np.arange(N),
        START_S + np.arange(N) / 500,
    ],
)
def test_times_since_1970_are_read_in_the_unit_in_which_they_are_of_our_days(times: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, time=times)
    assert read(tmp_path / "x.npz").rate_hz == pytest.approx(500.0)
    np.save(tmp_path / "x.npy", np.column_stack([times.astype(np.float64), NOISE.T]))
    recording = read(tmp_path / "x.npy")
    assert recording.rate_hz == pytest.approx(500.0)
    assert recording.channels == ("ch1", "ch2")


def test_times_of_unknown_unit_are_named_where_no_rate_is_found_and_the_asked_rate_tells_the_unit(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, time=2.0 * np.arange(N))
    with pytest.raises(DataError, match=r"no sampling rate in the file.*time is a clock of unknown unit.*steps are 2"):
        read(tmp_path / "x.npz")
    assert read(tmp_path / "x.npz", rate_hz=500.0).notes == ("time is a clock in ms, and left out",)
    with pytest.raises(DataError, match="time rises in steps of 2, which in no unit are those of rate_hz=1000"):
        read(tmp_path / "x.npz", rate_hz=1000.0)


@pytest.mark.parametrize("times", [DATES.astype(str), DATES.astype(object)])
def test_a_clock_without_numbers_is_named_where_no_rate_is_found(times: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", acc=NOISE, time=times)
    with pytest.raises(DataError, match=r"time \(500 .*\) is not read as a clock: it holds no numbers"):
        read(tmp_path / "x.npz")
    assert read(tmp_path / "x.npz", rate_hz=500.0).rate_hz == 500.0


@pytest.mark.parametrize(
    ("unit", "step"),
    [("min", 1 / 30000), ("h", 1 / 1_800_000), ("ms", 2.0), ("s", 0.002), ("[us]", 2000.0), ("seconds", 0.002)],
)
def test_the_unit_beside_a_clock_is_that_of_its_times(
    unit: str, step: float, tmp_path: Path, mat73: Callable[..., None]
) -> None:
    times = step * np.arange(N)
    np.savez(tmp_path / "x.npz", acc=NOISE, time=times, time_unit=unit)
    scipy.io.savemat(tmp_path / "x.mat", {"acc": NOISE, "time": times, "time_units": unit})
    mat73(tmp_path / "y.mat", {"acc": NOISE, "time": times[None], "time_units": unit})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["drive/acc"], file["drive/time"] = NOISE, times
        file["drive/time"].attrs["units"] = unit
    for name in ("x.npz", "x.mat", "y.mat", "x.h5"):
        assert read(tmp_path / name).rate_hz == pytest.approx(500.0), name


@pytest.mark.parametrize(("unit", "per_day"), [("days since 2020-01-01", 1), ("hours since 2020-01-01 00:00:00", 24)])
def test_the_unit_of_a_netcdf_clock_is_that_of_its_times(unit: str, per_day: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["acc"], file["time"] = NOISE, np.arange(N) / 500.0 / 86400 * per_day
        file["time"].attrs["units"] = unit
    assert read(tmp_path / "x.h5").rate_hz == pytest.approx(500.0)


@pytest.mark.parametrize(
    ("name", "unit", "words"),
    [
        ("time", "fortnights", "the unit of time is 'fortnights'; one of days, h, min, s"),
        ("time_ms", "s", "time_ms states another unit by its name than 's' beside it"),
    ],
)
def test_a_unit_beside_a_clock_that_is_none_or_another_is_refused(
    name: str, unit: str, words: str, tmp_path: Path
) -> None:
    held: dict[str, Any] = {"acc": NOISE, name: 2.0 * np.arange(N), f"{name}_unit": unit}
    np.savez(tmp_path / "x.npz", **held)
    with pytest.raises(DataError, match=words):
        read(tmp_path / "x.npz")
