"""Compare the windows per second of data.mixing.mixture and of a common per-item DataLoader.

    python benchmarks/data_path.py [--quick] [--threads N]

The usual way: a Dataset whose __getitem__ slices clean and noise, gives the noise random phases with NumPy's FFT,
adds the two and returns tensors, behind a DataLoader with batch 64 and no worker processes. Ours makes whole batches,
with the same randomisation per window, or with one surrogate of the noise per epoch. The contenders take turns, and
medians are compared, so that a busy machine slows all of them alike.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.config import DataConfig, Source
from data.corpus import Segment, Split
from data.filters import bandpass
from data.mixing.mixture import Mixture

BATCH = 64
GAIN = 0.5
CONFIG = DataConfig(clean=(Source(("clean.npz",)),), noise=(Source(("noise.npz",)),))


@dataclass(frozen=True, slots=True)
class Plan:
    """minutes of clean and of noise at 1 kHz; rounds in which each contender makes one epoch of batches."""

    minutes: float
    rounds: int


FULL = Plan(minutes=3, rounds=11)
QUICK = Plan(minutes=0.2, rounds=2)


class PerItem(Dataset[tuple[Tensor, Tensor]]):
    """One (noisy, clean) pair of windows at a time, in NumPy."""

    def __init__(self, clean: NDArray[np.float32], noise: NDArray[np.float32], seed: int) -> None:
        self.clean, self.noise = clean, noise
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return (len(self.clean) - CONFIG.window_samples) // CONFIG.stride_samples + 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        window = CONFIG.window_samples
        start = index * CONFIG.stride_samples
        clean = self.clean[start : start + window]
        offset = int(self.rng.integers(len(self.noise) - window + 1))
        spectrum = np.fft.rfft(self.noise[offset : offset + window])
        phase = self.rng.uniform(0, 2 * np.pi, len(spectrum))
        phase[[0, -1]] = 0
        noise = np.fft.irfft(np.abs(spectrum) * np.exp(1j * phase), n=window)
        noisy = (clean + GAIN * noise).astype(np.float32)
        return torch.from_numpy(noisy), torch.from_numpy(clean.copy())


def main(arguments: list[str]) -> None:
    """Measure, and print windows per second and ratios."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of a minute; the figures mean nothing")
    parser.add_argument("--threads", type=int, help="CPU threads of torch; default: its own choice")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    plan = QUICK if options.quick else FULL
    ways = contenders(plan)
    rates = measure(ways, plan)
    usual = rates["per-item DataLoader"]
    print(f"batch {BATCH}, window {CONFIG.window_samples}, stride {CONFIG.stride_samples}, ", end="")
    print(f"{torch.get_num_threads()} threads, median of {plan.rounds} epochs each")
    for name, rate in rates.items():
        print(f"{name:34s}{rate:12,.0f} windows/s{rate / usual:8.1f} x")


def contenders(plan: Plan) -> dict[str, Callable[[], Iterator[object]]]:
    """Name -> a function that gives the batches of one epoch."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((2, round(plan.minutes * 60_000)), dtype=np.float32)
    clean, noise = bandpass(white, CONFIG.rate_hz, 25.0, 55.0)
    split = Split((_segment(clean),), (_segment(noise),))
    loader = DataLoader(PerItem(clean, noise, seed=0), batch_size=BATCH, shuffle=True, num_workers=0, drop_last=True)
    return {
        "per-item DataLoader": lambda: iter(loader),
        "ours, randomised per window": _ours(split, CONFIG),
        "ours, one surrogate per epoch": _ours(split, replace(CONFIG, randomise_per="epoch")),
    }


def _segment(signal: NDArray[np.float32]) -> Segment:
    return Segment(signal[None], signal, Path("generated"))


def _ours(split: Split, config: DataConfig) -> Callable[[], Iterator[object]]:
    mixture = Mixture(split, config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    return lambda: mixture.epoch(mixture.n_windows // BATCH, BATCH, generator, gain=GAIN)


def measure(ways: dict[str, Callable[[], Iterator[object]]], plan: Plan) -> dict[str, float]:
    """Windows per second of each of `ways`: the median over rounds of an epoch."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(plan.rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            n_batches = sum(1 for _ in way())
            if turn > 0:  # the first warms up
                rates[name].append(n_batches * BATCH / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in rates.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
