"""Silence and copies of the input are caught within two validations, and nothing else is."""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from data.corpus import Corpus
from data.mixing.mixture import HeldOut, held_out
from models import DENOISERS
from models.base import DenoiserConfig
from objectives.losses import PeakL1Config
from training.config import RunConfig
from training.report import EpochReport, collapse_of, measure_output
from training.runs import train_to_folder
from training.schedule import OptimiserConfig, ScheduleConfig
from training.trainer import train

MakeRun = Callable[..., RunConfig]


class Stuck(nn.Module):
    """Its input times a weight that no gradient moves."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy[:, :1] * (self.factor + 0 * self.weight)


@dataclass(frozen=True, slots=True)
class StuckConfig(DenoiserConfig):
    name: ClassVar[str] = "stuck"
    factor: float = 1.0

    def build(self, n_channels: int = 1) -> nn.Module:
        return Stuck(self.factor)


@pytest.fixture
def stuck(make_run: MakeRun) -> Callable[[float], RunConfig]:
    """A run of a model stuck at its input times a factor: 50 steps an epoch, so judged from the second epoch on."""
    return lambda factor: make_run(
        model=StuckConfig(factor), epochs=4, steps_per_epoch=50, schedule=ScheduleConfig(gain=1.0, gain_ramp="none")
    )


@pytest.fixture
def mixture(corpus: Corpus, make_run: MakeRun) -> HeldOut:
    """The validation mixture at -5 and 0 dB."""
    return held_out(corpus.splits["validation"], make_run().data, make_run().data.validation)


def test_output_level_and_likeness_by_their_closed_forms(mixture: HeldOut) -> None:
    """Clean x 0.1 is -20 dB; where noise and clean are about orthogonal it is as like the noisy signal as
    sqrt(s / (1 + s)) at an SNR of s, least at the lowest: s = 10^-0.5 at -5 dB."""
    clean = np.broadcast_to(mixture.clean, (2, *mixture.clean.shape))
    output = measure_output((0.1 * clean).astype(np.float32), mixture)
    assert output.output_db == pytest.approx(-20, abs=1e-4)
    s = 10**-0.5
    assert output.input_likeness == pytest.approx((s / (1 + s)) ** 0.5, abs=0.08)


@pytest.mark.parametrize("factor", [1.0, -3.0, 1e-3])
def test_a_copy_is_one_at_any_level_and_polarity(mixture: HeldOut, factor: float) -> None:
    output = measure_output(np.array(factor * mixture.noisy[:, :, 0], dtype=np.float32), mixture)
    assert output.input_likeness == pytest.approx(1.0, abs=1e-6)


def test_zeros_are_silent_and_like_nothing(mixture: HeldOut) -> None:
    output = measure_output(np.zeros_like(mixture.noisy[:, :, 0]), mixture)
    assert (output.output_db, output.input_likeness) == (-60.0, 0.0)


def test_a_copy_at_one_snr_only_is_no_copy(mixture: HeldOut) -> None:
    """At a high SNR the best of denoisers gives back nearly what it gets."""
    estimates = np.array(mixture.noisy[:, :, 0])
    estimates[0] = mixture.clean
    assert measure_output(estimates, mixture).input_likeness < 0.8


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (0.0, "output fell to silence (60 dB or more under the clean signal)"),
        (2e-3, "output fell to silence ("),
        (1.0, "output copies the input (correlation 1.0000 or more at every SNR)"),
        (0.1, "output copies the input"),
    ],
)
def test_a_stuck_model_is_caught_at_the_second_validation_that_counts(
    stuck: Callable[[float], RunConfig], corpus: Corpus, tmp_path: Path, factor: float, reason: str
) -> None:
    got = [report.collapsed for report in train(stuck(factor), corpus, tmp_path)]
    assert got[:2] == ["", ""]
    assert got[2].startswith(reason)
    assert got[3] == got[2]


def test_plain_l1_with_a_huge_weight_decay_falls_silent_and_is_caught(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path
) -> None:
    """The notes' collapse: on a hopeless mixture nothing is the least L1, and decay leads there."""
    run = make_run(
        model=DENOISERS["autoencoder"](levels=2, width=4, kernel=5),  # type: ignore[call-arg]
        loss=PeakL1Config(0.0),
        epochs=4,
        steps_per_epoch=60,
        schedule=ScheduleConfig(gain=30.0, gain_spread_db=0.0, gain_ramp="none"),
        optimiser=OptimiserConfig(learning_rate=1e-2, weight_decay=20.0, decay="none"),
    )
    got = list(train(run, corpus, tmp_path))
    first_silent = next(r.epoch for r in got if r.output_db is not None and r.output_db < -40)
    first_caught = next(r.epoch for r in got if r.collapsed)
    assert first_caught - max(first_silent, 1) == 1
    assert "silence" in got[first_caught].collapsed


@pytest.mark.parametrize("model", ["autoencoder", "tf_mask"])
def test_a_healthy_run_is_never_flagged(make_run: MakeRun, corpus: Corpus, tmp_path: Path, model: str) -> None:
    """At the least learning rate of the ranges, tf_mask beginning near its input."""
    small = {"levels": 2, "width": 4} if model == "autoencoder" else {}
    run = make_run(
        model=DENOISERS[model](**small),
        epochs=8,
        steps_per_epoch=20,
        optimiser=OptimiserConfig(learning_rate=1e-4),
        schedule=ScheduleConfig(gain=1.0),
    )
    got = list(train(run, corpus, tmp_path))
    assert [report.collapsed for report in got] == [""] * 8
    assert all(r.output_db is not None and r.output_db > -20 for r in got)


def test_the_identity_is_its_input_by_design(make_run: MakeRun, corpus: Corpus, tmp_path: Path) -> None:
    run = make_run(model=DENOISERS["identity"](), epochs=4, steps_per_epoch=60)
    got = list(train(run, corpus, tmp_path))
    assert got[-1].input_likeness == pytest.approx(1.0, abs=1e-6)
    assert {report.collapsed for report in got} == {""}


def test_a_copy_is_right_while_training_is_on_clean_signals(
    stuck: Callable[[float], RunConfig], corpus: Corpus, tmp_path: Path
) -> None:
    for name, schedule in (
        ("pretraining", ScheduleConfig(gain=0.0)),
        ("hold", ScheduleConfig(gain=1.0, gain_start=0.0, gain_hold_share=0.99, gain_ramp="none")),
    ):
        run = dataclasses.replace(stuck(1.0), schedule=schedule)
        assert {report.collapsed for report in train(run, corpus, tmp_path / name)} == {""}


def reports(
    run: RunConfig, *outputs: tuple[float, float], snr_db: float = 0.0, n_steps: int = 100
) -> list[EpochReport]:
    """Reports of epochs with the given (output_db, input_likeness)."""
    base = EpochReport(
        epoch=0,
        n_epochs=run.fit.epochs,
        loss=1.0,
        score=0.0,
        by_snr={},
        best_score=None,
        best_epoch=None,
        learning_rate=1e-3,
        gain=1.0,
        peak_share=1.0,
        snr_db=snr_db,
        n_windows=n_steps * run.fit.batch_size,
        seconds=0.0,
    )
    return [
        dataclasses.replace(base, epoch=i, output_db=db, input_likeness=likeness)
        for i, (db, likeness) in enumerate(outputs)
    ]


@pytest.mark.parametrize(
    ("before", "now", "caught"),
    [
        ((-50.0, 0.0), (-50.0, 0.0), "silence"),
        ((-50.0, 0.0), (-46.0, 0.0), ""),  # growing
        ((-39.0, 0.0), (-50.0, 0.0), ""),  # the first silent one
        ((0.0, 0.9995), (0.0, 0.9995), "copies"),
        ((0.0, 0.9998), (0.0, 0.9995), ""),  # leaving
        ((0.0, 1 - 5.9e-4), (0.0, 1 - 8.0e-4), ""),  # leaving slowly, as tf_mask does at gain 0.5
        ((0.0, 0.998), (0.0, 0.9999), ""),  # the first copy
        ((0.0, 1.0), (0.0, 1.0 - 1e-7), "copies"),  # rounding is no way out
    ],
)
def test_two_validations_in_a_row_decide_and_a_way_out_is_left(
    make_run: MakeRun, before: tuple[float, float], now: tuple[float, float], caught: str
) -> None:
    run = make_run(epochs=10)
    one, two = reports(run, before, now)
    assert (caught in collapse_of(run, two, one)) if caught else collapse_of(run, two, one) == ""
    assert collapse_of(run, two, None) == ""


def test_nothing_is_judged_in_the_warm_up_or_in_100_steps(make_run: MakeRun) -> None:
    silent = [(-60.0, 0.0)] * 8
    quick = make_run(epochs=8, optimiser=OptimiserConfig(warmup_share=0.0))
    got = reports(quick, *silent, n_steps=25)
    assert [bool(collapse_of(quick, b, a)) for a, b in itertools.pairwise(got)] == [False] * 3 + [True] * 4
    slow = make_run(epochs=8, optimiser=OptimiserConfig(warmup_share=0.5))
    got = reports(slow, *silent, n_steps=100)
    assert [bool(collapse_of(slow, b, a)) for a, b in itertools.pairwise(got)] == [False] * 3 + [True] * 4


def test_reports_of_before_there_was_a_measure_are_not_judged(make_run: MakeRun) -> None:
    run = make_run()
    one, two = (dataclasses.replace(r, output_db=None, input_likeness=None) for r in reports(run, (0, 0), (0, 0)))
    assert collapse_of(run, two, one) == ""


@pytest.mark.parametrize(("n_steps", "caught"), [(100, True), (99, False)])
def test_steps_are_counted_by_the_windows_that_a_batch_really_has(
    make_run: MakeRun, n_steps: int, caught: bool
) -> None:
    """Batches of 4 in groups of 3 have 3 windows; the first of both epochs must end after 100 steps or more."""
    run = make_run(batch_size=4, data=dataclasses.replace(make_run().data, batch_offsets=3, offset_samples=64))
    silent = [dataclasses.replace(r, n_windows=3 * n_steps) for r in reports(run, (-60.0, 0.0), (-60.0, 0.0))]
    assert bool(collapse_of(run, silent[1], silent[0])) == caught


@settings(max_examples=200)
@given(
    db=st.floats(-39.9, 100),
    likeness=st.floats(0, 0.999),
    db_before=st.floats(-60, 100),
    likeness_before=st.floats(0, 1),
)
def test_an_output_that_is_neither_faint_nor_a_copy_is_never_caught(
    db: float, likeness: float, db_before: float, likeness_before: float
) -> None:
    run = _plain_run()
    one, two = reports(run, (db_before, likeness_before), (db, likeness))
    assert collapse_of(run, two, one) == ""


def _plain_run() -> RunConfig:
    from data.config import DataConfig, Source
    from objectives.losses import NegSiSdrConfig

    data = DataConfig(clean=(Source(("a",)),), noise=(Source(("b",)),))
    return RunConfig(data=data, model=DENOISERS["identity"](), loss=NegSiSdrConfig())


def test_final_training_warns_once_and_goes_on(stuck: Callable[[float], RunConfig], tmp_path: Path) -> None:
    """A person asked for this run; the search prunes instead (search.worker.trial)."""
    console = Console(file=StringIO(), width=60)
    train_to_folder(stuck(0.0), tmp_path / "r", {}, ["jsonl"], console)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert text.count("warning: epoch 3: output fell to silence (60 dB or more under the clean signal)") == 1
    assert text.count("warning") == 1
    assert len((tmp_path / "r" / "history.jsonl").read_text().splitlines()) == 4
