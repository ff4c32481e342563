"""What a report tells of studies, read once: trials, best ones, importances, the classical rows on their mixture."""

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
from search.study.study import Study
from search.terminal.tables import importances_of
from search.trials import LATENCY_MS, N_PARAMETERS, REASON, SECONDS, Fate, best_trial, fate_of
from training.evaluation.compare import Comparison, Estimates, compare
from training.evaluation.scores import SCORES, better, classical_rows

CLASSICAL_REFERENCE = "identity"


@dataclass(frozen=True, slots=True)
class TrialFact:
    """One finished trial. score: its value, of a pruned one the last report; curve: every report by epoch.

    fate: INFEASIBLE where a constraint is broken.
    """

    number: int
    fate: Fate
    score: float | None
    params: dict[str, Any]
    curve: tuple[float, ...]
    n_parameters: int | None
    latency_ms: float | None
    seconds: float | None
    reason: str
    others: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class StudyFact:
    """One study. best: its best feasible trial. importances: none before there are enough trials."""

    source: Study
    result: StudyResult
    trials: tuple[TrialFact, ...]
    best: FrozenTrial | None
    importances: dict[str, float]

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def rising(self) -> bool:
        """Whether more is better."""
        return SCORES[self.source.spec.metric].direction == "maximize"

    @property
    def scored(self) -> tuple[TrialFact, ...]:
        """Complete, feasible trials, best first."""
        found = [t for t in self.trials if t.fate == Fate.COMPLETE and t.score is not None]
        return tuple(sorted(found, key=lambda t: (t.score or 0.0) * (-1 if self.rising else 1)))


@dataclass(frozen=True, slots=True, eq=False)
class MixtureFact:
    """A validation mixture, by its letter. classical: the classical rows on it; why_not: why there are none."""

    letter: str
    studies: tuple[StudyFact, ...]
    corpus: Corpus | None
    classical: Comparison | None
    why_not: str


def gather(studies: Sequence[Study], engine: Engine) -> tuple[StudyComparison, tuple[StudyFact, ...]]:
    """The studies, best first within each validation mixture, and their comparison."""
    found = compare_studies(studies, engine)
    by_name = {study.name: study for study in studies}
    return found, tuple(_study_fact(by_name[result.study], result) for result in found.results)


def _study_fact(study: Study, result: StudyResult) -> StudyFact:
    trials = study.optuna.get_trials(deepcopy=False)
    facts = tuple(_trial_fact(trial) for trial in trials if trial.state.is_finished())
    return StudyFact(study, result, facts, best_trial(study.optuna), importances_of(study))


def _trial_fact(trial: FrozenTrial) -> TrialFact:
    curve = tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    score = trial.value if trial.value is not None else curve[-1] if curve else None
    attributes = trial.user_attrs
    return TrialFact(
        number=trial.number,
        fate=fate_of(trial),
        score=score if score is not None and isfinite(score) else None,
        params=dict(trial.params),
        curve=curve,
        n_parameters=attributes.get(N_PARAMETERS),
        latency_ms=attributes.get(LATENCY_MS),
        seconds=attributes.get(SECONDS),
        reason=str(attributes.get(REASON, "")),
        others={name: attributes[name] for name in SCORES if name in attributes},
    )


def best_so_far(study: StudyFact) -> tuple[tuple[int, float], ...]:
    """(trial number, best score up to it) at every complete, feasible trial, by number."""
    steps: list[tuple[int, float]] = []
    score = SCORES[study.source.spec.metric]
    for trial in sorted(study.scored, key=lambda t: t.number):
        assert trial.score is not None
        known = steps[-1][1] if steps else None
        steps.append((trial.number, trial.score if known is None or better(score, trial.score, known) else known))
    return tuple(steps)


def mixtures(studies: Sequence[StudyFact], *, classical: bool) -> tuple[MixtureFact, ...]:
    """The validation mixtures that `studies` were scored on, with the classical rows where the recordings are here.

    Recordings that are not there, or not those of the search, cost the rows and are said.
    """
    letters = dict.fromkeys(study.result.mixture for study in studies)
    return tuple(
        _mixture(letter, tuple(study for study in studies if study.result.mixture == letter), classical)
        for letter in letters
    )


def _mixture(letter: str, studies: tuple[StudyFact, ...], classical: bool) -> MixtureFact:
    study = studies[0].source
    try:
        corpus = load(study.spec.data)
    except (ValueError, OSError) as error:
        return MixtureFact(letter, studies, None, None, f"The recordings cannot be read here: {error}.")
    if corpus.fingerprint != study.fingerprint:
        why = f"The recordings here ({corpus.fingerprint}) are not those of the search ({study.fingerprint})."
        return MixtureFact(letter, studies, None, None, why)
    if not classical:
        return MixtureFact(letter, studies, corpus, None, "Left out, as asked (--no-classical).")
    data = study.spec.data
    mixture = held_out(corpus.splits["validation"], data, data.validation)
    estimates = Estimates(mixture, classical_rows(mixture, data.band_hz), (), "validation", corpus.fingerprint)
    return MixtureFact(letter, studies, corpus, compare(estimates, CLASSICAL_REFERENCE), "")


def artifacts_of(study: Study, trial: FrozenTrial, store: ArtifactStore) -> dict[str, bytes]:
    """File name -> content of the trial's artifacts; those that are gone from the store are left out."""
    found = {}
    for meta in get_all_artifact_meta(trial, storage=study.optuna._storage):
        try:
            with store.open_reader(meta.artifact_id) as reader:
                found[meta.filename] = reader.read()
        except Exception as error:  # each store has its own error for what is not there
            if type(error).__name__ != "ArtifactNotFound" and not isinstance(error, OSError):
                raise
    return found
