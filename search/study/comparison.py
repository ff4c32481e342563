"""Compare studies: the result of each family, by the same metric on the same validation mixture."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from objectives.cost import n_parameters
from search.queue.slots import progress, slot_trials
from search.study.costs import At, cpu_latency_ms
from search.study.export import run_of_trial
from search.study.study import Study
from search.trials import SECONDS, SI_SDR_AT, Fate, attributes_of, best_trial, by_origin, count_fates, fate_of
from training.config import RunConfig
from training.decode import encode
from training.evaluation.scores import SCORES

ScoreBasis = dict[str, Any]
"""What scores depend on beside the model: the metric, the recordings and the settings of the validation mixture."""


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of one study.

    mixture: id of the score basis, "A" for the first study's; only scores with the same id are comparable. spent: no
    further trial will start. complete, pruned, infeasible: numbers of trials, which together are the finished ones.
    best: the metric of the best feasible trial. Its si_sdr_db is SNR such as "-10" -> dB on the validation mixture;
    latency_ms is of one window on one CPU thread, measured here. They are None or empty without such a trial.
    trial_s: median training time of the complete trials. total_s: training time of all trials that recorded it.
    """

    study: str
    family: str
    metric: str
    mixture: str
    budget: int
    spent: bool
    complete: int
    pruned: int
    infeasible: int
    failed: int
    best: float | None
    best_trial: int | None
    si_sdr_db: Mapping[str, float]
    n_parameters: int | None
    latency_ms: float | None
    trial_s: float | None
    total_s: float

    @property
    def finished(self) -> int:
        return self.complete + self.pruned + self.infeasible


@dataclass(frozen=True, slots=True)
class StudyComparison:
    """results: best first within each mixture. differences: for each mixture but A, what differs from A."""

    results: tuple[StudyResult, ...]
    differences: Mapping[str, tuple[str, ...]]


def compare_studies(studies: Sequence[Study], engine: Engine) -> StudyComparison:
    """Return the result of each study.

    Studies with different recordings, validation mixtures or metrics have different mixture ids.
    """
    bases: list[ScoreBasis] = []
    results = []
    for study in studies:
        basis = _score_basis(study)
        if basis not in bases:
            bases.append(basis)
        results.append(_result(study, _mixture_id(bases.index(basis)), engine))
    differences = {
        _mixture_id(i): tuple(key for key in basis if basis[key] != bases[0][key]) for i, basis in enumerate(bases) if i
    }
    return StudyComparison(tuple(sorted(results, key=_rank)), differences)


def _score_basis(study: Study) -> ScoreBasis:
    data = encode(study.spec.data)
    held_out = ("rate_hz", "band_hz", "window_samples", "level", "split", "validation", "clean", "noise")
    return {
        "metric": study.spec.metric,
        "recordings": study.fingerprint,
        **{f"data.{name}": data[name] for name in held_out},
        "data.band_phase": study.spec.data.band_phase,
    }


def _mixture_id(i: int) -> str:
    return chr(ord("A") + i) if i < 26 else f"Z{i}"


def _rank(result: StudyResult) -> tuple[str, bool, float, str]:
    sign = -1.0 if SCORES[result.metric].direction == "maximize" else 1.0
    return result.mixture, result.best is None, sign * (result.best or 0.0), result.study


def _result(study: Study, mixture: str, engine: Engine) -> StudyResult:
    trials, _ = by_origin(study.optuna.get_trials(deepcopy=False), slot_trials(engine, study.identity))
    complete = [t for t in trials if fate_of(t) == Fate.COMPLETE]
    counts = count_fates(trials)
    best = best_trial(study.optuna)
    run = run_of_trial(best, study.name, study.spec.plugins) if best is not None else None
    seconds, budget = _seconds(complete), progress(engine, study.identity)
    return StudyResult(
        study=study.name,
        family=study.space.model.name,
        metric=study.spec.metric,
        mixture=mixture,
        budget=budget.budget,
        spent=budget.spent,
        complete=counts[Fate.COMPLETE],
        pruned=counts[Fate.PRUNED],
        infeasible=counts[Fate.INFEASIBLE],
        failed=counts[Fate.FAILED],
        best=best.value if best is not None else None,
        best_trial=best.number if best is not None else None,
        si_sdr_db=_by_snr(best) if best is not None else {},
        n_parameters=_size(run) if run is not None else None,
        latency_ms=_latency_ms(run) if run is not None else None,
        trial_s=statistics.median(seconds) if seconds else None,
        total_s=sum(_seconds(trials)),
    )


def _by_snr(trial: FrozenTrial) -> dict[str, float]:
    found = {k.removeprefix(SI_SDR_AT): v for k, v in attributes_of(trial).items() if k.startswith(SI_SDR_AT)}
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _seconds(trials: Sequence[FrozenTrial]) -> list[float]:
    return [attributes_of(t)[SECONDS] for t in trials if SECONDS in attributes_of(t)]


def _size(run: RunConfig) -> int:
    return n_parameters(run.build_model(run.data.n_channels))


def _latency_ms(run: RunConfig) -> float:
    at = At(run.data.rate_hz, run.data.window_samples, run.data.n_channels)
    return cpu_latency_ms(lambda: run.build_model(at.n_channels), at)
