"""The API's answer about one study, made of parts that are kept: 10,000 trials in a blink.

A finished trial never changes but for its note and for artifacts that were removed, so its JSON is made once, and
a thousand of them in a row are compressed once. The page's numbers have fewer digits than the database's, which halves
what goes over the wire; the CSV and the export have them all.
"""

import copy
import json
import math
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.distributions import BaseDistribution
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._inmemory_cache import _CachedExtraStudyProperty
from optuna_dashboard._pareto_front import get_pareto_front_trials
from optuna_dashboard._serializer import (
    serialize_attrs,
    serialize_distribution,
    serialize_frozen_trial,
    serialize_study_detail,
)
from optuna_dashboard.preferential._study import _SYSTEM_ATTR_PREFERENTIAL_STUDY

from search.dashboard_storage import PageStorage, best_feasible
from search.dashboard_wire import Piece, piece, reply
from search.export import is_feasible
from search.study import SPACE, SPEC
from search.study_attributes import NOTE_TEXT, NOTE_VERSION, REMOVED, notes_by_trial, system_attributes, trial_of_key
from search.trial import RUN
from search.trial_note import BY_SNR

DETAIL = re.compile(r"/api/studies/(\d+)/?")
BLOCK = 1024  # trials that are compressed together
FEW = 20
REPORT_DIGITS, PARAM_DIGITS, VALUE_DIGITS = 4, 6, 6
HIDDEN = frozenset({RUN, BY_SNR})  # long documents: the artifact run.yaml and the note show them
HIDDEN_OF_STUDY = frozenset({SPEC, SPACE})  # `drivebeat show` and the study's note show them


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """A trial's JSON, as it was with that version of its note; of a finished trial it holds until either changes."""

    trial: FrozenTrial
    version: int
    removed: bool
    text: bytes


@dataclass(slots=True, eq=False)
class _Page:
    """What is kept of one study."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    told: dict[int, _Told] = field(default_factory=dict)
    blocks: dict[int, tuple[tuple[_Told, ...], Piece]] = field(default_factory=dict)
    extra: _CachedExtraStudyProperty = field(default_factory=_CachedExtraStudyProperty)


class StudyPages:
    """A WSGI application that answers GET /api/studies/ID?after=N as optuna-dashboard would, and hands on the rest."""

    def __init__(self, storage: PageStorage, rest: WSGIApplication) -> None:
        self._storage, self._rest = storage, rest
        self._pages: dict[int, _Page] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = DETAIL.fullmatch(environ.get("PATH_INFO", ""))
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        if environ["REQUEST_METHOD"] != "GET" or asked is None or not after.isascii() or not after.isdigit():
            return self._rest(environ, start_response)
        study = next((s for s in self._storage.get_all_studies() if s._study_id == int(asked[1])), None)
        if study is None or study.system_attrs.get(_SYSTEM_ATTR_PREFERENTIAL_STUDY):
            return self._rest(environ, start_response)
        with self._lock:
            page = self._pages.setdefault(study._study_id, _Page())
        with page.lock:
            parts = self._detail(study, page, int(after))
        return reply(parts, environ, start_response, [("Content-Type", "application/json")])

    def _detail(self, study: FrozenStudy, page: _Page, after: int) -> list[Piece]:
        trials = self._storage.get_all_trials(study._study_id, deepcopy=False)
        fresh = self._refresh(study._study_id, page, trials)
        if fresh:
            page.extra.update(fresh)
            page.extra._union_user_attrs = {k: v for k, v in page.extra._union_user_attrs.items() if k not in HIDDEN}
        told = [page.told[trial.number] for trial in trials]
        texts = [json.dumps(_rest_of(study, trials, page), separators=(",", ":")).encode()]
        texts = [b'{"trials":[', b'],"best_trials":[' + b",".join(_best(study, trials, page)) + b"]," + texts[0][1:]]
        return [piece(texts[0]), *_row(page, told, after), piece(texts[1])]

    def _refresh(self, study_id: int, page: _Page, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Bring `page.told` up to date; the trials whose parameters or attributes may be new."""
        engine = self._storage.engine
        marks = system_attributes(engine, study_id, NOTE_VERSION, f"{REMOVED}%")
        removed = {trial_of_key(key) for key in marks if key.startswith(REMOVED)}
        versions = {trial_of_key(key): int(value) for key, value in marks.items() if not key.startswith(REMOVED)}
        stale = [t for t in trials if not _holds(page.told.get(t.number), t, versions, removed)]
        changed = [t._trial_id for t in stale if t._trial_id in versions]
        patterns = [f"dashboard:{i}:note_str:%" for i in changed] if len(changed) <= FEW else [NOTE_TEXT]
        notes = notes_by_trial(system_attributes(engine, study_id, *patterns)) if changed else {}
        known = {t.number for t in stale if (was := page.told.get(t.number)) is not None and was.trial is t}
        for trial in stale:
            version = versions.get(trial._trial_id, 0)
            note = {f"dashboard:{trial._trial_id}:note_ver": version, **notes.get(trial._trial_id, {})}
            gone = trial._trial_id in removed
            text = _trial_json(study_id, trial, note if version else {}, gone)
            page.told[trial.number] = _Told(trial, version, gone, text)
        return [trial for trial in stale if trial.number not in known]


def _holds(told: _Told | None, trial: FrozenTrial, versions: dict[int, int], removed: set[int]) -> bool:
    return (
        told is not None
        and told.trial is trial  # the storage's cache hands out the same finished trial every time
        and trial.state.is_finished()
        and told.version == versions.get(trial._trial_id, 0)
        and told.removed == (trial._trial_id in removed)
    )


def _row(page: _Page, told: Sequence[_Told], after: int) -> list[Piece]:
    """The JSON of trials from number `after` on, with commas between; whole blocks of finished ones are kept."""
    pieces: list[Piece] = []
    at = after
    while at < len(told):
        number, end = at // BLOCK, (at // BLOCK + 1) * BLOCK
        rows = tuple(told[at:end])
        text = b"," * (at > after) + b",".join(row.text for row in rows)
        whole = at > after and len(rows) == BLOCK and all(row.trial.state.is_finished() for row in rows)
        kept = page.blocks.get(number) if whole else None
        if kept is not None and all(a is b for a, b in zip(kept[0], rows, strict=True)):
            pieces.append(kept[1])
        else:
            pieces.append(piece(text))
            if whole:
                page.blocks[number] = (rows, pieces[-1])
        at = end
    return pieces


def _best(study: FrozenStudy, trials: Sequence[FrozenTrial], page: _Page) -> list[bytes]:
    """The JSON of the best feasible trial, or of the Pareto front of feasible ones."""
    if len(study.directions) == 1:
        best = best_feasible(trials, study.directions[0])
        front = [] if best is None else [best]
    else:
        complete = [t for t in trials if t.state == TrialState.COMPLETE and is_feasible(t)]
        front = get_pareto_front_trials(trials=complete, directions=study.directions)
    return [page.told[trial.number].text for trial in front]


def _rest_of(study: FrozenStudy, trials: Sequence[FrozenTrial], page: _Page) -> dict[str, Any]:
    """The answer without its trials."""
    extra = page.extra
    detail: dict[str, Any] = serialize_study_detail(
        study,
        [],
        [],
        extra.intersection_search_space,
        extra.union_search_space,
        extra.union_user_attrs,
        extra.has_intermediate_values,
        get_plotly_graph_objects(study.system_attrs),
        [],
    )
    detail["user_attrs"] = serialize_attrs({k: v for k, v in study.user_attrs.items() if k not in HIDDEN_OF_STUDY})
    detail["plotly_graph_objects"].sort(key=lambda row: row["id"])
    return {name: value for name, value in detail.items() if name not in ("trials", "best_trials")}


def _trial_json(study_id: int, trial: FrozenTrial, note: dict[str, Any], removed: bool) -> bytes:
    # what there is much of, params and reports, is told here: the stock serialiser takes three times as long for them
    rest = copy.copy(trial)
    rest._params, rest._distributions, rest.intermediate_values = {}, {}, {}
    told: dict[str, Any] = serialize_frozen_trial(study_id, rest, note)
    told["params"] = [_param(name, value, trial.distributions[name]) for name, value in trial.params.items()]
    told["intermediate_values"] = [
        {"step": step, "value": _rounded(value, REPORT_DIGITS) if math.isfinite(value) else str(value)}
        for step, value in sorted(trial.intermediate_values.items())
    ]
    # where Optuna 5 keeps them, which the serialiser does not know
    told["constraints"] = list(trial.constraints.values())
    told["user_attrs"] = serialize_attrs({k: v for k, v in trial.user_attrs.items() if k not in HIDDEN})
    if removed:
        told["artifacts"] = []
    if "values" in told:
        told["values"] = [_rounded(value, VALUE_DIGITS) for value in told["values"]]
    return json.dumps(told, separators=(",", ":")).encode()


def _param(name: str, value: Any, distribution: BaseDistribution) -> dict[str, Any]:
    inner = distribution.to_internal_repr(value)
    return {
        "name": name,
        "param_internal_value": _rounded(inner, PARAM_DIGITS) if isinstance(value, float) else inner,
        "param_external_value": str(_rounded(value, PARAM_DIGITS)),
        "param_external_pytyp": str(type(value)),
        "distribution": serialize_distribution(distribution),
    }


def _rounded(value: Any, digits: int) -> Any:
    """A float to so many significant digits; "inf", "nan" and integers as they are."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
