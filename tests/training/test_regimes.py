"""Ways to train: early stopping, pretraining on clean signals, precisions."""

import dataclasses
import json
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import training.checkpoint
import training.trainer
from data.corpus import Corpus
from data.mixture import Mixture
from models import DENOISERS
from objectives.losses import LOSSES
from training.checkpoint import load_checkpoint
from training.config import FitConfig, RunConfig, write_run
from training.decode import ConfigError
from training.device import arithmetic, check_precision, precision_on
from training.learner import Learner, build_learner
from training.lineage import start_from
from training.report import EpochReport
from training.runs import evaluate_folder, override, train_to_folder
from training.schedule import ScheduleConfig
from training.trainer import CHECKPOINT, train

MakeRun = Callable[..., RunConfig]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def reports(run: RunConfig, corpus: Corpus, folder: Path) -> list[EpochReport]:
    """All reports, without the seconds, which no two runs share."""
    return [dataclasses.replace(report, seconds=0.0) for report in train(run, corpus, folder)]


def quiet() -> Console:
    return Console(file=StringIO(), width=100)


@pytest.fixture
def deal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Deal the scores of the epochs to come."""

    def scores(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": next(left)})

    return scores


def test_a_run_ends_after_as_many_epochs_without_a_better_score_as_it_has_patience(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None]
) -> None:
    """A better score begins the count anew; an equal one does not."""
    deal(1.0, 0.5, 2.0, 2.0, 1.9, 5.0)
    run = make_run(epochs=6, steps_per_epoch=1, patience=2, schedule=ScheduleConfig(gain_ramp="none"))
    got = reports(run, corpus, tmp_path)
    assert [r.score for r in got] == [1.0, 0.5, 2.0, 2.0, 1.9]
    assert [r.last for r in got] == [False] * 4 + [True]
    assert got[-1].stopped == "no better si_sdr_db in 2 epochs"
    assert (got[-1].best_score, got[-1].best_epoch, got[-1].n_epochs) == (2.0, 2, 6)


def test_a_stopped_run_tells_the_same_reports_again_and_stays_stopped(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None]
) -> None:
    deal(1.0, 0.0)  # and not one more
    run = make_run(epochs=4, steps_per_epoch=1, patience=1, schedule=ScheduleConfig(gain_ramp="none"))
    whole = reports(run, corpus, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    assert reports(run, corpus, tmp_path) == whole
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_run_cut_on_its_way_to_the_stop_stops_at_the_same_epoch(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None]
) -> None:
    run = make_run(epochs=6, steps_per_epoch=1, patience=2, schedule=ScheduleConfig(gain_ramp="none"))
    deal(1.0, 0.5, 0.4)
    whole = reports(run, corpus, tmp_path / "whole")
    deal(1.0, 0.5, 0.4)
    first = train(run, corpus, tmp_path / "cut")
    next(first), next(first)
    first.close()  # type: ignore[attr-defined]
    assert reports(run, corpus, tmp_path / "cut") == whole


def test_patience_begins_where_the_ramps_end(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None]
) -> None:
    """On easy mixtures scores fall as they harden; that is no reason to stop."""
    deal(9.0, 8.0, 7.0, 1.0, 0.5)
    run = make_run(epochs=8, steps_per_epoch=1, patience=1, schedule=ScheduleConfig(gain_ramp_share=0.4))
    got = reports(run, corpus, tmp_path)
    assert [r.best_epoch for r in got] == [None, None, None, 3, 3]
    assert got[-1].last


def test_the_folder_s_owner_is_told_why_training_ended(
    make_run: MakeRun, tmp_path: Path, deal: Callable[..., None]
) -> None:
    deal(1.0, 0.0)
    console = quiet()
    run = make_run(epochs=4, steps_per_epoch=1, patience=1, schedule=ScheduleConfig(gain_ramp="none"))
    assert train_to_folder(run, tmp_path / "r", {}, ["jsonl"], console) == 1.0
    assert isinstance(console.file, StringIO)
    assert "stopped after epoch 2: no better si_sdr_db in 1 epochs" in console.file.getvalue()
    last = json.loads((tmp_path / "r" / "history.jsonl").read_text().splitlines()[-1])
    assert last["stopped"] == "no better si_sdr_db in 1 epochs"


def test_a_patience_of_none_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="patience is 0; at least 1 is needed"):
        FitConfig(patience=0)


def test_at_gain_0_the_mixture_is_the_clean_signal(make_run: MakeRun, corpus: Corpus) -> None:
    for mixing in (True, False):
        generator = torch.Generator().manual_seed(0)
        mixture = Mixture(corpus.splits["train"], make_run().data, CPU)
        (batch,) = mixture.epoch(1, 4, generator, gain=0.0, spread_db=12.0, per_window=mixing)
        assert torch.equal(batch.noisy, batch.clean)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ["identity", "autoencoder"])
def test_pretraining_at_gain_0_is_finite_under_every_loss(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, model: str, loss: str
) -> None:
    """For the identity every loss is at its least, where a ratio may have nothing to divide by."""
    config = DENOISERS[model](**({"levels": 2, "width": 4} if model == "autoencoder" else {}))
    run = make_run(epochs=1, model=config, loss=LOSSES[loss](), schedule=ScheduleConfig(gain=0.0))
    (report,) = reports(run, corpus, tmp_path)
    assert math.isfinite(report.loss)
    assert all(math.isfinite(value) for value in report.by_snr.values())


def test_an_infinite_training_snr_goes_through_checkpoint_and_history(make_run: MakeRun, tmp_path: Path) -> None:
    """Without noise the SNR is infinite, for which JSON has no number: null."""
    run = make_run(epochs=2, schedule=ScheduleConfig(gain=0.0))
    train_to_folder(run, tmp_path / "r", {}, ["jsonl"], quiet())
    lines = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    assert [line["snr_db"] for line in lines] == [None, None]
    stored = json.loads(load_checkpoint(tmp_path / "r" / CHECKPOINT, CPU)["reports"])
    assert [report["snr_db"] for report in stored] == [math.inf, math.inf]


def test_pretrained_on_clean_signals_then_trained_on_noise(make_run: MakeRun, tmp_path: Path) -> None:
    """The notes' way, as two runs of one chain."""
    before = make_run(schedule=ScheduleConfig(gain=0.0))
    train_to_folder(before, tmp_path / "a", {}, [], quiet())
    after = start_from(make_run(), tmp_path / "a", partial=False)
    assert math.isfinite(train_to_folder(after, tmp_path / "b", {}, [], quiet()))
    assert [ancestor.score for ancestor in after.init.lineage] == ["si_sdr_db"]


def test_precision_is_fp32_unless_asked_for_and_every_report_says_it(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path
) -> None:
    assert FitConfig().precision == "fp32"
    for precision in ("fp32", "bf16"):
        got = reports(make_run(precision=precision, epochs=1), corpus, tmp_path / precision)
        assert [report.precision for report in got] == [precision]


def test_fp32_computes_in_fp32_throughout(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, precision: str
) -> None:
    run = make_run(precision=precision, device="cpu")
    for begin in (
        lambda: next(train(run, corpus, tmp_path / "r")),
        lambda: train_to_folder(run, tmp_path / "r", {}, [], quiet()),
    ):
        with pytest.raises(ConfigError, match=f"precision is '{precision}', which needs a CUDA device.*fp32 or bf16"):
            begin()
    assert not (tmp_path / "r").exists()


def test_a_run_trained_in_fp16_is_judged_on_the_cpu_in_fp32(make_run: MakeRun, tmp_path: Path) -> None:
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
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, precision: str
) -> None:
    plain, other = (reports(make_run(precision=p, device="cuda"), corpus, tmp_path / p) for p in ("fp32", precision))
    assert other[-1].score == pytest.approx(plain[-1].score, abs=1.5)
    state = load_checkpoint(tmp_path / precision / CHECKPOINT, CUDA)
    assert ("scaler" in state) == (precision == "fp16")


def test_a_checkpoint_of_before_these_fields_goes_on(
    run: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier version wrote lacks fields that have a default since: the run and its reports are the same."""
    whole = reports(run, corpus, tmp_path / "whole")
    first = train(run, corpus, tmp_path / "old")
    next(first)
    first.close()  # type: ignore[attr-defined]

    state = load_checkpoint(tmp_path / "old" / CHECKPOINT, CPU)
    document = json.loads(state["run"])
    for name in ("ema_decay", "patience"):
        del document["fit"][name]
    del document["schedule"]["gain_hold_share"]
    (report,) = json.loads(state["reports"])
    for name in ("precision", "output_db", "input_likeness", "collapsed", "stopped"):
        del report[name]
    state |= {"run": json.dumps(document), "reports": json.dumps([report])}
    training.checkpoint.save_checkpoint(state, tmp_path / "old" / CHECKPOINT)

    got = reports(run, corpus, tmp_path / "old")
    assert got[1:] == whole[1:]
    assert got[0].score == whole[0].score
    assert got[0].output_db is None


def _scaled(run: RunConfig) -> Learner:
    """A learner on the CPU with a loss scaler at work, as fp16 has it on CUDA."""
    with arithmetic(0, CPU, 1):
        learner = build_learner(run, 1, CPU, begins=True)
    return dataclasses.replace(learner, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))


def _steps(run: RunConfig, learner: Learner, first: int, n_steps: int) -> None:
    for step in range(first, first + n_steps):
        noisy = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(step))
        learner.step(run, learner.model(noisy).square().mean(), step, 8)


def test_a_scaled_loss_takes_the_very_same_steps(make_run: MakeRun) -> None:
    """A power of two scales without rounding, and the gradient is unscaled before it is clipped."""
    run = make_run()
    with arithmetic(0, CPU, 1):
        plain = build_learner(run, 1, CPU, begins=True)
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
