"""The API's response about one study, made of cached parts, so that studies of 10,000 trials open quickly.

Of a finished trial only the note and the removal of its artifacts can still change. So its JSON is cached, and so is
the compressed JSON of each block of BLOCK finished trials.
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
from search.trials import IDENTITY, PLUGIN, REMOVED, SPACE, SPEC, best_feasible, is_feasible

STUDY_PATH = re.compile(r"/api/studies/([0-9]{1,9})(/.*)?", re.DOTALL)
AFTER = re.compile(r"[0-9]{1,18}")
BLOCK = 1024  # trials that are compressed together
FEW_NOTES = 20  # up to this number, changed notes are read by their ids, else the notes of all trials
HIDDEN_STUDY_PATH = frozenset({SPEC, SPACE, IDENTITY})  # `drivebeat show` and the study's note show what they hold


@dataclass(frozen=True, slots=True, eq=False)
class _CachedTrial:
    """The JSON of a trial. For a finished trial it is valid until its note or the removal of its artifacts changes.

    version: of the trial's note, 0 without a note.
    removed: whether its artifacts were removed.
    text: the JSON.
    """

    trial: FrozenTrial
    version: int
    removed: bool
    text: bytes


@dataclass(slots=True, eq=False)
class _Page:
    """The cache of one study.

    study: the object that PageStorage.known returned for it.
    cached: trial number -> its JSON.
    blocks: block number -> the trials of the block and their compressed JSON.
    extra: optuna-dashboard's summary of all trials, such as the union of their search spaces.
    shapes: what the summary has seen already. The values keep the distributions alive, whose ids are in the keys.
    """

    study: object
    lock: threading.Lock = field(default_factory=threading.Lock)
    cached: dict[int, _CachedTrial] = field(default_factory=dict)
    blocks: dict[int, tuple[tuple[_CachedTrial, ...], Piece]] = field(default_factory=dict)
    extra: CachedExtraStudyProperty = field(default_factory=CachedExtraStudyProperty)
    shapes: dict[tuple[Any, ...], tuple[BaseDistribution, ...]] = field(default_factory=dict)


class StudyPages:
    """A WSGI application for GET /api/studies/ID?after=N. It passes all other requests to optuna-dashboard."""

    def __init__(self, storage: PageStorage, rest: WSGIApplication) -> None:
        self._storage, self._rest = storage, rest
        self._pages: dict[int, _Page] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match = STUDY_PATH.fullmatch(environ.get("PATH_INFO", ""))
        page = self._page(int(match[1])) if match else None
        if match is None or page is None:
            return self._rest(environ, start_response)
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        whole = environ["REQUEST_METHOD"] == "GET" and match[2] in (None, "/")
        if not whole or not AFTER.fullmatch(after):
            return self._rest(environ, start_response)
        study = next((s for s in self._storage.get_all_studies() if s._study_id == int(match[1])), None)
        if study is None or study.system_attrs.get(PREFERENTIAL_STUDY):
            return self._rest(environ, start_response)
        with page.lock:
            parts = self._detail(study, page, int(after))
        return reply(parts, environ, start_response, [("Content-Type", "application/json")])

    def _page(self, study_id: int) -> _Page | None:
        """Return the cache of the study, emptied if its id now belongs to another study; None for no such study."""
        study = self._storage.known(study_id)
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
        changed = self._refresh(study, page, trials)
        _summarise(page, changed)
        cached = [page.cached[trial.number] for trial in trials]
        texts = [json.dumps(_without_trials(study, trials, page), separators=(",", ":")).encode()]
        texts = [b'{"trials":[', b'],"best_trials":[' + b",".join(_best(study, trials, page)) + b"]," + texts[0][1:]]
        return [piece(texts[0]), *_row(page, cached, after), piece(texts[1])]

    def _refresh(self, study: FrozenStudy, page: _Page, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Update `page.cached` and return the trials that are not in the page's summary yet."""
        engine, study_id = self._storage.engine, study._study_id
        attributes = system_attributes(engine, study_id, NOTE_VERSION, f"{REMOVED}%")
        removed = {trial_of_key(key) for key in attributes if key.startswith(REMOVED)}
        versions = {trial_of_key(key): int(value) for key, value in attributes.items() if not key.startswith(REMOVED)}
        stale = [t for t in trials if not _is_valid(page.cached.get(t.number), t, versions, removed)]
        changed = [t._trial_id for t in stale if t._trial_id in versions]
        patterns = [f"dashboard:{i}:note_str:%" for i in changed] if len(changed) <= FEW_NOTES else [NOTE_TEXT]
        notes = notes_by_trial(system_attributes(engine, study_id, *patterns)) if changed else {}
        known = {t.number for t in stale if (old := page.cached.get(t.number)) is not None and old.trial is t}
        writer = TrialWriter(study_id, first_epoch=int(SPEC in study.user_attrs))
        for trial in stale:
            version = versions.get(trial._trial_id, 0)
            note = {f"dashboard:{trial._trial_id}:note_ver": version, **notes.get(trial._trial_id, {})}
            is_removed = trial._trial_id in removed
            text = writer.json_of(trial, note if version else {}, is_removed)
            page.cached[trial.number] = _CachedTrial(trial, version, is_removed, text)
        return [trial for trial in stale if trial.number not in known]


def _forget_importances(study_id: int, application: WSGIApplication) -> None:
    """Clear optuna-dashboard's cached importances and trials of a study id that belongs to another study now.

    Its importances are cached by the study's id and the number of complete trials.
    """
    with param_importance_cache_lock:
        for key in [key for key in param_importance_cache if key.startswith(f"{study_id}:")]:
            del param_importance_cache[key]
    if (trials := getattr(application, "_inmemory_cache", None)) is not None:
        trials.clear()


def _summarise(page: _Page, trials: Iterable[FrozenTrial]) -> None:
    """Add `trials` to the page's summary. Trials like one that it contains already are skipped."""
    new = []
    for trial in trials:
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
        page.extra._cursor = -1  # else it skips trials older than the newest running trial that it has seen
        page.extra.update(new)
        page.extra._union_user_attrs = {k: v for k, v in page.extra._union_user_attrs.items() if k not in HIDDEN}


def _is_valid(cached: _CachedTrial | None, trial: FrozenTrial, versions: dict[int, int], removed: set[int]) -> bool:
    return (
        cached is not None
        and cached.trial is trial  # PageStorage returns the same object for a finished trial every time
        and trial.state.is_finished()
        and cached.version == versions.get(trial._trial_id, 0)
        and cached.removed == (trial._trial_id in removed)
    )


def _row(page: _Page, cached: Sequence[_CachedTrial], after: int) -> list[Piece]:
    """Return the JSON of the trials from number `after` on, joined by commas. Blocks of finished trials are cached."""
    pieces: list[Piece] = []
    at = after
    while at < len(cached):
        number, end = at // BLOCK, (at // BLOCK + 1) * BLOCK
        rows = tuple(cached[at:end])
        text = b"," * (at > after) + b",".join(row.text for row in rows)
        whole = at > after and len(rows) == BLOCK and all(row.trial.state.is_finished() for row in rows)
        block = page.blocks.get(number) if whole else None
        if block is not None and all(a is b for a, b in zip(block[0], rows, strict=True)):
            pieces.append(block[1])
        else:
            pieces.append(piece(text))
            if whole:
                page.blocks[number] = (rows, pieces[-1])
        at = end
    return pieces


def _best(study: FrozenStudy, trials: Sequence[FrozenTrial], page: _Page) -> list[bytes]:
    """Return the JSON of the best feasible trial, or of each trial on the feasible Pareto front."""
    if len(study.directions) == 1:
        best = best_feasible(trials, study.directions[0])
        front = [] if best is None else [best]
    else:
        # other programs can store another number of values
        usable = [t for t in trials if t.state == TrialState.COMPLETE and len(t.values or ()) == len(study.directions)]
        complete = [trial for trial in usable if is_feasible(trial)]
        front = get_pareto_front_trials(trials=complete, directions=study.directions)
    return [page.cached[trial.number].text for trial in front]


def _is_long(key: str) -> bool:
    return key in HIDDEN_STUDY_PATH or key.startswith(PLUGIN)


def _without_trials(study: FrozenStudy, trials: Sequence[FrozenTrial], page: _Page) -> dict[str, Any]:
    """Return the response without its trials."""
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
    detail["user_attrs"] = serialize_attrs({k: v for k, v in study.user_attrs.items() if not _is_long(k)})
    detail["plotly_graph_objects"].sort(key=lambda row: row["id"])
    return {name: value for name, value in detail.items() if name not in ("trials", "best_trials")}
