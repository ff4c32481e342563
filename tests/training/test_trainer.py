"""The training loop: repeatable and resumable to the bit, tidy when left, honest about failure."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import training.trainer
from data.config import HeldOutConfig
from data.corpus import Corpus, load
from data.mixing.mixture import Mixture
from models import DENOISERS
from objectives.losses import PeakL1Config
from training.config import RunConfig
from training.errors import TrainingFailed
from training.report import EpochReport
from training.schedule import OptimiserConfig, ScheduleConfig, ramps_end
from training.trainer import CHECKPOINT, train

MakeRun = Callable[..., RunConfig]
Reports = Callable[..., list[EpochReport]]
Weights = Callable[[Path], dict[str, torch.Tensor]]
Equal = Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]


def test_the_same_run_twice_gives_identical_numbers(
    run: RunConfig, corpus: Corpus, tmp_path: Path, reports: Reports, weights: Weights, equal: Equal
) -> None:
    assert reports(run, corpus, tmp_path / "a") == reports(run, corpus, tmp_path / "b")
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_the_caller_s_random_state_decides_nothing(
    run: RunConfig, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    torch.manual_seed(1)
    one = reports(run, corpus, tmp_path / "a")
    torch.manual_seed(2)
    assert reports(run, corpus, tmp_path / "b") == one


def test_another_seed_gives_another_run(make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports) -> None:
    one, other = (reports(make_run(seed=seed), corpus, tmp_path / str(seed)) for seed in (0, 1))
    assert one[0].loss != other[0].loss


def test_closing_early_leaves_torch_as_it_was(make_run: MakeRun, corpus: Corpus, tmp_path: Path) -> None:
    run = make_run(threads=2, steps_per_epoch=1)
    torch.manual_seed(5)

    def state() -> tuple[Any, ...]:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
        )

    before = state()
    running = train(run, corpus, tmp_path)
    next(running)
    assert state() == before, "a caller between two epochs works under the loop's settings"
    running.close()
    assert state() == before


def test_a_failure_leaves_torch_as_it_was(make_run: MakeRun, corpus: Corpus, tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(TrainingFailed):
            list(train(_hopeless(make_run), corpus, tmp_path))
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.is_grad_enabled()


def _hopeless(make_run: MakeRun) -> RunConfig:
    model = DENOISERS["autoencoder"](levels=2, width=4, output="linear")  # type: ignore[call-arg]
    return make_run(
        model=model,
        loss=PeakL1Config(),
        steps_per_epoch=30,
        optimiser=OptimiserConfig(learning_rate=1e36, clip_norm=0.0, warmup_share=0.0),
    )


def test_a_loss_that_is_not_finite_ends_the_run_with_that_reason(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed, match=r"loss is not finite in epoch 1, by step \d+ \(learning rate too high"):
        list(train(_hopeless(make_run), corpus, tmp_path))
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_score_without_any_reference_ends_the_run_with_that_reason(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": math.nan})
    with pytest.raises(TrainingFailed, match="score hr_error_bpm is not a number"):
        list(train(make_run(score="hr_error_bpm"), corpus, tmp_path))


def test_identity_has_nothing_to_train_and_still_runs(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    """Its SI-SDR is the SNR of the mixtures: -5 and 0 dB."""
    run = make_run(model=DENOISERS["identity"](), epochs=2)
    whole = reports(run, corpus, tmp_path)
    assert whole[-1].by_snr["-5"] == pytest.approx(-5, abs=0.8)
    assert whole[-1].by_snr["+0"] == pytest.approx(0, abs=0.8)
    assert reports(run, corpus, tmp_path) == whole


def test_the_score_is_free_of_gain_and_peak_weight(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    """What shapes training must not move the yardstick: with the same weights the score is the same."""
    model = DENOISERS["identity"]()
    got = [
        reports(make_run(model=model, epochs=1, schedule=schedule, loss=PeakL1Config(weight)), corpus, tmp_path / name)
        for name, schedule, weight in (
            ("a", ScheduleConfig(gain=0.25, gain_ramp="none"), 0.0),
            ("b", ScheduleConfig(gain=4.0, gain_spread_db=0.0, mixing="gain"), 1.0),
        )
    ]
    assert got[0][0].score == got[1][0].score
    assert got[0][0].loss != got[1][0].loss


def test_a_few_epochs_improve_the_score(make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports) -> None:
    run = make_run(
        epochs=6,
        steps_per_epoch=25,
        batch_size=8,
        model=DENOISERS["autoencoder"](levels=2, width=8, kernel=9),  # type: ignore[call-arg]
        schedule=ScheduleConfig(gain=1.5, gain_ramp="none"),
        optimiser=OptimiserConfig(learning_rate=5e-3),
    )
    got = reports(run, corpus, tmp_path)
    assert got[-1].best_score is not None
    assert got[-1].best_score > max(got[0].score, -2.5) + 0.5, "identity has -2.5 dB"
    assert got[-1].loss < got[0].loss


def test_best_weights_are_chosen_only_after_the_ramps_end(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    schedule = ScheduleConfig(gain=1.5, gain_ramp_share=0.5, peak_ramp_share=0.75)
    run = make_run(epochs=4, schedule=schedule)
    got = reports(run, corpus, tmp_path)
    end = ramps_end(schedule, 4)
    assert end == 3
    assert [report.best_score for report in got[:end]] == [None] * end
    assert [report.best_epoch for report in got[:end]] == [None] * end
    assert (got[end].best_score, got[end].best_epoch) == (got[end].score, end)


def test_the_best_epoch_is_that_of_the_best_score_and_its_weights_are_kept(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Weights, equal: Equal
) -> None:
    """Scores are dealt here: the second of four eligible epochs is the best, a NaN-free tie goes to the first."""
    dealt = iter([1.0, 3.0, 3.0, 2.0])
    monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": next(dealt)})
    run = make_run(epochs=4, schedule=ScheduleConfig(gain=1.5, gain_ramp="none"))
    kept = []
    for report in train(run, corpus, tmp_path):
        kept.append(weights(tmp_path))
        assert report.best_epoch == (0, 1, 1, 1)[report.epoch]
    assert equal(kept[-1], kept[1])
    assert not equal(kept[1], kept[0])


def test_a_score_to_minimise_keeps_its_least(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = iter([math.inf, 4.0, 7.0])
    monkeypatch.setattr(training.trainer, "score_by_snr", lambda *_: {"+0": next(dealt)})
    run = make_run(score="hr_error_bpm", schedule=ScheduleConfig(gain_ramp="none"))
    assert [report.best_score for report in train(run, corpus, tmp_path)] == [math.inf, 4.0, 4.0]


def test_progressive_peak_weight_reaches_the_loss(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    built: list[float] = []
    build = PeakL1Config.build

    def noted(self: PeakL1Config) -> torch.nn.Module:
        built.append(self.peak_weight)
        return build(self)

    monkeypatch.setattr(PeakL1Config, "build", noted)
    schedule = ScheduleConfig(gain_ramp="none", peak_ramp_share=0.5)
    run = make_run(epochs=4, loss=PeakL1Config(0.8), schedule=schedule)
    got = reports(run, corpus, tmp_path)
    assert built == [0.0, 0.4, 0.8, 0.8]
    assert [report.peak_share for report in got] == [0.0, 0.5, 1.0, 1.0]


def test_the_reported_snr_is_that_of_windows_with_noise(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    schedule = ScheduleConfig(gain=2.0, gain_ramp="none", gain_spread_db=0.0, noiseless_share=0.5)
    (report,) = reports(make_run(epochs=1, schedule=schedule), corpus, tmp_path)
    assert report.snr_db == pytest.approx(-6.0206, abs=1e-3)


def test_reports_say_what_was_done(make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports) -> None:
    """Mean SNR of training mixtures at gain 1 (0 dB) lowered by nothing; learning rate of the last step."""
    schedule = ScheduleConfig(gain=2.0, gain_ramp="none", gain_spread_db=0.0)
    (report,) = reports(make_run(epochs=1, schedule=schedule), corpus, tmp_path)
    assert report.snr_db == pytest.approx(-6.0206, abs=1e-3)
    assert report.gain == 2.0
    assert report.n_windows == 12
    assert report.learning_rate == pytest.approx(3e-5)
    assert report.score == pytest.approx(sum(report.by_snr.values()) / 2)
    assert list(report.by_snr) == ["-5", "+0"]


@pytest.mark.parametrize(("batch_size", "in_a_batch"), [(4, 3), (6, 6), (2, 3)])
def test_the_reported_windows_are_those_drawn(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, batch_size: int, in_a_batch: int, reports: Reports
) -> None:
    """Batches are rounded down to whole groups of data.batch_offsets, here 3, but have at least one."""
    data = dataclasses.replace(make_run().data, batch_offsets=3, offset_samples=64)
    run = make_run(data=data, epochs=1, steps_per_epoch=2, batch_size=batch_size)
    (report,) = reports(run, corpus, tmp_path)
    assert report.n_windows == 2 * in_a_batch


@pytest.mark.parametrize("batch_size", [4, 16])
def test_an_epoch_without_a_number_of_steps_is_one_pass_in_whole_groups_too(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, batch_size: int, reports: Reports
) -> None:
    """Batches of 3 and of 15 windows are drawn until one more would pass the clean windows once."""
    data = dataclasses.replace(make_run().data, batch_offsets=3, offset_samples=64)
    n_windows = Mixture(corpus.splits["train"], data, torch.device("cpu")).n_windows
    (report,) = reports(make_run(data=data, epochs=1, steps_per_epoch=None, batch_size=batch_size), corpus, tmp_path)
    assert n_windows - batch_size // 3 * 3 < report.n_windows <= n_windows


def test_bf16_runs_on_the_cpu_and_comes_out_near_fp32(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports
) -> None:
    fp32, bf16 = (reports(make_run(precision=p, epochs=2), corpus, tmp_path / p) for p in ("fp32", "bf16"))
    assert bf16[-1].score != fp32[-1].score
    assert bf16[-1].score == pytest.approx(fp32[-1].score, abs=1.0)


def test_references_reach_the_model(
    make_run: MakeRun, corpus: Corpus, tmp_path: Path, reports: Reports, weights: Weights
) -> None:
    """With two channels in the data the model has two inputs and trains."""
    data = make_run().data
    noise = dataclasses.replace(data.noise[0], channels=("z", "x"))
    data = dataclasses.replace(data, noise=(noise,), validation=HeldOutConfig(2, (0.0,)))
    run = make_run(data=data, epochs=1)
    reports(run, load(data), tmp_path)
    assert weights(tmp_path)["down.0.0.conv.weight"].shape == (4, 2, 5)
