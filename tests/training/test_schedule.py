"""Ramps and learning rates by their closed forms, over epochs and steps."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.schedule import OptimiserConfig, ScheduleConfig, gain_at, learning_rate_at, peak_share_at, ramps_end

RAMPS = ("none", "linear", "steps", "smooth")


def gains(n_epochs: int, **options: Any) -> list[float]:
    schedule = ScheduleConfig(gain=2.0, **options)
    return [gain_at(schedule, epoch, n_epochs) for epoch in range(n_epochs)]


def test_no_ramp_is_the_full_gain_from_the_first_epoch() -> None:
    assert gains(4, gain_ramp="none", gain_ramp_share=0.5) == [2.0] * 4


def test_the_lab_s_ramp_goes_from_0_to_the_gain_over_the_first_half() -> None:
    assert gains(8, gain_ramp="linear", gain_ramp_share=0.5, gain_start=0.0) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]


def test_a_ramp_starts_at_its_share_of_the_gain() -> None:
    assert gains(5, gain_ramp="linear", gain_ramp_share=0.4, gain_start=0.25) == [0.5, 1.25, 2.0, 2.0, 2.0]


def test_a_hold_at_gain_0_comes_before_the_ramp() -> None:
    """The lab's 0 -> 20 -> 40: 20 of 80 epochs on clean signals, 20 of ramp, the rest at full gain."""
    got = gains(80, gain_ramp="linear", gain_hold_share=0.25, gain_ramp_share=0.25, gain_start=0.0)
    assert got[:20] == [0.0] * 20
    assert got[20:41] == pytest.approx([2.0 * k / 20 for k in range(21)])
    assert got[40:] == [2.0] * 40
    assert ramps_end(ScheduleConfig(gain_hold_share=0.25, gain_ramp_share=0.25), 80) == 40


def test_a_hold_without_a_ramp_is_one_step() -> None:
    assert gains(4, gain_ramp="none", gain_hold_share=0.5, gain_start=0.25) == [0.5, 0.5, 2.0, 2.0]


def test_steps_and_half_a_cosine_begin_after_the_hold() -> None:
    steps = gains(8, gain_ramp="steps", gain_hold_share=0.25, gain_ramp_share=0.5, gain_start=0.0, gain_steps=2)
    assert steps == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    smooth = gains(8, gain_ramp="smooth", gain_hold_share=0.25, gain_ramp_share=0.5, gain_start=0.0)
    assert smooth == pytest.approx([0, 0, *(1 - math.cos(math.pi * k / 4) for k in range(4)), 2, 2])


def test_steps_are_equal_and_as_many_as_stated() -> None:
    got = gains(16, gain_ramp="steps", gain_ramp_share=0.5, gain_start=0.0, gain_steps=4)
    assert got == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5, *[2.0] * 8]


def test_smooth_is_half_a_cosine() -> None:
    got = gains(8, gain_ramp="smooth", gain_ramp_share=0.5, gain_start=0.0)
    assert got[:4] == pytest.approx([1 - math.cos(math.pi * k / 4) for k in range(4)])


def test_peak_share_rises_from_0_to_1() -> None:
    schedule = ScheduleConfig(peak_ramp_share=0.5)
    assert [peak_share_at(schedule, epoch, 8) for epoch in range(8)] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


@settings(max_examples=200)
@given(
    ramp=st.sampled_from(RAMPS),
    n_epochs=st.integers(1, 60),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: sum(pair) <= 1),
    peak_share=st.floats(0, 1),
    start=st.floats(0, 1),
    steps=st.integers(1, 9),
)
def test_ramps_never_fall_and_end_at_full_where_they_say(
    ramp: str, n_epochs: int, shares: tuple[float, float], peak_share: float, start: float, steps: int
) -> None:
    """The first epoch at full gain and peak_weight is ramps_end; the last epoch always is at full."""
    schedule = ScheduleConfig(
        gain=3.0,
        gain_ramp=ramp,
        gain_hold_share=shares[0],
        gain_ramp_share=shares[1],
        gain_start=start,
        gain_steps=steps,
        peak_ramp_share=peak_share,
    )
    reached = [
        (gain_at(schedule, epoch, n_epochs), peak_share_at(schedule, epoch, n_epochs)) for epoch in range(n_epochs)
    ]
    for before, after in itertools.pairwise(reached):
        assert before[0] <= after[0] + 1e-12
        assert before[1] <= after[1]
    end = ramps_end(schedule, n_epochs)
    assert 0 <= end < n_epochs
    assert all(pair == (3.0, 1.0) for pair in reached[end:])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gain": -1.0}, "gain is -1.0"),
        ({"gain_spread_db": -1.0}, "gain_spread_db -1.0"),
        ({"gain_ramp": "ramp"}, "gain_ramp is 'ramp'"),
        ({"gain_ramp_share": 1.1}, "gain_ramp_share is 1.1"),
        ({"gain_start": -0.1}, "gain_start is -0.1"),
        ({"gain_hold_share": 1.5}, "gain_hold_share is 1.5"),
        ({"gain_hold_share": 0.7, "gain_ramp_share": 0.4}, "together they may be 1 at most"),
        ({"peak_ramp_share": 2.0}, "peak_ramp_share is 2.0"),
        ({"gain_steps": 0}, "gain_steps is 0"),
        ({"quiet_share": -0.1}, "quiet_share is -0.1"),
        ({"noiseless_share": 1.1}, "noiseless_share is 1.1"),
        ({"quiet_share": 0.6, "noiseless_share": 0.6}, "together they may be 1 at most"),
        ({"heartless_share": -0.1}, "heartless_share is -0.1"),
        ({"heartless_share": 0.5, "noiseless_share": 0.6}, "together they may be 1 at most"),
        ({"quiet_spread_db": -1.0}, "quiet_spread_db is -1.0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScheduleConfig(**options)


def test_learning_rate_warms_up_in_a_line_and_falls_along_half_a_cosine() -> None:
    config = OptimiserConfig(learning_rate=1.0, warmup_share=0.2)
    rates = [learning_rate_at(config, step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[-1] == pytest.approx(0.01)
    assert rates[4:] == pytest.approx([0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * k / 15)) for k in range(16)])


def test_learning_rate_without_decay_stays() -> None:
    config = OptimiserConfig(learning_rate=0.5, warmup_share=0.0, decay="none")
    assert {learning_rate_at(config, step, 9) for step in range(9)} == {0.5}


@settings(max_examples=100)
@given(n_steps=st.integers(1, 200), warmup=st.floats(0, 0.99), decay=st.sampled_from(["cosine", "none"]))
def test_learning_rate_is_positive_and_never_above_its_value(n_steps: int, warmup: float, decay: Any) -> None:
    config = OptimiserConfig(learning_rate=0.3, warmup_share=warmup, decay=decay)
    for step in range(n_steps):
        assert 0 < learning_rate_at(config, step, n_steps) <= 0.3 * (1 + 1e-12)


@pytest.mark.parametrize(("algorithm", "cls"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_config_builds_its_optimiser(algorithm: Any, cls: type) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    built = OptimiserConfig(algorithm=algorithm, learning_rate=0.1, weight_decay=0.2).build([parameter])
    assert type(built) is cls
    assert (built.param_groups[0]["lr"], built.param_groups[0]["weight_decay"]) == (0.1, 0.2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"clip_norm": -1.0}, "clip_norm -1.0"),
        ({"warmup_share": 1.0}, "warmup_share is 1.0"),
    ],
)
def test_an_optimiser_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OptimiserConfig(**options)
