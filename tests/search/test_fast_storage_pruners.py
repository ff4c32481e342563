"""Pruners decide with our storage as they do with Optuna's, whatever two workers report in whatever order."""

import itertools
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from search.sampling.pruners import ForecastPruner, LeadersPruner, QuickPercentile, quick
from search.storage.fast.cache import Rungs
from search.storage.open import open_storage

RANDOM = optuna.samplers.RandomSampler
Direction = Literal["minimize", "maximize"]
DIRECTIONS: list[Direction] = ["minimize", "maximize"]
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=1, n_min_trials=1),
    "median of two": lambda: optuna.pruners.MedianPruner(n_startup_trials=0, interval_steps=2, n_min_trials=2),
    "percentile": lambda: optuna.pruners.PercentilePruner(30.0, n_startup_trials=2, n_warmup_steps=1),
    "nop": optuna.pruners.NopPruner,
    "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.5, n_startup_steps=0),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(1, 4, 2),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=1), patience=1),
    "leaders": lambda: LeadersPruner(1, startup_trials=1, warmup_epochs=0),
    "forecast": lambda: ForecastPruner(0.4, startup_trials=1, warmup_epochs=0),
    "threshold": lambda: optuna.pruners.ThresholdPruner(lower=0.0, upper=2.0),
}
VALUE = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.5, -1.0, math.nan, math.inf, -math.inf])
# those that look at rungs are tried where a report and what changed are one statement, too
CASES = [(name, "sqlite") for name in PRUNERS] + [
    (name, "postgresql") for name in ("median", "percentile", "patient", "forecast")
]
# what happens next: (which of two workers, which of its acts, a value, a step)
ACT = st.tuples(st.integers(0, 1), st.sampled_from(["report", "report", "tell"]), VALUE, st.integers(0, 3))


def decisions(
    storages: list[BaseStorage], pruner: Callable[[], BasePruner], direction: Direction, acts: Any
) -> list[Any]:
    """What the pruner says after each report, and how trials end, with a worker on each of two storages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = f"s{len(storages[0].get_all_studies())}"
        studies = [
            optuna.create_study(
                storage=storage,
                study_name=name,
                load_if_exists=True,
                pruner=quick(pruner()),
                sampler=RANDOM(),
                direction=direction,
            )
            for storage in storages
        ]
        trials = [study.ask() for study in studies]
        said: list[Any] = []
        for who, act, value, step in acts:
            study, trial = studies[who], trials[who]
            pruned = False
            if act == "report":
                trial.report(value, step)  # a step that was reported before is ignored
                pruned = bool(trial.should_prune())  # Optuna's may be NumPy's
                said.append(pruned)
            if pruned or act == "tell":
                state = TrialState.PRUNED if pruned else TrialState.FAIL if math.isnan(value) else TrialState.COMPLETE
                said.append(study.tell(trial, value if state == TrialState.COMPLETE else None, state=state).values)
                trials[who] = study.ask()
    return said


@pytest.mark.parametrize(("name", "database"), CASES)
def test_pruners_decide_as_with_optunas_storage(
    name: str, database: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """Two workers on two instances of ours against two of Optuna's own in memory: NaN and infinite reports, a NaN
    first, repeated steps and steps out of order, trials that fail or end in between."""
    url = f"sqlite:///{tmp_path_factory.mktemp('pruners')}/studies.db"
    if database == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    ours: list[BaseStorage] = [open_storage(url), open_storage(url)]
    memory: list[BaseStorage] = [InMemoryStorage()] * 2

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(DIRECTIONS), st.lists(ACT, max_size=20))
    def agree(direction: Direction, acts: Any) -> None:
        said = [decisions(storages, PRUNERS[name], direction, acts) for storages in (ours, memory)]
        assert repr(said[0]) == repr(said[1])

    agree()
    for storage in ours:
        storage.remove_session()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_quick_decisions_are_the_stock_pruners_on_the_same_trials(direction: Direction, tmp_path: Path) -> None:
    """Every setting of a percentile pruner against Optuna's own, over trials with NaN, infinities and missing steps."""
    draw = random.Random(7)

    def reports() -> dict[int, float]:
        odd = [math.nan, math.inf, -math.inf]
        some = {step: draw.gauss(0, 1) if draw.random() < 0.85 else draw.choice(odd) for step in range(5)}
        return {step: value for step, value in some.items() if draw.random() < 0.8}

    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    study = optuna.create_study(storage=storage, direction=direction)
    for state in [TrialState.COMPLETE] * 12 + [TrialState.PRUNED] * 3 + [TrialState.FAIL] * 2:
        value = None if state == TrialState.FAIL else 0.0
        study.add_trial(optuna.trial.create_trial(state=state, value=value, intermediate_values=reports()))
    trials = [optuna.trial.create_trial(value=0.0, intermediate_values=reports()) for _ in range(12)]
    settings_of_it = itertools.product((0.0, 25.0, 50.0, 83.0, 100.0), (0, 12, 13), (0, 2), (1, 2), (1, 10))
    n_pruned = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for percentile, startup, warmup, interval, n_min in settings_of_it:
            stock = optuna.pruners.PercentilePruner(percentile, startup, warmup, interval, n_min_trials=n_min)
            expected = [bool(stock.prune(study, trial)) for trial in trials]
            assert [quick(stock).prune(study, trial) for trial in trials] == expected
            n_pruned += sum(expected)
    assert n_pruned > 100
    storage.remove_session()


@given(st.lists(st.lists(VALUE | st.floats(), max_size=3), max_size=80), st.floats(0, 100))
def test_a_rungs_percentile_is_numpys_to_the_bit(trials: list[list[float]], percent: float) -> None:
    """However the trials come in, and whatever they reported; what has been taken in already counts once."""
    rungs = Rungs()
    for i, values in enumerate(trials):
        rungs.add([i], [(i, step, value) for step, value in enumerate(values)])
        if i % 7 == 0:
            rungs.percentile(0, percent)
            rungs.add([i], [(i, 0, 1.0)])
    assert len(rungs.trials) == len(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(3):
            at_step = [values[step] for values in trials if len(values) > step]
            assert rungs.n_at(step) == len(at_step)
            expected = np.nanpercentile(np.array(at_step), percent) if at_step else math.nan
            assert repr(float(rungs.percentile(step, percent))) == repr(float(expected))


def test_only_pruners_that_have_a_quick_form_are_changed() -> None:
    halving, nop = optuna.pruners.SuccessiveHalvingPruner(), optuna.pruners.NopPruner()
    assert quick(halving) is halving and quick(nop) is nop
    once = quick(optuna.pruners.MedianPruner())
    assert isinstance(once, QuickPercentile) and quick(once) is once
    stock = optuna.pruners.MedianPruner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patient = optuna.pruners.PatientPruner(stock, 1)
    made = quick(patient)
    assert isinstance(made, optuna.pruners.PatientPruner) and isinstance(made._wrapped_pruner, QuickPercentile)
    assert patient._wrapped_pruner is stock, "the one that was given stays as it is"
