"""The profile of a training step: its parts, its operations, and levers that leave what is learned as it was."""

import dataclasses

import pytest
import torch

from benchmarks.profile.__main__ import main
from benchmarks.profile.levers import Question, levers, ratios
from benchmarks.profile.step import BEST, build_stage, dearest, run_named, step_gflop

CPU = torch.device("cpu")
TINY = Question("autoencoder", 2, 128, 1, 1)


def test_quick_prints_a_table_of_parts_and_one_of_levers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--families", "autoencoder", "--levers", "before,bf16,channels_last"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| model | step ms | data | forward | backward | optimiser | GFLOP |")
    assert lines[2].startswith("| autoencoder | ")
    assert lines[3] == "| model | before | bf16 | channels_last |"
    assert lines[5].endswith("| no image |")


def test_an_unknown_family_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--families", "autoencodr"])
    assert "unknown family 'autoencodr'; known: autoencoder" in capsys.readouterr().err


def test_a_step_of_twice_the_windows_takes_twice_the_operations() -> None:
    one, two = (step_gflop(build_stage(run_named("wave_unet", n, 1, 256), CPU)) for n in (2, 4))
    assert one > 0
    assert two == pytest.approx(2 * one)


def test_a_convolution_costs_a_forward_and_two_backward_products() -> None:
    """2 x taps x channels in x channels out x steps forwards; as much for each of two gradients, but no gradient of the
    input of the first layer."""
    stage = build_stage(run_named("autoencoder", 2, 1, 128), CPU)
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 8, 5, padding=2), torch.nn.Conv1d(8, 1, 5, padding=2))
    stage = dataclasses.replace(stage, learner=dataclasses.replace(stage.learner, model=model))
    first, second = 2 * 5 * 3 * 8 * 2 * 128, 2 * 5 * 8 * 1 * 2 * 128
    assert step_gflop(stage) == pytest.approx((2 * first + 3 * second) / 1e9)


def test_timed_steps_train_to_the_bit_as_the_trainer_s_do() -> None:
    run = run_named(BEST, 2, 1, 128)
    timed, plain, filled = (build_stage(run, CPU) for _ in range(3))
    filled = dataclasses.replace(filled, filled=True)  # memory filled with NaN shows reads of what nobody wrote
    parts = [timed.timed_step() for _ in range(3)]
    plain.steps(3)
    filled.steps(3)
    assert all(len(of) == 4 and min(of) >= 0 for of in parts)
    for other in (plain, filled):
        for a, b in zip(timed.learner.evaluated.parameters(), other.learner.evaluated.parameters(), strict=True):
            assert torch.equal(a, b)


def test_the_dearest_operators_are_shares_in_falling_order() -> None:
    found = dearest(TINY.stage(CPU))
    shares = [share for _, share in found]
    assert len(found) == 3
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1


def test_a_ratio_is_the_plain_time_over_the_other_s() -> None:
    """By a clock of our own: the plain act takes 3 s, the other 2; the first round is not counted."""
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds if now[0] >= 100 else 50

    acts = {"": lambda: spend(3.0), "other": lambda: spend(2.0)}
    assert ratios(acts, 3, lambda: now[0]) == {"other": 1.5}


def test_data_made_beside_the_step_is_a_lever_by_the_clock() -> None:
    found = levers(TINY, ("data beside",), CPU, 1)
    assert isinstance(found["data beside"], float)
