"""The API's answer about one study, made of parts that are kept: 10,000 trials in a blink.

A finished trial never changes but for its note and for artifacts that were removed, so its JSON is made once, and
a thousand of them in a row are compressed once.
"""

import json
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.dashboard.http import Piece, piece, reply
from search.dashboard.private import (
    PREFERENTIAL_STUDY,
    CachedExtraStudyProperty,
    get_pareto_front_trials,
    get_plotly_graph_objects,
    param_importance_cache,
    param_importance_cache_lock,
    serialize_attrs,
    serialize_study_detail,
)
from search.dashboard.storage import PageStorage
from search.dashboard.trial_json import HIDDEN, TrialWriter
from search.storage.fast.reads import NOTE_TEXT, NOTE_VERSION, notes_by_trial, system_attributes, trial_of_key
from search.storage.optuna_private import FrozenStudy
from search.trials import REMOVED, SPACE, SPEC, best_feasible, is_feasible

OF_STUDY = re.compile(r"/api/studies/(\d{1,9})(/.*)?")
BLOCK = 1024  # trials that are compressed together
FEW = 20
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
    """What is kept of one study, `study` by its identity in the storage."""

    study: object
    lock: threading.Lock = field(default_factory=threading.Lock)
    told: dict[int, _Told] = field(default_factory=dict)
    blocks: dict[int, tuple[tuple[_Told, ...], Piece]] = field(default_factory=dict)
    extra: CachedExtraStudyProperty = field(default_factory=CachedExtraStudyProperty)
    shapes: dict[tuple[Any, ...], tuple[BaseDistribution, ...]] = field(default_factory=dict)  # kept: ids are of these


class StudyPages:
    """A WSGI application that answers GET /api/studies/ID?after=N as optuna-dashboard would, and hands on the rest."""

    def __init__(self, storage: PageStorage, rest: WSGIApplication) -> None:
        self._storage, self._rest = storage, rest
        self._pages: dict[int, _Page] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = OF_STUDY.fullmatch(environ.get("PATH_INFO", ""))
        page = self._page(int(asked[1])) if asked else None
        if asked is None or page is None:
            return self._rest(environ, start_response)
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        whole = environ["REQUEST_METHOD"] == "GET" and asked[2] in (None, "/")
        if not whole or not after.isascii() or not after.isdigit():
            return self._rest(environ, start_response)
        study = next((s for s in self._storage.get_all_studies() if s._study_id == int(asked[1])), None)
        if study is None or study.system_attrs.get(PREFERENTIAL_STUDY):
            return self._rest(environ, start_response)
        with page.lock:
            parts = self._detail(study, page, int(after))
        return reply(parts, environ, start_response, [("Content-Type", "application/json")])

    def _page(self, study_id: int) -> _Page | None:
        """The study's page: an empty one where the study is another one than before; None: no such study."""
        study = self._storage.identity(study_id)
        if study is None:
            return None
        with self._lock:
            page = self._pages.get(study_id)
            if page is None or page.study is not study:
                page = self._pages[study_id] = _Page(study)
                _forget_importances(study_id, self._rest)
        return page

    def _detail(self, study: FrozenStudy, page: _Page, after: int) -> list[Piece]:
        trials = self._storage.get_all_trials(study._study_id, deepcopy=False)
        fresh = self._refresh(study._study_id, page, trials)
        _learn(page, fresh)
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
        writer = TrialWriter(study_id)
        for trial in stale:
            version = versions.get(trial._trial_id, 0)
            note = {f"dashboard:{trial._trial_id}:note_ver": version, **notes.get(trial._trial_id, {})}
            gone = trial._trial_id in removed
            text = writer.json_of(trial, note if version else {}, gone)
            page.told[trial.number] = _Told(trial, version, gone, text)
        return [trial for trial in stale if trial.number not in known]


def _forget_importances(study_id: int, application: WSGIApplication) -> None:
    """optuna-dashboard keeps them by the study's id and the number of complete trials."""
    with param_importance_cache_lock:
        for key in [key for key in param_importance_cache if key.startswith(f"{study_id}:")]:
            del param_importance_cache[key]
    if (trials := getattr(application, "_inmemory_cache", None)) is not None:
        trials.clear()


def _learn(page: _Page, fresh: Iterable[FrozenTrial]) -> None:
    """Take in what the page says of all trials together. One that has what another one had of it adds nothing."""
    new = []
    for trial in fresh:
        shape = (
            trial.state == TrialState.FAIL,
            bool(trial.intermediate_values),
            tuple((name, id(distribution)) for name, distribution in trial._distributions.items()),
            tuple((name, type(value)) for name, value in trial._user_attrs.items()),
        )
        if shape not in page.shapes:
            page.shapes[shape] = tuple(trial._distributions.values())
            new.append(trial)
    if new:
        page.extra._cursor = -1  # it would leave out trials before the newest one that it saw running
        page.extra.update(new)
        page.extra._union_user_attrs = {k: v for k, v in page.extra._union_user_attrs.items() if k not in HIDDEN}


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
