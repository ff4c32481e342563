"""A run that is stopped, killed or damaged goes on to the same bits, or says why it cannot."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.corpus import Corpus
from models import DENOISERS
from training.checkpoint import save_checkpoint
from training.config import RunConfig
from training.errors import CheckpointError
from training.report import EpochReport
from training.schedule import ScheduleConfig
from training.trainer import CHECKPOINT, WEIGHTS, train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Weights = Callable[[Path], dict[str, torch.Tensor]]
Equal = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]


@pytest.mark.parametrize("model", ["autoencoder", "wave_unet_transformer"])
@pytest.mark.parametrize("n_done", [1, 2, 3, 4])
def test_stopped_after_any_epoch_and_resumed_is_bit_equal(
    make_run: MakeRun,
    corpus: Corpus,
    tmp_path: Path,
    n_done: int,
    model: str,
    reports: Reports,
    weights: Weights,
    equal: Equal,
) -> None:
    """With batch norm or dropout, momentum, decay and both ramps: all of it is in the checkpoint or in the epoch."""
    small: dict[str, dict[str, Any]] = {
        "autoencoder": {"levels": 2, "width": 4, "kernel": 5, "norm": "batch", "dropout": 0.2},
        "wave_unet_transformer": {
            "levels": 3,
            "width": 8,
            "nhead": 2,
            "encoder_layers": 1,
            "feed_forward": 16,
            "attention_dropout": 0.2,
        },
    }
    config = DENOISERS[model](**small[model])
    schedule = ScheduleConfig(gain=1.5, gain_ramp_share=0.5, peak_ramp_share=0.5)
    run = make_run(epochs=4, steps_per_epoch=2, model=config, schedule=schedule)
    whole = reports(run, corpus, tmp_path / "whole")
    first = train(run, corpus, tmp_path / "cut")
    for _ in range(n_done):
        next(first)
    first.close()
    assert reports(run, corpus, tmp_path / "cut") == whole
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_finished_run_only_tells_its_reports_again(run: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    whole = list(train(run, corpus, tmp_path))
    before = (tmp_path / CHECKPOINT).read_bytes(), (tmp_path / WEIGHTS).read_bytes()
    assert list(train(run, corpus, tmp_path)) == whole
    assert ((tmp_path / CHECKPOINT).read_bytes(), (tmp_path / WEIGHTS).read_bytes()) == before


def test_a_kill_between_weights_and_checkpoint_does_no_harm(
    run: RunConfig,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reports: Reports,
    weights: Weights,
    equal: Equal,
) -> None:
    whole = reports(run, corpus, tmp_path / "whole")
    n_saved = 0

    def killed_at_second(*arguments: Any) -> None:
        nonlocal n_saved
        n_saved += 1
        if n_saved == 2:
            raise KeyboardInterrupt
        save_checkpoint(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("training.learner.save_checkpoint", killed_at_second)
        with pytest.raises(KeyboardInterrupt):
            list(train(run, corpus, tmp_path / "cut"))
    assert reports(run, corpus, tmp_path / "cut") == whole
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_checkpoint_of_another_run_is_refused(make_run: MakeRun, corpus: Corpus, tmp_path: Path) -> None:
    next(train(make_run(), corpus, tmp_path))
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another run"):
        next(train(make_run(seed=1), corpus, tmp_path))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_on_other_recordings_is_refused(run: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    """Going on with changed recordings would report a score that no run can repeat."""
    next(train(run, corpus, tmp_path))
    with pytest.raises(CheckpointError, match="belongs to other recordings"):
        next(train(run, dataclasses.replace(corpus, fingerprint="0" * 16), tmp_path))


def test_a_damaged_checkpoint_is_refused_in_one_line(run: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    next(train(run, corpus, tmp_path))
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[-100] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged") as got:
        next(train(run, corpus, tmp_path))
    assert "\n" not in str(got.value)


def test_check_stop_is_asked_before_every_step_and_ends_the_run(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    """What it raises comes through; the epochs done before are kept and the run can be resumed."""
    run, n_asked = make_run(steps_per_epoch=5), 0

    def stop_in_second_epoch() -> None:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 7:
            raise InterruptedError

    got = []
    with pytest.raises(InterruptedError):
        for report in train(run, corpus, tmp_path / "cut", check_stop=stop_in_second_epoch):
            got.append(report)  # noqa: PERF402
    assert len(got) == 1
    assert reports(run, corpus, tmp_path / "cut") == reports(run, corpus, tmp_path / "whole")
