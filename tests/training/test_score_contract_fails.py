"""Each rule of training.evaluation.contract can fail: scores with a single fault break the rule that is about it."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import training.evaluation.contract as contract
from training.evaluation.scores import SCORES, Score, Values, Windows
from training.plugins.contract import problem

CALLS = itertools.count()
SOUND = SCORES["si_sdr_db"]


def with_values(values: Callable[[Windows], Values]) -> Score:
    return replace(SOUND, values=values)


def against_the_batch(windows: Windows) -> Values:
    values = SOUND.values(windows)
    centred: Values = values - values.mean()
    return centred


def rewards_nan(windows: Windows) -> Values:
    broken: Values = np.asarray(np.isnan(windows.estimate).any(axis=1), np.float64)
    return broken


BROKEN: list[tuple[Score, Callable[..., str]]] = [
    (with_values(lambda w: SOUND.values(w)[:-1]), contract.gives_a_value_for_each_window),
    (with_values(lambda w: SOUND.values(w).astype(np.float32)), contract.gives_a_value_for_each_window),
    (replace(SOUND, direction="minimize"), contract.rewards_the_clean_signal),
    (replace(SOUND, silence_wins=True), contract.states_what_silence_does),
    (with_values(against_the_batch), contract.scores_windows_alone),
    (with_values(rewards_nan), contract.never_rewards_broken_estimates),
    (with_values(lambda w: SOUND.values(w) + next(CALLS)), contract.repeats_itself),
]


@pytest.mark.parametrize(("score", "function"), BROKEN, ids=[function.__name__ for _, function in BROKEN])
def test_a_broken_score_breaks_its_rule(score: Score, function: Callable[..., str]) -> None:
    (rule,) = [rule for rule in contract.SCORE_RULES if rule[1] is function]
    assert problem(rule, score)


def test_every_rule_has_a_score_that_breaks_it() -> None:
    assert {function for _, function in BROKEN} == {rule[1] for rule in contract.SCORE_RULES}
