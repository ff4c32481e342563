"""Size, MACs and latency of every family as ONNX: PyTorch, onnxruntime in fp32 and in 8 bits, side by side.

    python -m benchmarks.onnx_models [--families a,b] [--rounds 30] [--channels 3] [--filter-taps 0] [-o TABLE.md]

Each family stands at its defaults for 250 Hz with random weights, exported with --fixed: one window of 1280 samples,
band-pass and scaling inside. All run on one thread; a round takes one window by each in turn, so that a busy moment
hits all of them, and the medians are printed. 8 bits are calibrated on generated windows, so that only their speed and
size mean something here; `drivebeat export-model RUN --int8` prints the loss of a trained run.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.families import AT_250_HZ
from data.config import DataConfig, Source
from data.files import atomic
from data.mixing.mixture import HeldOut
from models import DENOISERS
from models.front import FrontConfig
from objectives.cost import macs_per_second, n_parameters
from objectives.losses import NegSiSdrConfig
from training.config import RunConfig
from training.onnx.check import generated_windows, inputs_for, parity, ran, session
from training.onnx.export import exported
from training.onnx.path import WholePath
from training.onnx.quantise import quantised

RATE_HZ, WINDOW = 250.0, 1280
COLUMNS = (
    "family",
    "parameters",
    "MMAC",
    "fp32 MB",
    "int8 MB",
    "torch ms",
    "onnxruntime ms",
    "int8 ms",
    "fp32 error",
    "export s",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A family's row; times are medians of one window."""

    family: str
    parameters: int
    mmac: float
    fp32_mb: float
    int8_mb: float
    torch_ms: float
    fp32_ms: float
    int8_ms: float
    error: float
    export_s: float

    def row(self) -> str:
        """Return the row of a Markdown table."""
        m = self
        cells = (
            m.family,
            f"{m.parameters:,}",
            f"{m.mmac:.0f}",
            f"{m.fp32_mb:.2f}",
            f"{m.int8_mb:.2f}",
            f"{m.torch_ms:.1f}",
            f"{m.fp32_ms:.1f}",
            f"{m.int8_ms:.1f}",
            f"{m.error:.0e}",
            f"{m.export_s:.0f}",
        )
        return f"| {' | '.join(cells)} |"


def run_of(family: str, n_channels: int, taps: int) -> RunConfig:
    """Return a run of a family at its defaults, on recordings that are never read."""
    source = Source(("none.wav",), channels=tuple("zxyabc"[:n_channels]))
    data = DataConfig((source,), (source,), rate_hz=RATE_HZ, window_samples=WINDOW, stride_samples=WINDOW)
    model = DENOISERS[family](**AT_250_HZ.get(family, {}))
    return RunConfig(data=data, model=model, loss=NegSiSdrConfig(), front=FrontConfig(filter_taps=taps))


def measured(family: str, n_channels: int, taps: int, n_rounds: int) -> Measured:
    """Export a family, compare it with PyTorch, quantise it, and time all three."""
    run = run_of(family, n_channels, taps)
    torch.manual_seed(0)
    path = WholePath(run.build_model(n_channels), run.data).eval()
    start_s = time.perf_counter()
    fp32 = exported(path, run, fixed=True)
    export_s = time.perf_counter() - start_s
    windows = generated_windows(run.data, 8, WINDOW)
    int8 = quantised(fp32, path, _mixture(windows), fixed=True)
    sessions = [session(model.SerializeToString()) for model in (fp32, int8)]
    error = parity(sessions[0], path, run.data, fixed=True)
    inputs = inputs_for(path, windows[:1])
    tensors = [torch.from_numpy(value) for value in inputs.values()]
    calls: list[Callable[[], Any]] = [lambda: path(*tensors), *(_running(one, inputs) for one in sessions)]
    torch_ms, fp32_ms, int8_ms = interleaved_ms(calls, n_rounds)
    fp32_mb, int8_mb = (len(model.SerializeToString()) / 1e6 for model in (fp32, int8))
    mmac = macs_per_second(path.model, n_channels, WINDOW, RATE_HZ) * WINDOW / RATE_HZ / 1e6
    n = n_parameters(path)
    return Measured(family, n, mmac, fp32_mb, int8_mb, torch_ms, fp32_ms, int8_ms, error, export_s)


def _running(one: Any, inputs: Any) -> Callable[[], Any]:
    return lambda: ran(one, inputs)


def _mixture(windows: Any) -> HeldOut:
    noisy = windows[None]
    unknown = np.full(len(windows), np.nan)
    return HeldOut(
        noisy, noisy[0, :, 0], noisy[:, :, 0], (0.0,), unknown, np.zeros(len(windows), np.int64), 250.0, True
    )


def interleaved_ms(calls: Sequence[Callable[[], Any]], n_rounds: int) -> list[float]:
    """Return the median of each call in ms, after two rounds that are not counted."""
    times_s: list[list[float]] = [[] for _ in calls]
    with torch.no_grad():
        for i in range(n_rounds + 2):
            for call, of_call in zip(calls, times_s, strict=True):
                start_s = time.perf_counter()
                call()
                if i >= 2:
                    of_call.append(time.perf_counter() - start_s)
    return [1000 * statistics.median(of_call) for of_call in times_s]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--families", default=",".join(name for name in DENOISERS if name != "identity"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--filter-taps", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one small family, few rounds")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    families, n_rounds = given.families.split(","), given.rounds
    if given.quick:
        families, n_rounds = ["tcn_mask"], 3
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    print(*lines, sep="\n", flush=True)
    for family in families:
        lines.append(measured(family, given.channels, given.filter_taps, n_rounds).row())
        print(lines[-1], flush=True)
    if given.output is not None:
        with atomic(given.output) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
