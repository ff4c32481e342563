"""Precisions: said by every report, never on unasked, refused where a device has none, their state kept."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from data.corpus import Corpus
from training.checkpoint import load_checkpoint
from training.config import FitConfig, RunConfig, write_run
from training.device import arithmetic, check_precision, precision_on
from training.errors import ConfigError
from training.learner import Learner, build_learner
from training.report import EpochReport
from training.runs import evaluate_folder, override, train_to_folder
from training.trainer import CHECKPOINT, train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Quiet = Callable[[], Console]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_precision_is_fp32_unless_asked_for_and_every_report_says_it(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    assert FitConfig().precision == "fp32"
    for precision in ("fp32", "bf16"):
        got = reports(make_run(precision=precision, epochs=1), corpus, tmp_path / precision)
        assert [report.precision for report in got] == [precision]


def test_fp32_computes_in_fp32_throughout(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """And bf16 does not: the products of the forward pass are seen where they are made."""
    seen: dict[str, set[torch.dtype]] = {"fp32": set(), "bf16": set()}
    for precision, dtypes in seen.items():
        convolve = torch.nn.Conv1d.forward

        def noted(self: Any, x: torch.Tensor, *, to: Any = dtypes, call: Any = convolve) -> torch.Tensor:
            y: torch.Tensor = call(self, x)
            to.add(y.dtype)
            return y

        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.Conv1d, "forward", noted)
            reports(make_run(precision=precision, epochs=1), corpus, tmp_path / precision)
    assert seen == {"fp32": {torch.float32}, "bf16": {torch.bfloat16}}


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_precision_that_only_cuda_has_is_refused_on_the_cpu_before_anything_is_written(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, precision: str, quiet: Quiet
) -> None:
    run = make_run(precision=precision, device="cpu")
    for begin in (
        lambda: next(train(run, corpus, tmp_path / "r")),
        lambda: train_to_folder(run, tmp_path / "r", {}, [], quiet()),
    ):
        with pytest.raises(ConfigError, match=f"precision is '{precision}', which needs a CUDA device.*fp32 or bf16"):
            begin()
    assert not (tmp_path / "r").exists()


def test_a_run_trained_in_fp16_is_judged_on_the_cpu_in_fp32(make_run: MakeRun, tmp_path: Path, quiet: Quiet) -> None:
    folder = tmp_path / "r"
    run = make_run(epochs=1)
    train_to_folder(run, folder, {}, [], quiet())
    write_run(override(run, precision="fp16", device="cpu"), folder / "run.yaml")
    rows = evaluate_folder(folder, None, tmp_path / "out", "test", 1, quiet())
    assert all(math.isfinite(row.scores["si_sdr_db"]) for row in rows)


@pytest.mark.parametrize(
    ("device", "precision", "used"),
    [
        (CPU, "bf16", "bf16"),
        (CPU, "fp16", "fp32"),
        (CPU, "tf32", "fp32"),
        (CUDA, "fp16", "fp16"),
        (CUDA, "tf32", "tf32"),
    ],
)
def test_estimates_use_the_run_s_precision_where_the_device_has_it(
    device: torch.device, precision: str, used: str
) -> None:
    assert precision_on(device, precision) == used
    if device == CUDA:
        check_precision(device, precision)


def test_arithmetic_on_the_cpu_leaves_tf32_as_the_caller_has_it() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with arithmetic(0, CPU, 1, "tf32"):
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_tf32_is_on_for_tf32_alone_and_restored(precision: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with arithmetic(0, CUDA, None, precision):
        inside = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    assert inside == (precision == "tf32",) * 2
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "tf32", "bf16"])
def test_every_precision_trains_on_cuda_near_fp32(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, precision: str, reports: Reports
) -> None:
    plain, other = (reports(make_run(precision=p, device="cuda"), corpus, tmp_path / p) for p in ("fp32", precision))
    assert other[-1].score == pytest.approx(plain[-1].score, abs=1.5)
    state = load_checkpoint(tmp_path / precision / CHECKPOINT, CUDA)
    assert ("scaler" in state) == (precision == "fp16")


def _scaled(run: RunConfig) -> Learner:
    """A learner on the CPU with a loss scaler at work, as fp16 has it on CUDA."""
    with arithmetic(0, CPU, 1):
        learner = build_learner(run, run.build_model(1), CPU, starts_anew=True)
    return dataclasses.replace(learner, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))


def _steps(run: RunConfig, learner: Learner, first: int, n_steps: int) -> None:
    for step in range(first, first + n_steps):
        noisy = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(step))
        learner.step(run, learner.model(noisy).square().mean(), step, 8)


def test_a_scaled_loss_takes_the_very_same_steps(make_run: MakeRun) -> None:
    """A power of two scales without rounding, and the gradient is unscaled before it is clipped."""
    run = make_run()
    with arithmetic(0, CPU, 1):
        plain = build_learner(run, run.build_model(1), CPU, starts_anew=True)
    scaled = _scaled(run)
    for learner in (plain, scaled):
        _steps(run, learner, 0, 4)
    mine, other = plain.model.state_dict(), scaled.model.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_loss_scaler_s_state_is_kept_and_put_back(make_run: MakeRun) -> None:
    """A gradient that overflows halves the scale and moves nothing; a resumed learner knows of it."""
    run = make_run()
    one = _scaled(run)
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    one.step(run, one.model(torch.ones(2, 1, 64)).square().mean() * 1e38, 0, 8)
    assert one.scaler.get_scale() == 2.0**9
    assert all(torch.equal(p, before[name]) for name, p in one.model.named_parameters())
    other = _scaled(run)
    other.load(one.state())
    assert other.scaler.get_scale() == 2.0**9
    assert "scaler" in one.state()
