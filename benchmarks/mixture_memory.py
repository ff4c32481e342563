"""Measure the memory that a training's recordings take, and the time of its varied windows.

    python -m benchmarks.mixture_memory [--hours 10] [--channels 6] [--rate-hz 1000] [--window 5120] [--batch 16]

The recordings are random numbers of so many hours in all, half of them clean and half noise, with a heart in all
channels. Everything in data.augment is switched on. Printed are the size of the signals, the memory that the mixture
adds to them, the largest memory of the process, and the milliseconds a batch takes, with one CPU thread.
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from data.config import AugmentConfig, DataConfig, Source
from data.corpus import Segment, Split
from data.mixing.mixture import Mixture

SECONDS = 30.0  # of a recording
EVERYTHING = AugmentConfig(
    clean_tilt_db_per_octave=10.0,
    noise_tilt_db_per_octave=8.0,
    reference_tilt_db_per_octave=3.0,
    clean_resonance_db=12.0,
    noise_resonance_db=12.0,
    tempo=0.2,
    polarity=0.5,
    noise_mix=0.4,
    noise_swell_db=5.0,
    noise_flutter_db=4.0,
    engine_lines_db=6.0,
    bumps_per_minute=4.0,
    reference_dropout=0.2,
    reference_foreign=1.0,
)
ROUNDS, BATCHES = 5, 10


def main(arguments: list[str]) -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--rate-hz", type=float, default=1000.0)
    parser.add_argument("--window", type=int, default=5120, metavar="SAMPLES")
    parser.add_argument("--batch", type=int, default=16)
    o = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = DataConfig(
        clean=(Source(("clean",)),),
        noise=(Source(("noise",)),),
        rate_hz=o.rate_hz,
        window_samples=o.window,
        randomiser="none",
        augment=EVERYTHING,
    )
    bare = resident_mb()
    split = recordings(o.hours, o.channels, o.rate_hz)
    signals_mb = sum(s.signals.nbytes for side in (split.clean, split.noise) for s in side) / 1e6
    before = resident_mb()
    mixture = Mixture(split, config, torch.device("cpu"))
    added_mb = resident_mb() - before
    generator = torch.Generator().manual_seed(0)
    took_ms = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in mixture.epoch(BATCHES, o.batch, generator, gain=2.0, spread_db=20.0, per_window=True):
            pass
        took_ms.append((time.perf_counter() - began) / BATCHES * 1000)
    print(f"signals: {o.hours:g} h of {o.channels} channels at {o.rate_hz:g} Hz, {signals_mb:,.0f} MB")
    print(f"the mixture adds {added_mb:,.0f} MB, {added_mb / signals_mb:.2f} times the signals")
    print(f"the process takes at most {largest_mb():,.0f} MB, {bare:,.0f} MB of it before the recordings")
    print(f"{o.batch} windows of {o.window} samples: {statistics.median(took_ms):.1f} ms, median of {ROUNDS}")


def recordings(hours: float, n_channels: int, rate_hz: float) -> Split:
    """Return recordings of random numbers, half of the hours clean and half noise."""
    rng = np.random.default_rng(0)

    def made() -> Segment:
        signals = rng.standard_normal((n_channels, round(SECONDS * rate_hz)), dtype=np.float32)
        return Segment(signals, signals[0], Path("random"))

    n = max(1, round(hours * 3600 / SECONDS / 2))
    return Split(tuple(made() for _ in range(n)), tuple(made() for _ in range(n)))


def resident_mb() -> float:
    """Return the memory of this process in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def largest_mb() -> float:
    """Return the largest memory of this process so far in MB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main(sys.argv[1:])
