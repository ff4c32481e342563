"""What a FastStorage keeps between calls: in each process, and in each of its threads."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from search.storage.fast.cache import StudyCache
from search.storage.fast.decode import Decoder, Head
from search.storage.fast.new_trial import Counted
from search.storage.fast.reads import Since
from search.storage.fast.writes import Param, TrialKey

CREATED_S = 0.1  # a trial that was created this long ago is no longer returned without reading it


@dataclass(slots=True, eq=False)
class Batch:
    """Params and attributes that a block has set of one trial, and that are not written yet."""

    params: dict[str, Param] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    def clear(self) -> None:
        """Drop what is held, after it was written or refused."""
        self.params, self.user, self.system = {}, {}, {}


class ThreadState(threading.local):
    """What each thread keeps between its calls.

    created: the trial that its last statement created, and when (time.monotonic). refreshed: the cache that its last
    statement updated, and when. batches: open batches by trial_id.
    """

    created: tuple[FrozenTrial, float] | None = None
    refreshed: tuple[StudyCache, float] | None = None
    batches: dict[int, Batch] | None = None


class ProcessState:
    """What a FastStorage keeps in one process; a fork gets another one, for it may have copied a lock that is held.

    Threads share it. `directions` and `studies` are accessed with `lock` held; the methods acquire it themselves.

    A trial is remembered by its key, so that a write for a trial of a deleted study does nothing to another trial that
    got its trial_id. The keys of trials that this storage has created, begun or written to (`_own`) stay when its study
    is read again and is another one by then: a worker may still write to the old trial.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lock = threading.RLock()
        self.decoder = Decoder()
        self.directions: dict[int, list[StudyDirection]] = {}
        self.studies: dict[int, StudyCache] = {}
        self.thread = ThreadState()
        self._own: dict[int, TrialKey] = {}
        self._read: dict[int, TrialKey] = {}  # of trials that were read on their own
        self._new: set[int] = set()  # trials that nobody has read or written to since a thread created them

    def forget(self, study_id: int, *, own: bool = False) -> None:
        """Remove a study from the cache. own: also the keys of trials that this storage has written to."""
        with self.lock:
            self.directions.pop(study_id, None)
            self.studies.pop(study_id, None)
            for keys in (self._read, self._own) if own else (self._read,):
                for trial_id in [trial_id for trial_id, key in keys.items() if key.study_id == study_id]:
                    del keys[trial_id]

    def update(self, study_id: int, cache: StudyCache, rows: Sequence[Any]) -> None:
        """Add the rows of reads.changed_trials to the cache of a study."""
        with self.lock:
            self.studies[study_id] = cache
            cache.update(rows)
            trial_ids = {row[3] for row in rows if row[3] is not None}
            for trial_id in trial_ids & self._own.keys():
                if self._own[trial_id].study_id != study_id:
                    del self._own[trial_id]
            for other in [i for i, c in self.studies.items() if i != study_id and trial_ids & c.heads.keys()]:
                self.forget(other)  # it was deleted, and its trials' ids are given to this study's

    # keys of trials

    def key_of(self, trial_id: int) -> TrialKey | None:
        """Return the key of a trial as this storage has created or read it; None for an unknown trial."""
        with self.lock:
            if trial_id in self._own:
                return self._own[trial_id]
            for study_id, cache in self.studies.items():
                if (head := cache.heads.get(trial_id)) is not None:
                    return TrialKey(study_id, head.number, head.began)
            return self._read.get(trial_id)

    def wrote(self, trial_id: int, key: TrialKey | None) -> None:
        """Remember the key of a trial that this storage has written to."""
        if key is not None:
            with self.lock:
                self._own[trial_id] = key

    def add_read(self, study_id: int, head: Head, trial: FrozenTrial) -> TrialKey:
        """Remember a trial that was read on its own, and return its key."""
        trial_id, key = trial._trial_id, TrialKey(study_id, head.number, head.began)
        with self.lock:
            for other, cache in list(self.studies.items()):
                known = cache.heads.get(trial_id)
                if known is not None and not TrialKey(other, known.number, known.began).is_of(key):
                    self.forget(other)  # another study has its id by now
            self._read[trial_id] = key
            if trial.state.is_finished() and (found := self.studies.get(study_id)) is not None:
                found.add_finished(trial)
        return key

    # trials that were just created

    def count_from(self, study_id: int) -> Counted:
        """Return from which trials the number of a new one is counted."""
        with self.lock:
            cache = self.studies.get(study_id)
            if cache is None or cache.proof_began is None:
                return Counted()
            return Counted(cache.newest, len(cache.heads), cache.proof, cache.proof_began)

    def add_created(self, trial_id: int, key: TrialKey, trial: FrozenTrial | None) -> None:
        """Remember a trial that this thread has created. trial: what its next get_trial returns, else it reads."""
        with self.lock:
            cache = self.studies.get(key.study_id)
            if cache is not None and trial_id <= cache.newest:
                self.forget(key.study_id)  # the cache is of another study that had the id
            self._own[trial_id] = key
            if trial is not None:
                self._new.add(trial_id)
                self.thread.created = trial, time.monotonic()

    def take_created(self, trial_id: int) -> FrozenTrial | None:
        """Return the trial that this thread has just created, once, and only if nobody has used it since."""
        created = self.thread.created
        if created is None or created[0]._trial_id != trial_id:
            self.touch(trial_id)
            return None
        fresh = time.monotonic() - created[1] <= CREATED_S
        self.thread.created = None
        with self.lock:
            unused = trial_id in self._new
            self._new.discard(trial_id)
        return created[0] if fresh and unused else None

    def touch(self, trial_id: int) -> None:
        """Note that a trial is used, so that it is read from the database from now on."""
        with self.lock:
            self._new.discard(trial_id)

    def start_statement(self) -> None:
        """Drop what is valid only until this thread's next statement."""
        thread = self.thread
        if thread.created is not None:
            self.touch(thread.created[0]._trial_id)
        thread.created = thread.refreshed = None


def since(cache: StudyCache) -> Since:
    """Return what the cache has, from which reads.changed_trials continues."""
    return Since(cache.proof, cache.newest, cache.running, cache.waiting, cache.rungs is not None)
