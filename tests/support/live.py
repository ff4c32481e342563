"""A small causal denoiser, and signals that arrive at it in parts."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.config import DataConfig
from models.live import LiveConfig
from models.tcn_mask import TcnMaskConfig
from training.denoising.denoise import Denoiser
from training.live.heart import Second
from training.live.intake import Intake
from training.live.rows import Notes
from training.live.session import (
    Session,
    of_bytes,
    reader_of,
)

RATE_HZ = 250.0
TCN = TcnMaskConfig(stride=4, filters=16, width=8, hidden=16, blocks=2, repeats=1)


def causal_denoiser(make_run: Callable[..., object], data: DataConfig) -> Denoiser:
    """A small causal model of two channels, z and x."""
    named = tuple(dataclasses.replace(source, channels=("z", "x")) for source in data.noise)
    run = make_run(model=TCN, data=dataclasses.replace(data, noise=named, band_phase="minimum"))
    run = dataclasses.replace(run, live=LiveConfig(causal=True, past_s=1.0))  # type: ignore[type-var]
    torch.manual_seed(0)
    return Denoiser(run, run.build_model(2).eval(), "cpu")  # type: ignore[attr-defined,arg-type]


def signals(seconds: float, seed: int = 0) -> NDArray[np.float64]:
    return 9.81 + np.random.default_rng(seed).standard_normal((2, round(seconds * RATE_HZ)))


def table(values: NDArray[np.float64], times_s: NDArray[np.float64] | None = None, head: str = "time_s,z,x") -> bytes:
    times_s = np.arange(values.shape[1]) / RATE_HZ if times_s is None else times_s
    rows = [f"{t:.6f},{z:.8f},{x:.8f}" for t, (z, x) in zip(times_s, values.T, strict=True)]
    return "\n".join([head, *rows, ""]).encode()


def ran(
    denoiser: Denoiser, content: bytes, n: int, rate_hz: float | None = None, output: Path | None = None
) -> tuple[list[Second], Notes, Intake]:
    """Feed `content` in parts of `n` bytes; the reports, all that was said, and the intake."""
    notes = Notes()
    intake = Intake(("z", "x"), rate_hz, notes)
    reader = reader_of(denoiser, "csv", ("z", "x"), notes)
    parts = (content[i : i + n] for i in range(0, len(content), n))
    with Session(denoiser, intake, output) as session:
        found = [second for rows in of_bytes(parts, reader, lambda: False) for second in session.feed(rows)]
        found += session.end()
    return found, notes, intake


def said(found: list[Second]) -> str:
    return "\n".join(note for second in found for note in second.notes)


def estimate_in(path: Path) -> NDArray[np.float64]:
    with path.open() as file:
        return np.array([float(row["estimate"]) for row in csv.DictReader(file)])
