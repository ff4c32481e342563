"""Our own pruners against rules worked out by hand, and on every kind of storage."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from search.sampling.pruners import ForecastPruner, LeadersPruner
from search.storage.open import open_storage

Direction = Literal["maximize", "minimize"]

FAST = [0.0, 6.0, 7.0, 7.5, 8.0]
SLOW = [0.0, 1.0, 4.0, 9.0, 10.0]
POOR = [0.0, 2.0, 3.0, 4.0, 5.0]


def study_of(
    curves: Sequence[Sequence[float]], direction: Direction = "maximize", storage: BaseStorage | None = None
) -> optuna.Study:
    """A study whose complete trials reported `curves` and ended at their last value."""
    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction, storage=storage)
    for i, curve in enumerate(curves):
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                params={"x": i / 100},
                distributions={"x": FloatDistribution(0, 1)},
                value=sign * curve[-1],
                intermediate_values={epoch: sign * value for epoch, value in enumerate(curve)},
            )
        )
    return study


def as_judged(pruner: BasePruner, study: optuna.Study, reports: Sequence[float] | Mapping[int, float]) -> bool:
    """Whether `pruner` ends a trial that has reported so far."""
    study.pruner = pruner
    trial = study.ask({"x": FloatDistribution(0, 1)})
    sign = 1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1
    for epoch, value in dict(reports if isinstance(reports, Mapping) else enumerate(reports)).items():
        trial.report(sign * value, epoch)
    pruned = trial.should_prune()
    study.tell(trial, state=TrialState.PRUNED)
    return pruned


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_leaders_end_what_lags_behind_the_worst_of_the_best_at_that_epoch(direction: Direction) -> None:
    """Leaders are the two that ended best, SLOW and FAST; at epoch 2 the worse of them had 4, at epoch 3 it had 7.5."""
    pruner = LeadersPruner(2, startup_trials=3, warmup_epochs=1)
    study = study_of([POOR, FAST, SLOW], direction)
    assert not as_judged(pruner, study, [0.0, 1.0, 4.0])
    assert as_judged(pruner, study, [0.0, 1.0, 3.9])
    assert not as_judged(pruner, study, [0.0, 1.0, 4.0, 7.5])
    assert as_judged(pruner, study, [0.0, 1.0, 4.0, 7.4])


def test_leaders_spare_a_slow_starter_once_one_has_led_where_a_median_ends_it() -> None:
    study = study_of([SLOW, FAST, FAST, FAST])
    start = [0.0, 1.1, 4.1]
    assert as_judged(optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1), study, start)
    assert not as_judged(LeadersPruner(3, startup_trials=1, warmup_epochs=1), study, start)


def test_leaders_hold_a_trial_to_its_best_report_so_far() -> None:
    """Scores of single epochs are noisy; one bad epoch costs nothing."""
    assert not as_judged(LeadersPruner(1, 1, 1), study_of([FAST]), [0.0, 6.5, 7.1, 2.0, 8.0, -1.0])


@pytest.mark.parametrize("pruner", [LeadersPruner(1, 6, 2), ForecastPruner(0.5, 6, 2)])
def test_nothing_is_pruned_before_the_startup_trials_nor_in_the_warmup_epochs(pruner: BasePruner) -> None:
    curves = [[0.0 + i, 5.0 + i, 6.0 + i, 7.0 + i] for i in np.linspace(0, 1, 6)]
    hopeless = [-50.0, -50.0, -50.0]
    assert not as_judged(pruner, study_of(curves[:5]), hopeless)
    assert not as_judged(pruner, study_of(curves), hopeless[:2])
    assert as_judged(pruner, study_of(curves), hopeless)


@pytest.mark.parametrize("pruner", [LeadersPruner(1, 2, 0), ForecastPruner(0.05, 2, 0)])
def test_a_trial_without_a_report_goes_on_and_one_that_is_no_number_ends(pruner: BasePruner) -> None:
    study = study_of([FAST, SLOW, POOR, FAST, POOR])
    assert not as_judged(pruner, study, [])
    assert as_judged(pruner, study, [math.nan, math.nan])


@pytest.mark.parametrize("chance", [0.3, 0.02])
def test_a_forecast_ends_what_student_gives_too_small_a_chance(chance: float) -> None:
    """Curves that all gained 1 by epoch 1 leave a line in the score; its prediction error is the textbook's."""
    rng = np.random.default_rng(0)
    score = np.linspace(0.0, 5.0, 12)
    ends = 3.0 + 0.8 * score + rng.normal(0, 0.3, 12)
    study = study_of([[s - 1.0, s, e] for s, e in zip(score, ends, strict=True)])
    fit = stats.linregress(score, ends)
    residual = ends - fit.intercept - fit.slope * score
    free = 12 - 3  # the gain is a third feature here, though it tells nothing
    spread = np.sum(residual**2) / free
    outer = np.sum((score - score.mean()) ** 2)

    def expected(at: float) -> float:
        error = math.sqrt(spread * (1 + 1 / 12 + (at - score.mean()) ** 2 / outer))
        return float(stats.t.sf((ends.max() - fit.intercept - fit.slope * at) / error, free))

    pruner = ForecastPruner(chance, startup_trials=5, warmup_epochs=1)
    said = [(expected(at), as_judged(pruner, study, [at - 1.0, at])) for at in np.linspace(0, 5.5, 23)]
    assert {pruned for _, pruned in said} == {True, False}
    assert all(pruned == (likely < chance) for likely, pruned in said)


def test_a_forecast_spares_a_trial_unlike_all_that_ended() -> None:
    """Far outside of what was seen the limits are wide: too little is known to end it."""
    rng = np.random.default_rng(1)
    curves = [[0.0, s, 10 + rng.normal()] for s in rng.normal(5, 0.1, 8)]
    pruner = ForecastPruner(0.05, startup_trials=5, warmup_epochs=1)
    assert not as_judged(pruner, study_of(curves), [0.0, -3.0])


@pytest.mark.parametrize("pruner", [LeadersPruner(2, 2, 1), ForecastPruner(0.2, 2, 1)])
def test_decisions_are_equal_on_every_storage(pruner: BasePruner, tmp_path: Path) -> None:
    """In memory, Optuna's own SQL storage, and what open_storage gives."""
    stock = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/stock.db")
    storages: list[BaseStorage] = [InMemoryStorage(), stock, open_storage(f"sqlite:///{tmp_path}/ours.db")]
    rng = np.random.default_rng(2)
    curves = [list(np.cumsum(rng.uniform(0, 3, 5))) for _ in range(9)]
    said = [
        [as_judged(pruner, study, curve[:n]) for curve in curves for n in (2, 4)]
        for study in (study_of(curves, storage=storage) for storage in storages)
    ]
    assert said[0] == said[1] == said[2]
    assert {True, False} == set(said[0])


def test_pruners_write_nothing_and_read_no_running_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a decision costs must not grow with the number of running trials."""
    study = study_of([FAST, SLOW, POOR, FAST, POOR, SLOW])
    asked: list[object] = []
    read = optuna.Study.get_trials

    def noting(self: optuna.Study, deepcopy: bool = True, states: object = None) -> list[FrozenTrial]:
        asked.append((deepcopy, states))
        return read(self, deepcopy, states)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.Study, "get_trials", noting)
    for pruner in (LeadersPruner(2, 2, 1), ForecastPruner(0.2, 2, 1)):
        before = [trial.system_attrs for trial in read(study)]
        as_judged(pruner, study, [0.0, 1.0, 2.0])
        assert [trial.system_attrs for trial in read(study)][: len(before)] == before
    assert asked == [(False, (TrialState.COMPLETE,))] * 2
