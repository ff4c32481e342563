"""Rates that numbers, texts and arrays beside a signal state, and those that nothing makes certain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from data.errors import DataError
from data.readers.read import read

NOISE = np.random.default_rng(4).standard_normal((2, 500))


@pytest.fixture(params=["v5.mat", "v73.mat", "x.npz", "dataset.h5", "attribute.h5"])
def save(
    request: pytest.FixtureRequest, tmp_path: Path, mat73: Callable[..., None]
) -> Callable[[dict[str, Any]], Path]:
    """Writes `acc` and what is beside it in each format, and returns the file."""
    path: Path = tmp_path / request.param

    def write(held: dict[str, Any]) -> Path:
        if path.suffix == ".npz":
            np.savez(path, acc=NOISE, **held)
        elif path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["acc"] = NOISE
                for name, value in held.items():
                    if path.name.startswith("d"):
                        file[name] = value
                    else:
                        file.attrs[name] = value
        elif path.name == "v73.mat":
            rows = {name: value if isinstance(value, str) else np.atleast_2d(value) for name, value in held.items()}
            mat73(path, {"acc": NOISE, **rows})
        else:
            scipy.io.savemat(path, {"acc": NOISE, **held})
        return path

    return write


@pytest.mark.parametrize(
    ("held", "rate_hz"),
    [
        ({"interval": 0.002}, 500),
        ({"isi": 2.0, "isi_units": "ms"}, 500),
        ({"interval": 2.0, "interval_units": "ms"}, 500),
        ({"fs": 0.5, "fs_unit": "kHz"}, 500),
        ({"freq_hz": 500.0}, 500),
        ({"tick_rate": 500.0}, 500),
        ({"Fe": 500.0}, 500),
        ({"Fa": 500.0}, 500),
        ({"period": 0.002}, 500),
        ({"timestep": 0.002}, 500),
        ({"Abtastrate": 500.0}, 500),
        ({"ODR": 500}, 500),
        ({"fs": "500"}, 500),
        ({"rate": "500 Hz"}, 500),
        ({"fs": "0.5kHz"}, 500),
        ({"fs_khz": "0.5 kHz"}, 500),
        ({"dt": "2 ms"}, 500),
        ({"fs": [500.0, 500.0]}, 500),
    ],
)
def test_a_rate_is_read_by_its_name_with_its_unit_and_from_text(
    save: Callable[..., Path], held: dict[str, Any], rate_hz: float
) -> None:
    assert read(save(held)).rate_hz == pytest.approx(rate_hz)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"fs": [500.0, 250.0]}, r"fs gives several rates \(250, 500\)"),
        ({"fs": "500,0"}, r"fs = '500,0' is no rate"),
        ({"fs": "500 or 250"}, "fs = '500 or 250' is no rate"),
        ({"fs": "500 V"}, "fs = 500 V is no rate"),
        ({"fs": 500.0, "fs_units": "V"}, "fs = 500 V is no rate"),
        ({"fs": float("nan")}, "fs = nan is no rate"),
        ({"fs": "0 Hz"}, "fs = 0 Hz is no rate"),
        ({"fs": "250 Hz", "dt": 0.002}, "two rates"),
    ],
)
def test_a_rate_that_is_none_or_several_is_refused_by_name_whatever_is_asked(
    save: Callable[..., Path], held: dict[str, Any], words: str
) -> None:
    path = save(held)
    for rate_hz in (None, 500.0):
        with pytest.raises(DataError, match=words):
            read(path, rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"freq": 500.0}, "freq = 500 is not used as the rate"),
        ({"frequency": 500.0}, "frequency = 500 is not used as the rate"),
        ({"isi": 2.0}, "isi = 2 is not used as the rate"),
        ({"dt": 2.0}, "dt = 2 is not used as the rate: it would be 0.5 Hz"),
        ({"fs": "unknown"}, "fs = 'unknown' is no number"),
        ({"period": "summer 2024"}, "period = 'summer 2024' is no number"),
        ({"period": "10 min"}, "period = 10 min is not used as the rate"),
        ({"interval": "3 days"}, "interval = 3 days is not used as the rate"),
    ],
)
def test_what_is_not_certain_to_be_the_rate_is_named_where_none_is_found_and_no_obstacle(
    save: Callable[..., Path], held: dict[str, Any], words: str
) -> None:
    path = save(held)
    with pytest.raises(DataError, match=f"no sampling rate in the file.*{words}.*give rate_hz="):
        read(path)
    assert read(path, rate_hz=500.0).rate_hz == 500.0
    assert read(save({**held, "sample_rate": 800.0})).rate_hz == 800.0


def test_a_rate_elsewhere_in_the_file_is_named_and_not_used(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"rec": {"acc": NOISE, "info": {"fs": 500.0}}})
    with pytest.raises(DataError, match=r"rec\.info\.fs = 500 is not used as the rate: it is not beside"):
        read(tmp_path / "x.mat")


def test_several_rates_around_a_struct_are_no_obstacle_to_its_own(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"rec": {"acc": NOISE, "fs": 500.0}, "fs": [500.0, 250.0]})
    recording = read(tmp_path / "x.mat")
    assert recording.rate_hz == 500.0
    assert any("several rates" in note for note in recording.notes)


def test_many_intervals_are_those_of_beats_and_no_rates(save: Callable[..., Path]) -> None:
    recording = read(save({"interval": np.random.default_rng(0).uniform(0.7, 0.9, 90), "fs": 500.0}))
    assert recording.rate_hz == 500.0
    assert any("no single number" in note for note in recording.notes)
