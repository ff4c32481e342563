"""The moving average of weights: its closed form, what it judges and keeps, and that it resumes to the bit."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from data.corpus import Corpus
from models import DENOISERS
from training.checkpoint import load_checkpoint
from training.config import FitConfig, RunConfig
from training.ema import average_in, copy_of, ema_decay_at
from training.report import EpochReport
from training.schedule import ScheduleConfig
from training.trainer import CHECKPOINT, WEIGHTS, train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Equal = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]
CPU = torch.device("cpu")


def test_decay_warms_up_by_its_formula_and_stays_at_its_value() -> None:
    assert [ema_decay_at(0.9, step) for step in (0, 1, 8, 79, 80, 81, 10**6)] == [
        0.1,
        2 / 11,
        0.5,
        80 / 89,
        0.9,
        0.9,
        0.9,
    ]


def test_weights_at_the_begin_are_forgotten() -> None:
    """Without the warm-up a decay of 0.999 would leave 90 % of the random weights after 100 steps."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    averaged = copy_of(model)
    nn.init.zeros_(model.weight)
    for step in range(100):
        average_in(averaged, model, ema_decay_at(0.999, step))
    assert 0 < next(averaged.parameters()).item() < 1e-10


def test_the_average_is_the_weighted_sum_of_all_weights_and_buffers() -> None:
    """After values 1, 2, 3 at decay d: d^2 x 1 + d (1 - d) 2 + (1 - d) 3; BatchNorm's count of batches is copied."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1))
    states = []
    for value in (1, 2, 3):
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.fill_(value)
        states.append(copy.deepcopy(model))
    averaged = copy_of(states[0])
    for state in states[1:]:
        average_in(averaged, state, 0.75)
    for name, tensor in averaged.state_dict().items():
        wanted = 3 if name.endswith("num_batches_tracked") else 0.75**2 + 0.75 * 0.25 * 2 + 0.25 * 3
        assert tensor.flatten()[0].item() == pytest.approx(wanted), name


@pytest.mark.parametrize("name", DENOISERS)
def test_every_denoiser_can_be_averaged(name: str, equal: Equal) -> None:
    """An average with itself is itself, to the bit, whatever the buffers a model has; the model is left as it was."""
    torch.manual_seed(0)
    model = DENOISERS[name]().build(1)
    before = copy.deepcopy(model.state_dict())
    averaged = copy_of(model)
    average_in(averaged, model, 0.3)
    assert equal(dict(averaged.state_dict()), dict(before))
    assert equal(dict(model.state_dict()), dict(before))
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in averaged.parameters())


def test_training_is_the_same_with_and_without_an_average_but_another_model_is_judged_and_kept(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports, equal: Equal
) -> None:
    plain, averaged = make_run(), make_run(ema_decay=0.9)
    one, other = reports(plain, corpus, tmp_path / "plain"), reports(averaged, corpus, tmp_path / "averaged")
    assert [r.loss for r in one] == [r.loss for r in other]
    assert [r.score for r in one] != [r.score for r in other]
    states = [load_checkpoint(tmp_path / name / CHECKPOINT, CPU) for name in ("plain", "averaged")]
    assert equal(states[0]["model"], states[1]["model"])
    assert "averaged" not in states[0]


def test_the_weights_on_disk_are_the_averaged_ones(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports, equal: Equal
) -> None:
    run = make_run(ema_decay=0.9, epochs=1)
    reports(run, corpus, tmp_path)
    state = load_checkpoint(tmp_path / CHECKPOINT, CPU)
    kept = load_file(tmp_path / WEIGHTS)
    assert equal(kept, state["averaged"])
    assert not equal(kept, state["model"])


@pytest.mark.parametrize("n_done", [1, 2, 3])
def test_stopped_after_any_epoch_and_resumed_is_bit_equal(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, n_done: int, reports: Reports, equal: Equal
) -> None:
    run = make_run(epochs=4, steps_per_epoch=2, ema_decay=0.95, schedule=ScheduleConfig(gain=1.5, gain_ramp_share=0.5))
    whole = reports(run, corpus, tmp_path / "whole")
    first = train(run, corpus, tmp_path / "cut")
    for _ in range(n_done):
        next(first)
    first.close()
    assert reports(run, corpus, tmp_path / "cut") == whole
    states = [load_checkpoint(tmp_path / name / CHECKPOINT, CPU) for name in ("whole", "cut")]
    assert equal(states[0]["averaged"], states[1]["averaged"])
    assert equal(load_file(tmp_path / "cut" / WEIGHTS), load_file(tmp_path / "whole" / WEIGHTS))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_or_never_moves_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"ema_decay is {decay}; a share from 0 .off. to below 1"):
        FitConfig(ema_decay=decay)
