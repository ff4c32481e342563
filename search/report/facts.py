"""Read the studies of a report once: trials, best trials, importances, and classical methods on their mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from data.corpus import Corpus, load
from data.mixing.mixture import held_out
from search.storage.optuna_private import ArtifactStore
from search.study.comparison import StudyComparison, StudyResult, compare_studies
from search.study.space import unusable
from search.study.study import Study
from search.terminal.tables import importances_of
from search.trials import LATENCY_MS, N_PARAMETERS, REASON, SECONDS, Fate, attributes_of, best_trial, fate_of
from training.evaluation.compare import Comparison, Estimates, compare
from training.evaluation.scores import SCORES, better, classical_rows

CLASSICAL_REFERENCE = "identity"


@dataclass(frozen=True, slots=True)
class TrialFact:
    """One finished trial.

    fate: how it ended.
    score: its value, or its last intermediate value if it was pruned; None if there is none.
    params: the sampled parameters.
    curve: (epoch from 1, score) of its finite reports.
    n_parameters: of the model.
    latency_ms: of one window.
    seconds: of training.
    reason: why it was pruned or failed, "" if none is stored.
    """

    number: int
    fate: Fate
    score: float | None
    params: dict[str, Any]
    curve: tuple[tuple[int, float], ...]
    n_parameters: int | None
    latency_ms: float | None
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class StudyFact:
    """One study.

    source: the study.
    result: as in the comparison of all studies.
    trials: its finished trials, without unusable ones (search.study.space).
    best: its best feasible trial, None if there is none.
    importances: by parameter, empty with too few trials.
    n_left_out: number of unusable trials.
    """

    source: Study
    result: StudyResult
    trials: tuple[TrialFact, ...]
    best: FrozenTrial | None
    importances: dict[str, float]
    n_left_out: int

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.source.name

    @property
    def rising(self) -> bool:
        """Whether a higher score is better."""
        return SCORES[self.source.spec.metric].direction == "maximize"

    @property
    def scored(self) -> tuple[TrialFact, ...]:
        """The complete, feasible trials, best first."""
        found = [t for t in self.trials if t.fate == Fate.COMPLETE and t.score is not None]
        return tuple(sorted(found, key=lambda t: (t.score or 0.0) * (-1 if self.rising else 1)))


@dataclass(frozen=True, slots=True, eq=False)
class MixtureFact:
    """A validation mixture.

    mixture_id: as in the comparison: A, B, ...
    studies: the studies that were scored on it, best first.
    corpus: the recordings, None if they cannot be read.
    classical: the comparison of the classical methods on it, None if there is none.
    missing_reason: why there is no such comparison, else "".
    """

    mixture_id: str
    studies: tuple[StudyFact, ...]
    corpus: Corpus | None
    classical: Comparison | None
    missing_reason: str


def gather(studies: Sequence[Study], engine: Engine) -> tuple[StudyComparison, tuple[StudyFact, ...]]:
    """Return the comparison of the studies, and the facts of each, best first within each validation mixture."""
    comparison = compare_studies(studies, engine)
    by_name = {study.name: study for study in studies}
    return comparison, tuple(_study_fact(by_name[result.study], result) for result in comparison.results)


def _study_fact(study: Study, result: StudyResult) -> StudyFact:
    trials = study.optuna.get_trials(deepcopy=False)
    left_out = unusable(trials, study.space)
    ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in left_out]
    facts = tuple(_trial_fact(trial) for trial in ended)
    return StudyFact(study, result, facts, best_trial(study.optuna), importances_of(study), len(left_out))


def _trial_fact(trial: FrozenTrial) -> TrialFact:
    reports = sorted(trial.intermediate_values.items())
    score = trial.value if trial.value is not None else reports[-1][1] if reports else None
    attributes = attributes_of(trial)
    return TrialFact(
        number=trial.number,
        fate=fate_of(trial),
        score=score if score is not None and isfinite(score) else None,
        params=dict(trial.params),
        curve=tuple((step + 1, value) for step, value in reports if isfinite(value)),
        n_parameters=attributes.get(N_PARAMETERS),
        latency_ms=attributes.get(LATENCY_MS),
        seconds=attributes.get(SECONDS),
        reason=str(attributes.get(REASON, "")),
    )


def best_so_far(study: StudyFact) -> tuple[tuple[int, float], ...]:
    """Return (trial number, best score so far) for every complete, feasible trial, by number."""
    steps: list[tuple[int, float]] = []
    score = SCORES[study.source.spec.metric]
    for trial in sorted(study.scored, key=lambda t: t.number):
        assert trial.score is not None
        best = steps[-1][1] if steps else None
        steps.append((trial.number, trial.score if best is None or better(score, trial.score, best) else best))
    return tuple(steps)


def mixtures(studies: Sequence[StudyFact], *, classical: bool) -> tuple[MixtureFact, ...]:
    """Return the validation mixtures that `studies` were scored on.

    classical: evaluate the classical methods on each mixture. They are left out if the recordings are missing or have
    changed since the search.
    """
    ids = dict.fromkeys(study.result.mixture for study in studies)
    return tuple(
        _mixture(mixture_id, tuple(study for study in studies if study.result.mixture == mixture_id), classical)
        for mixture_id in ids
    )


def _mixture(mixture_id: str, studies: tuple[StudyFact, ...], classical: bool) -> MixtureFact:
    study = studies[0].source
    try:
        corpus = load(study.spec.data)
    except (ValueError, OSError) as error:
        return MixtureFact(mixture_id, studies, None, None, f"The recordings cannot be read here: {error}.")
    if corpus.fingerprint != study.fingerprint:
        why = f"The recordings here ({corpus.fingerprint}) differ from those of the search ({study.fingerprint})."
        return MixtureFact(mixture_id, studies, None, None, why)
    if not classical:
        return MixtureFact(mixture_id, studies, corpus, None, "They were left out by --no-classical.")
    data = study.spec.data
    mixture = held_out(corpus.splits["validation"], data, data.validation)
    estimates = Estimates(mixture, classical_rows(mixture, data.band_hz), (), "validation", corpus.fingerprint)
    return MixtureFact(mixture_id, studies, corpus, compare(estimates, CLASSICAL_REFERENCE), "")


def artifacts_of(study: Study, trial: FrozenTrial, store: ArtifactStore) -> dict[str, bytes]:
    """Return the artifacts of a trial, file name -> content. Artifacts missing from the store are left out."""
    found = {}
    for meta in get_all_artifact_meta(trial, storage=study.optuna._storage):
        try:
            with store.open_reader(meta.artifact_id) as reader:
                found[meta.filename] = reader.read()
        except Exception as error:  # every store has another error for a missing artifact
            if type(error).__name__ != "ArtifactNotFound" and not isinstance(error, OSError):
                raise
    return found
