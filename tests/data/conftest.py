"""Sample files, one for each layout that the readers know; small corpora."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.config import DataConfig, Source
from data.corpus import Segment, Split
from data.filters import bandpass
from tests.support.layouts import LAYOUTS, Layout, save_edf
from tests.support.mat73 import save_mat73


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout.name}{layout.suffix}")
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each file layout in turn."""
    chosen: Layout = request.param
    return chosen


@pytest.fixture(name="save_edf")
def edf_writer() -> Callable[..., None]:
    """Writes an EDF+ or BDF+ file: (path, {label: samples}, rates_hz)."""
    return save_edf


@pytest.fixture
def mat73() -> Callable[[Path, dict[str, Any]], None]:
    """Writes a MATLAB v7.3 file."""
    return save_mat73


def swelling(
    seed: int, *, n_samples: int = 4000, n_channels: int = 1, banded: bool = True, level: float = 1.0
) -> Segment:
    """Noise with a swelling level and a strong slow drift, which the band-pass takes away."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / 500.0
    swell = 0.1 + np.abs(np.sin(time_s))
    wide = rng.standard_normal((n_channels, n_samples)) * swell + 20 * np.sin(2 * np.pi * 0.9 * time_s)
    in_band = bandpass(wide, 500.0, 25.0, 55.0)
    signals = (in_band if banded else wide.astype(np.float32)) * np.float32(level)
    heard = in_band[0] * np.float32(level)
    for array in (signals, heard):
        array.setflags(write=False)
    return Segment(signals, heard, Path(f"{seed}.npz"), np.arange(0.3, n_samples / 500.0, 0.4))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., DataConfig]:
    """Makes the DataConfig of swelling recordings: 500 Hz, 25-55 Hz, windows of 512 samples, stride 32."""

    def make(**options: Any) -> DataConfig:
        chosen: dict[str, Any] = {"rate_hz": 500.0, "window_samples": 512, "stride_samples": 32} | options
        return DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), **chosen)

    return make


@pytest.fixture(scope="session")
def make_segment() -> Callable[..., Segment]:
    """Makes a swelling recording at 500 Hz: (seed, n_samples=, n_channels=, banded=, level=)."""
    return swelling


@pytest.fixture(scope="session")
def make_split() -> Callable[..., Split]:
    """Makes two swelling recordings of either kind: (banded=True, n_channels=1)."""

    def make(banded: bool = True, n_channels: int = 1) -> Split:
        made = [
            swelling(seed, n_samples=n, banded=banded, n_channels=n_channels)
            for seed, n in ((1, 4000), (2, 3000), (3, 4000), (4, 2500))
        ]
        return Split(tuple(made[:2]), tuple(made[2:]))

    return make
