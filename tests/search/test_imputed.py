"""What a Gaussian process is told of trials that were ended early, against ends worked out by hand."""

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from search.sampling.imputed import ImputedSampler, impute
from search.sampling.samplers import GP_SLOTS, SamplerSpec, build_sampler

SPACE = {"x": FloatDistribution(0.0, 1.0)}
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def trial_of(
    number: int,
    state: TrialState,
    reports: Mapping[int, float],
    value: float | None = None,
    constraint: float | None = None,
) -> FrozenTrial:
    trial = optuna.trial.create_trial(
        state=state, params={"x": 0.5}, distributions=dict(SPACE), value=value, intermediate_values=dict(reports)
    )
    trial.number = number
    if constraint is not None:
        trial.set_constraint("memory", constraint)
    return trial


def complete(sign: float = 1.0, n: int = 6) -> list[FrozenTrial]:
    """Score s at epoch 1, s - 1 at epoch 0, and the end 2 s + 3, exactly: ends of 3, 5, ... 13."""
    return [trial_of(s, COMPLETE, {0: sign * (s - 1), 1: sign * s}, sign * (2 * s + 3)) for s in range(n)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("score", "end"),
    [
        (2.5, 8.0),  # on the line
        (5.7, 13.0),  # the line says 14.4, above the best that is complete
        (0.0, 3.0),
    ],
)
def test_a_pruned_trial_ends_where_the_line_of_the_complete_ones_says(sign: float, score: float, end: float) -> None:
    pruned = trial_of(6, PRUNED, {0: sign * (score - 1), 1: sign * score})
    shown = impute([*complete(sign), pruned], sign)
    assert shown[6].state == COMPLETE
    assert shown[6].value == pytest.approx(sign * end)
    assert (pruned.state, pruned.value) == (PRUNED, None)


def test_it_ends_at_its_best_score_at_least_and_while_too_few_are_complete() -> None:
    """With two complete trials there is no line; a trial that fell goes by its best epoch."""
    two = complete(n=2)
    shown = impute([*two, trial_of(2, PRUNED, {0: 4.0, 1: 1.0})], 1.0)
    assert shown[2].value == 4.0
    falling = [trial_of(i, COMPLETE, {0: 9.0 + i, 1: 10.0 + i}, 2.0 + i) for i in range(6)]
    assert impute([*falling, trial_of(6, PRUNED, {0: 5.0, 1: 6.0})], 1.0)[6].value == 6.0


def test_nothing_is_shown_further_below_the_median_than_the_best_is_above_it() -> None:
    """Ends 3, 5, 7, 9, 11, 13 and -60, -90: the median is 6, the best 13, the floor -1."""
    diverged = [trial_of(6, COMPLETE, {0: -60.0}, -60.0), trial_of(7, COMPLETE, {0: -90.0}, -90.0)]
    assert [trial.value for trial in impute([*complete(), *diverged], 1.0)] == [3, 5, 7, 9, 11, 13, -1, -1]


def test_what_tells_nothing_stays_as_it_is() -> None:
    trials = [
        *complete(),
        trial_of(6, PRUNED, {}),
        trial_of(7, PRUNED, {0: math.nan}),
        trial_of(8, FAIL, {0: 1.0, 1: 2.0}),
        trial_of(9, PRUNED, {0: 1.0, 1: 2.0}, constraint=1.0),
    ]
    assert all(shown is trial for shown, trial in zip(impute(trials, 1.0), trials, strict=True))


def test_an_infeasible_trial_ends_at_the_floor_where_the_complete_ones_have_that_constraint() -> None:
    feasible = [trial_of(s, COMPLETE, {0: s - 1, 1: s}, 2 * s + 3, constraint=-1.0) for s in range(6)]
    shown = impute([*feasible, trial_of(6, PRUNED, {}, constraint=1.0)], 1.0)
    assert (shown[6].state, shown[6].value) == (COMPLETE, 3.0)  # median 8, best 13
    assert dict(shown[6].constraints) == {"memory": 1.0}


def told(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """Six complete trials that rise towards x = 0.6, and twelve pruned ones around x = 0.9 that were far behind."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for i in range(18):
        bad = i >= 6
        x = 0.9 + 0.005 * (i - 12) if bad else 0.3 + 0.05 * i
        start = -5.0 - i / 10 if bad else i / 2
        study.add_trial(
            optuna.trial.create_trial(
                state=PRUNED if bad else COMPLETE,
                params={"x": x},
                distributions=dict(SPACE),
                value=None if bad else start + 1,
                intermediate_values={0: start - 1, 1: start},
            )
        )
    return study


def test_a_gaussian_process_keeps_away_from_where_trials_were_pruned() -> None:
    """Alone it knows of the six complete ones only, and goes on where they rise to."""

    def far(sampler: optuna.samplers.BaseSampler) -> int:
        study = told(sampler)
        return sum(study.ask(dict(SPACE)).params["x"] > 0.8 for _ in range(4))

    exclusive = optuna.samplers.GPSampler(n_startup_trials=3, seed=0)
    assert far(exclusive) > far(ImputedSampler(optuna.samplers.GPSampler(n_startup_trials=3, seed=0))) == 0


def test_auto_asks_a_gaussian_process_in_every_other_slot_and_later_tpe_alone() -> None:
    def inner(slot: int) -> Any:
        return build_sampler(SamplerSpec(), dict(SPACE), 0, slot)._inner  # type: ignore[attr-defined]

    kinds = [type(inner(slot)) for slot in (0, 1, 2, 3, GP_SLOTS - 1, GP_SLOTS, GP_SLOTS + 1)]
    tpe = optuna.samplers.TPESampler
    assert kinds == [tpe, ImputedSampler, tpe, ImputedSampler, ImputedSampler, tpe, tpe]
    assert SamplerSpec().name == "auto"
