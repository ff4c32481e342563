"""Build a training step as the trainer does, and time its parts."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from data.config import DataConfig, Source
from data.corpus import Segment, Split
from data.filters import bandpass
from data.mixing.mixture import Batch, Mixture
from models import DENOISERS
from objectives.cost import plain_kernels
from objectives.losses import NegSiSdrConfig
from training.config import FitConfig, RunConfig, read_run
from training.device import arithmetic
from training.learner import Learner, build_learner, loss_of

RATE_HZ = 250.0
CHANNELS = ("z", "x", "y")
BEST = "best_known"
ROOT = Path(__file__).parents[2]
MANY_STEPS = 1_000_000  # of the whole run: the learning rate of a step follows from it
PEAK_SIDE = 1024
PARTS = ("data", "forward", "backward", "optimiser")


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A run ready to take steps: everything that the trainer would hold between two of them.

    filled: new memory is filled with NaN, as torch's deterministic kernels have it and training.device has not.
    """

    run: RunConfig
    learner: Learner
    criterion: nn.Module
    batches: Iterator[Batch]
    device: torch.device
    threads: int
    filled: bool = False

    def timed_step(self) -> tuple[float, ...]:
        """Seconds of one step's PARTS: of the processor on one CPU thread, of the clock otherwise."""
        now = clock(self.device, self.threads)
        with self._arithmetic():
            moments = [now()]
            batch = next(self.batches)
            moments.append(now())
            loss = loss_of(self.learner.model, self.criterion, batch, self.run.fit.precision)
            moments.append(now())
            self.learner.backward(loss)
            moments.append(now())
            self.learner.update(self.run, 0, MANY_STEPS)
            moments.append(now())
        return tuple(b - a for a, b in itertools.pairwise(moments))

    def steps(self, n_steps: int, batches: Iterator[Batch] | None = None) -> None:
        """`n_steps` as the trainer takes them, nothing timed; on `batches` where some are given."""
        source = self.batches if batches is None else batches
        with self._arithmetic():
            for _ in range(n_steps):
                loss = loss_of(self.learner.model, self.criterion, next(source), self.run.fit.precision)
                self.learner.step(self.run, loss, 0, MANY_STEPS)

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        with arithmetic(0, self.device, self.threads, self.run.fit.precision):
            if self.filled:
                memory: Any = torch.utils.deterministic
                memory.fill_uninitialized_memory = True
            yield


def clock(device: torch.device, threads: int) -> Callable[[], float]:
    """The processor's seconds on one CPU thread, which other work on the machine disturbs least; else the clock's."""
    if device.type == "cuda":

        def waited() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return waited
    return time.process_time if threads == 1 else time.perf_counter


def run_named(name: str, batch_size: int, threads: int, window_samples: int) -> RunConfig:
    """A family's run at its defaults, or the best one known for windows of 5.12 s as its document has it, on
    generated signals."""
    data = DataConfig(
        clean=(Source(("clean.npz",), CHANNELS),),
        noise=(Source(("noise.npz",), CHANNELS),),
        rate_hz=RATE_HZ,
        window_samples=window_samples,
        stride_samples=8,
        randomiser="none",
    )
    fit = FitConfig(batch_size=batch_size, threads=threads, ema_decay=0.999)
    if name != BEST:
        return RunConfig(data=data, model=DENOISERS[name](), loss=NegSiSdrConfig(), fit=fit)
    best = read_run(ROOT / "search" / "studies" / "best_known_5s.yaml")
    # its augmentation stays, for drawing it is part of its step; recordings of noise have no need of its sources
    data = dataclasses.replace(data, augment=best.data.augment)
    return RunConfig(data=data, model=best.model, loss=best.loss, fit=fit, front=best.front)


def build_stage(run: RunConfig, device: torch.device) -> Stage:
    """Freshly drawn weights and an endless supply of batches for `run`."""
    threads = run.fit.threads or torch.get_num_threads()
    with arithmetic(0, device, threads, run.fit.precision):
        learner = build_learner(run, run.build_model(len(CHANNELS)), device, starts_anew=True)
        learner.model.train()
        mixture = Mixture(_split(), run.data, device)
    return Stage(run, learner, run.loss.build().to(device), batches_of(run, mixture), device, threads)


def batches_of(run: RunConfig, mixture: Mixture) -> Iterator[Batch]:
    """Batches for ever, an epoch of a hundred after the other."""
    generator = torch.Generator(mixture.device).manual_seed(0)
    while True:
        yield from mixture.epoch(100, run.fit.batch_size, generator, gain=0.5, per_window=True)


def _split() -> Split:
    """A minute of clean signal and of noise, three times each: band-limited noise, for its values cost no time."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(6):
        signals = bandpass(rng.standard_normal((3, 15_000), dtype=np.float32), RATE_HZ, 25.0, 55.0)
        parts.append(Segment(signals, signals[0], Path("generated")))
    return Split(tuple(parts[:3]), tuple(parts[3:]))


def step_gflop(stage: Stage) -> float:
    """Floating-point operations of a step in 10^9: products, convolutions and attention, forwards and backwards.

    FFTs, norms and activations do not count, nor does the optimiser. Fused kernels, which torch's counter cannot see
    into, are switched off for the count. The weights stay as they are.
    """
    counter = FlopCounterMode(display=False)
    batch = next(stage.batches)
    with plain_kernels(), arithmetic(0, stage.device, stage.threads), counter:
        stage.learner.backward(loss_of(stage.learner.model, stage.criterion, batch, "fp32"))
    return counter.get_total_flops() / 1e9


def peak_seconds(device: torch.device, threads: int) -> float:
    """Seconds of one fp32 product of two square matrices with PEAK_SIDE rows: 2 PEAK_SIDE^3 operations."""
    now = clock(device, threads)
    with arithmetic(0, device, threads):
        a, b = torch.ones(2, PEAK_SIDE, PEAK_SIDE, device=device)
        began = now()
        torch.mm(a, b)
        return now() - began


def dearest(stage: Stage, n_operators: int = 3) -> list[tuple[str, float]]:
    """The operators that take most of a step by themselves, and their share of all operators' time."""
    on_cuda = stage.device.type == "cuda"
    stage.steps(1)
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as found:
        stage.steps(1)
    own = {
        event.key: float(event.self_device_time_total if on_cuda else event.self_cpu_time_total)
        for event in found.key_averages()
    }
    total = sum(own.values())
    most = sorted(own, key=lambda name: own[name], reverse=True)[:n_operators]
    return [(name.removeprefix("aten::"), own[name] / total) for name in most]
