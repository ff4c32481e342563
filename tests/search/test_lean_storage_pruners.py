"""Pruners decide with our storage as they do with Optuna's, whatever two workers report in whatever order."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState

from search.storage import open_storage

RANDOM = optuna.samplers.RandomSampler
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=1, n_min_trials=1),
    "percentile": lambda: optuna.pruners.PercentilePruner(30.0, n_startup_trials=2, n_warmup_steps=1),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(1, 4, 2),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=1), patience=1),
    "threshold": lambda: optuna.pruners.ThresholdPruner(lower=0.0, upper=2.0),
}
VALUE = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.5, -1.0, math.nan, math.inf, -math.inf])
# what happens next: (which of two workers, which of its acts, a value, a step)
ACT = st.tuples(st.integers(0, 1), st.sampled_from(["report", "report", "report", "tell"]), VALUE, st.integers(0, 4))


def decisions(storages: list[BaseStorage], pruner: Callable[[], BasePruner], acts: Any) -> list[Any]:
    """What the pruner says after each report, and how trials end, with a worker on each of two storages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = f"s{len(storages[0].get_all_studies())}"
        studies = [
            optuna.create_study(
                storage=storage, study_name=name, load_if_exists=True, pruner=pruner(), sampler=RANDOM()
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
                pruned = trial.should_prune()
                said.append(pruned)
            if pruned or act == "tell":
                state = TrialState.PRUNED if pruned else TrialState.FAIL if math.isnan(value) else TrialState.COMPLETE
                said.append(study.tell(trial, value if state == TrialState.COMPLETE else None, state=state).values)
                trials[who] = study.ask()
    return said


@pytest.mark.parametrize("name", PRUNERS)
def test_pruners_decide_as_with_optunas_storage(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two workers on two instances of ours against two of Optuna's own in memory: NaN and infinite reports, a NaN
    first, repeated steps and steps out of order, trials that fail or end in between."""
    url = f"sqlite:///{tmp_path_factory.mktemp('pruners')}/studies.db"
    ours: list[BaseStorage] = [open_storage(url, lean=True), open_storage(url, lean=True)]
    memory = InMemoryStorage()

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(ACT, max_size=14))
    def agree(acts: Any) -> None:
        assert repr(decisions(ours, PRUNERS[name], acts)) == repr(decisions([memory, memory], PRUNERS[name], acts))

    agree()
    for storage in ours:
        storage.remove_session()
