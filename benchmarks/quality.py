"""Compare a found model with the lab's models, trained in the lab's way, and with the classical methods.

    python -m benchmarks.quality [--run RUN.yaml] [--minutes 10] [--seed 0] [--processes 2] [--quick] -o OUT

Every model learns from the same recordings and has the same minutes of one CPU thread. The lab's models have the lab's
sizes and hyperparameters: 5120 samples at 1 kHz of one channel, batches of 64, learning rate 1e-4, peak-weighted L1,
one fixed gain, the last weights; nothing is varied and nothing generated is learned from. Ours takes RUN.yaml as it
is. Then the same held-out windows, by recording and by vehicle: mean and 95 % interval that draws recordings. What a
model scored is kept in OUT, and not trained again.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families import EPOCHS, with_budget
from data.config import DataConfig, Source
from data.corpus import Corpus, load
from data.mixing.mixture import HeldOut, held_out
from models.autoencoder import AutoencoderConfig
from models.base import DenoiserConfig
from models.pixel_shuffle_transformer import PixelShuffleTransformerConfig
from models.two_stage_transformer import TwoStageTransformerConfig
from models.wave_unet import WaveUNetConfig
from models.wave_unet_transformer import WaveUNetTransformerConfig
from objectives.losses import PeakL1Config
from training.checkpoint import load_weights
from training.config import FitConfig, RunConfig, read_run
from training.device import arithmetic, resolve_device
from training.evaluation.estimate import estimate_held_out
from training.evaluation.intervals import bootstrap_mean
from training.evaluation.scores import classical_rows, values_by_window
from training.report import shown_snr
from training.schedule import OptimiserConfig, ScheduleConfig
from training.trainer import WEIGHTS, train

SCORES = ("si_sdr_db", "event_f1", "hr_within_5_bpm")
SPLITS = ("test", "validation")
OURS = "Drivebeat"
_UNET: Mapping[str, Any] = MappingProxyType(
    {"width": 24, "kernel_down": 15, "kernel_up": 5, "norm": "batch", "activation": "leaky_relu"}
)
_HEADS: Mapping[str, Any] = MappingProxyType(
    {"nhead": 8, "feed_forward": 2048, "entry": "attention", "encoder_layers": 2}
)


@dataclass(frozen=True, slots=True)
class Lab:
    """A model of the lab's and the fixed gain it learns at: 0.5 worked best in their notes, 1.8 is -5 dB."""

    name: str
    model: DenoiserConfig
    gain: float = 0.5


LAB = (
    Lab("autoencoder", AutoencoderConfig(levels=4, width=16, kernel=3, norm="none")),
    Lab(
        "pixel-shuffle Transformer",
        PixelShuffleTransformerConfig(
            levels=4, width=16, kernel=3, norm="none", encoder_layers=1, nhead=8, feed_forward=2048
        ),
    ),
    Lab("Wave-U-Net", WaveUNetConfig(levels=10, **_UNET)),
    Lab("Wave-U-Net at -5 dB", WaveUNetConfig(levels=10, **_UNET), gain=1.8),
    Lab("Wave-U-Net Transformer", WaveUNetTransformerConfig(levels=10, **_UNET, **_HEADS)),
    Lab("two-stage Transformer", TwoStageTransformerConfig(levels=7, time_steps=40, time_heads=20, **_UNET, **_HEADS)),
)
QUICK = Lab("autoencoder", AutoencoderConfig(levels=2, width=4, kernel=3, norm="none"))


@dataclass(frozen=True, slots=True)
class Job:
    """One training: its document, its minutes of one thread, and where its scores go."""

    name: str
    run: RunConfig
    minutes: float
    path: Path


def lab_run(lab: Lab, ours: RunConfig, seed: int) -> RunConfig:
    """The lab's way of training `lab` on the recordings of `ours` that somebody recorded, its first channel only."""
    data = ours.data
    factor = round(1000 / data.rate_hz)
    lab_data = DataConfig(
        clean=_recorded(data.clean),
        noise=_recorded(data.noise),
        rate_hz=data.rate_hz * factor,
        band_hz=data.band_hz,
        window_samples=data.window_samples * factor,
        stride_samples=data.stride_samples * factor,
        randomiser="phase_random",
        split=data.split,
        validation=data.validation,
        test=data.test,
    )
    return RunConfig(
        data=lab_data,
        model=lab.model,
        loss=PeakL1Config(peak_weight=0.25),
        optimiser=OptimiserConfig(learning_rate=1e-4, warmup_share=0.0, decay="none"),
        schedule=ScheduleConfig(gain=lab.gain, gain_ramp="none"),
        fit=FitConfig(batch_size=min(64, ours.fit.batch_size * 4), seed=seed),
    )


def _recorded(sources: Sequence[Source]) -> tuple[Source, ...]:
    kept = [s for s in sources if not all("generated" in file for file in s.files)]
    return tuple(dataclasses.replace(s, channels=s.channels[:1]) for s in kept)


def jobs(ours: RunConfig, labs: Sequence[Lab], minutes: float, seed: int, out: Path) -> list[Job]:
    """Ours first, then the lab's."""
    runs = {OURS: dataclasses.replace(ours, fit=dataclasses.replace(ours.fit, seed=seed))}
    runs |= {lab.name: lab_run(lab, ours, seed) for lab in labs}
    one_thread = {
        name: dataclasses.replace(run, fit=dataclasses.replace(run.fit, threads=1, device="cpu"))
        for name, run in runs.items()
    }
    return [Job(name, run, minutes, out / f"{name}.npz") for name, run in one_thread.items()]


def perform(job: Job) -> str:
    """Train one model and keep what it scored on either split; its name."""
    corpus = load(job.run.data)
    # Of one epoch, the best weights are the last ones.
    run = with_budget(job.run, 60 * job.minutes, corpus, EPOCHS if job.name == OURS else 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in train(run, corpus, folder):
            pass
        device = resolve_device("cpu")
        kept: dict[str, NDArray[Any]] = {}
        with arithmetic(run.fit.seed, device, 1):
            model = run.build_model(corpus.n_channels)
            load_weights(model, folder / WEIGHTS)
            for split in SPLITS:
                mixture = mixture_of(corpus, run.data, split)
                estimates = estimate_held_out(model, mixture, device, run.fit.batch_size)
                kept |= scores_of(mixture, estimates, split)
    with job.path.with_suffix(".part").open("wb") as file:
        np.savez(file, allow_pickle=False, **kept)
    job.path.with_suffix(".part").replace(job.path)
    return f"{job.name}: {(run.fit.steps_per_epoch or 0) * run.fit.epochs} steps of {run.fit.batch_size}"


def mixture_of(corpus: Corpus, data: DataConfig, split: str) -> HeldOut:
    """The held-out mixture of a split."""
    return held_out(corpus.splits[split], data, data.test if split == "test" else data.validation)


def scores_of(mixture: HeldOut, estimates: NDArray[np.float32], split: str) -> dict[str, NDArray[Any]]:
    """Scores float64[snr, window] by "split/score", and the recording of each window."""
    found: dict[str, NDArray[Any]] = {f"{split}/{s}": values_by_window(s, mixture, estimates) for s in SCORES}
    return found | {f"{split}/recording": mixture.recording, f"{split}/snr_db": np.array(mixture.snrs_db)}


def table(results: Mapping[str, Mapping[str, NDArray[Any]]], split: str) -> str:
    """Markdown: a line for each method, the mean and the interval that draws recordings at each SNR."""
    first = next(iter(results.values()))
    snrs = first[f"{split}/snr_db"]
    lines = [
        "| method | "
        + " | ".join(f"SI-SDR dB at {shown_snr(snr)} dB" for snr in snrs)
        + " | event F1 | heart rate < 5 bpm |",
        "|" + "---|" * (len(snrs) + 3),
    ]
    for name, found in results.items():
        recording = found[f"{split}/recording"]
        if not np.array_equal(recording, first[f"{split}/recording"]):
            raise ValueError(f"{name}: other windows than those of {next(iter(results))}; the table would not compare")
        cells = []
        for values in found[f"{split}/si_sdr_db"]:
            interval = bootstrap_mean(values, recording)
            cells.append(f"{interval.mean:.1f} ({interval.low:.1f} ... {interval.high:.1f})")
        cells += [" / ".join(f"{np.nanmean(at):.2f}" for at in found[f"{split}/{score}"]) for score in SCORES[1:]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("search/studies/best_known_5s.yaml"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of one CPU thread, for every model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one tiny model of the lab's way, two seconds each")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(argv)
    asked.output.mkdir(parents=True, exist_ok=True)
    minutes = 2 / 60 if asked.quick else asked.minutes
    ours = read_run(asked.run)
    wanted = jobs(ours, (QUICK,) if asked.quick else LAB, minutes, asked.seed, asked.output)
    settings = json.dumps({"run": asked.run.read_text(), "minutes": minutes, "seed": asked.seed})
    settings_file = asked.output / "settings.json"
    if settings_file.exists() and settings_file.read_text() != settings:
        parser.error(f"{asked.output} holds models of other settings; name another folder with -o")
    settings_file.write_text(settings)
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start: torch reads it as it is imported
    with multiprocessing.get_context("spawn").Pool(asked.processes, maxtasksperchild=1) as pool:
        for line in pool.imap_unordered(perform, [job for job in wanted if not job.path.exists()]):
            print(line, file=sys.stderr, flush=True)
    results: dict[str, dict[str, NDArray[Any]]] = {job.name: dict(np.load(job.path)) for job in wanted}
    corpus = load(ours.data)
    for split in SPLITS:
        mixture = mixture_of(corpus, ours.data, split)
        for method, estimates in classical_rows(mixture, ours.data.band_hz).items():
            results.setdefault(method, {}).update(scores_of(mixture, estimates, split))
    for split in SPLITS:
        print(f"\n{split} mixture, {minutes:g} min of one thread each\n\n{table(results, split)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
