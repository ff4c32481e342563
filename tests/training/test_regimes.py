"""Ways to train: early stopping, pretraining on clean signals, checkpoints of earlier versions."""

import json
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

import training.checkpoint
import training.trainer
from data.corpus import Corpus
from data.mixing.mixture import Mixture
from models import DENOISERS
from objectives.losses import LOSSES
from training.checkpoint import load_checkpoint
from training.config import FitConfig, RunConfig
from training.lineage import start_from
from training.report import EpochReport
from training.runs import train_to_folder
from training.schedule import ScheduleConfig
from training.trainer import CHECKPOINT, train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Quiet = Callable[[], Console]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def deal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Deal the scores of the epochs to come."""

    def scores(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": next(left)})

    return scores


def test_a_run_ends_after_as_many_epochs_without_a_better_score_as_it_has_patience(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None], reports: Reports
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
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None], reports: Reports
) -> None:
    deal(1.0, 0.0)  # and not one more
    run = make_run(epochs=4, steps_per_epoch=1, patience=1, schedule=ScheduleConfig(gain_ramp="none"))
    whole = reports(run, corpus, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    assert reports(run, corpus, tmp_path) == whole
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_run_cut_on_its_way_to_the_stop_stops_at_the_same_epoch(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None], reports: Reports
) -> None:
    run = make_run(epochs=6, steps_per_epoch=1, patience=2, schedule=ScheduleConfig(gain_ramp="none"))
    deal(1.0, 0.5, 0.4)
    whole = reports(run, corpus, tmp_path / "whole")
    deal(1.0, 0.5, 0.4)
    first = train(run, corpus, tmp_path / "cut")
    next(first), next(first)
    first.close()
    assert reports(run, corpus, tmp_path / "cut") == whole


def test_patience_begins_where_the_ramps_end(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, deal: Callable[..., None], reports: Reports
) -> None:
    """On easy mixtures scores fall as they harden; that is no reason to stop."""
    deal(9.0, 8.0, 7.0, 1.0, 0.5)
    run = make_run(epochs=8, steps_per_epoch=1, patience=1, schedule=ScheduleConfig(gain_ramp_share=0.4))
    got = reports(run, corpus, tmp_path)
    assert [r.best_epoch for r in got] == [None, None, None, 3, 3]
    assert got[-1].last


def test_the_folder_s_owner_is_told_why_training_ended(
    make_run: MakeRun, tmp_path: Path, deal: Callable[..., None], quiet: Quiet
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
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, model: str, loss: str, reports: Reports
) -> None:
    """For the identity every loss is at its least, where a ratio may have nothing to divide by."""
    config = DENOISERS[model](**({"levels": 2, "width": 4} if model == "autoencoder" else {}))
    run = make_run(epochs=1, model=config, loss=LOSSES[loss](), schedule=ScheduleConfig(gain=0.0))
    (report,) = reports(run, corpus, tmp_path)
    assert math.isfinite(report.loss)
    assert all(math.isfinite(value) for value in report.by_snr.values())


def test_an_infinite_training_snr_goes_through_checkpoint_and_history(
    make_run: MakeRun, tmp_path: Path, quiet: Quiet
) -> None:
    """Without noise the SNR is infinite, for which JSON has no number: null."""
    run = make_run(epochs=2, schedule=ScheduleConfig(gain=0.0))
    train_to_folder(run, tmp_path / "r", {}, ["jsonl"], quiet())
    lines = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    assert [line["snr_db"] for line in lines] == [None, None]
    stored = json.loads(load_checkpoint(tmp_path / "r" / CHECKPOINT, CPU)["reports"])
    assert [report["snr_db"] for report in stored] == [math.inf, math.inf]


def test_pretrained_on_clean_signals_then_trained_on_noise(make_run: MakeRun, tmp_path: Path, quiet: Quiet) -> None:
    """The notes' way, as two runs of one chain."""
    before = make_run(schedule=ScheduleConfig(gain=0.0))
    train_to_folder(before, tmp_path / "a", {}, [], quiet())
    after = start_from(make_run(), tmp_path / "a", partial=False)
    assert math.isfinite(train_to_folder(after, tmp_path / "b", {}, [], quiet()))
    assert [ancestor.score for ancestor in after.init.lineage] == ["si_sdr_db"]


def test_a_checkpoint_of_before_these_fields_goes_on(
    run: RunConfig, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """What an earlier version wrote lacks fields that have a default since: the run and its reports are the same."""
    whole = reports(run, corpus, tmp_path / "whole")
    first = train(run, corpus, tmp_path / "old")
    next(first)
    first.close()

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
