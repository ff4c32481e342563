"""Create studies, and read stored ones as tables."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sqlalchemy import Engine

from data.errors import printable
from search.commands import create as commands
from search.errors import StudyGone, UserError
from search.storage.open import explained, open_storage, sqlite_file, storage_url
from search.storage.readable import Readable, open_readable
from search.study import export
from search.study import study as stored
from search.study.record import StudyRecord, load_record, names_by_identity, readable_records
from search.study.spec import StudySpec, prepare
from search.study.status import snapshot
from search.study.study import decode_study
from search.study.trial_table import columns_of, trial_row
from search.terminal.console import PlainConsole
from search.terminal.status import plain_line
from search.terminal.tables import importances_of
from search.trials import best_trial
from training.documents import read_document

SHOWN_ROWS = 10  # of the table of a study in a notebook


@dataclass(frozen=True, slots=True)
class BestTrial:
    """The best complete, feasible trial of a study. value: its score. params: its sampled parameters."""

    number: int
    value: float
    params: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A study of one model family in a database. Get one with `drivebeat.study` or `drivebeat.create`.

    Every attribute reads the database anew, without a write to it; `optuna` alone can write.

    name: as it was called when it was loaded; a renamed study is found by its identity. url: of the database.

    Each property raises StudyGone where the study was deleted, and StorageError for a database that cannot be read.
    """

    name: str
    identity: str
    url: str

    @cached_property
    def optuna(self) -> optuna.Study:
        """The study as Optuna's own object, for its functions: plots, `enqueue_trial`, importances.

        It reads only where this process may not write the database.
        """
        with self._read() as (record, _):
            name = record.name
        with explained(self.url):
            storage = open_storage(self.url) if _is_writable(self.url) else open_readable(self.url).storage
            return stored.load_study(name, storage).optuna

    @property
    def spec(self) -> StudySpec:
        """The study file, as it was when the study was created."""
        with self._read() as (record, _):
            return decode_study(record).spec

    @property
    def best(self) -> BestTrial | None:
        """The best complete, feasible trial; None where there is none yet."""
        with self._read() as (record, _):
            trial = best_trial(record.optuna)
        return None if trial is None or trial.value is None else BestTrial(trial.number, trial.value, trial.params)

    @property
    def trials(self) -> pd.DataFrame:
        """A table with a row for each trial, by number.

        The columns: number; state (complete, pruned, infeasible, failed, running, waiting); value, the score of the
        trial; epochs, how many it has reported; best_epoch, from 1; n_parameters and latency_ms of its model;
        `params_NAME` for each sampled parameter; each stored score, such as si_sdr_db and si_sdr_db@-5 at an SNR of
        -5 dB; started and ended, local times; duration_s between them, and training_s, the time spent in training;
        worker; device; reason, why it has this state.
        """
        with self._read() as (record, _):
            trials = record.optuna.get_trials(deepcopy=False)
            rows = [trial_row(trial) for trial in trials]
        return pd.DataFrame(rows, columns=columns_of(rows))

    @property
    def curves(self) -> pd.DataFrame:
        """A table of the reported scores: a row for each epoch from 1, a column for each trial, by number."""
        with self._read() as (record, _):
            trials = record.optuna.get_trials(deepcopy=False)
        reported = {t.number: {step + 1: v for step, v in t.intermediate_values.items()} for t in trials}
        table = pd.DataFrame({number: pd.Series(curve, dtype=float) for number, curve in reported.items() if curve})
        return table.sort_index().rename_axis(index="epoch", columns="trial")

    @property
    def importances(self) -> pd.Series:
        """The share of the differences in score that each sampled parameter explains, the largest first.

        Empty with fewer than ten complete trials.
        """
        with self._read() as (record, _):
            found = importances_of(decode_study(record))
        return pd.Series(found, dtype=float, name="importance").sort_values(ascending=False)

    def export(self, path: str | Path) -> Path:
        """Write the config of the best feasible trial, with its provenance, to `path` (.yaml or .json); return it.

        Raises StudyError where no trial is complete and feasible, ConfigError for another ending, FileError.
        """
        target = Path(path)
        with self._read() as (record, _):
            export.export([decode_study(record)], target)
        return target

    def __repr__(self) -> str:
        try:
            with self._read() as (record, engine):
                return printable(f"Study({plain_line(snapshot(record, engine))})")
        except UserError as error:
            return printable(f"Study({self.name}: {error})")

    def _repr_html_(self) -> str:
        try:
            table = self.trials.to_html(index=False, max_rows=SHOWN_ROWS)
        except UserError:
            table = ""
        return f"<p>{escape(repr(self))}</p>{table}"

    @contextmanager
    def _read(self) -> Iterator[tuple[StudyRecord, Engine]]:
        """Yield the study as it is stored now. Raises StudyGone, StorageError."""
        with _opened(self.url) as opened:
            name = names_by_identity(opened.engine).get(self.identity)
            if name is None:
                raise StudyGone(f"study {self.name!r} was deleted")
            yield load_record(name, opened.storage), opened.engine


def study(name: str, *, storage: str | Path | None = None) -> Study:
    """Return the stored study `name`.

    storage: URL of the database, or the path of a SQLite file; None for DRIVEBEAT_STORAGE, else studies.db in the
        working directory.

    Raises StudyError, with the nearest name, where there is none; StorageError for a database that cannot be read.
    """
    url = url_of(storage)
    with _opened(url) as opened:
        return _of(load_record(name, opened.storage), url)


def studies(storage: str | Path | None = None) -> list[str]:
    """Return the names of all studies that Drivebeat created in a database, sorted. storage: see `study`.

    Raises StorageError for a database that cannot be read.
    """
    with _opened(url_of(storage)) as opened:
        records, problems = readable_records(opened.storage)
    return sorted([*(record.name for record in records), *problems])


def create(
    spec: str | Path | Mapping[str, Any] | StudySpec, *, storage: str | Path | None = None, quiet: bool = False
) -> list[Study]:
    """Create the studies of a study file: a list with one study for each model family in it.

    An existing study takes over a changed budget, new enqueued points, `artifacts` and `final`. Any other difference
    is an error. The plug-ins whose files the study file names are trusted on this machine from now on.

    spec: the path of a study file, a mapping with the same keys, or a StudySpec (`Study.spec`, changed). Relative paths
        in a mapping start from the working directory.
    storage: see `study`; a SQLite file is made where it is missing.
    quiet: print warnings only.

    Raises ConfigError for a study file that is not valid, DataError for recordings that cannot be used, StudyError for
    a study of that name with other settings, StorageError.
    """
    url = url_of(storage)
    if isinstance(spec, str | Path):
        document, path = read_document(Path(spec)), Path(spec)
    else:
        document, path = spec if isinstance(spec, StudySpec) else plain(spec), Path("study")
    given = prepare(document, path, executing_named=True)
    return [_of(made, url) for made, _ in commands.create(given, url, PlainConsole(lines=True), quiet=quiet)]


def plain(value: Any) -> Any:
    """Return a document with paths and numbers of NumPy in it as plain values."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(inner) for inner in value]
    return value


def url_of(storage: str | Path | None) -> str:
    """Return the URL of a database: that of a SQLite file for a path, else as search.storage.open.storage_url."""
    is_path = isinstance(storage, PurePath) or (isinstance(storage, str) and storage != "" and "://" not in storage)
    return f"sqlite:///{storage}" if is_path else storage_url(str(storage) if storage is not None else None)


@contextmanager
def _opened(url: str) -> Iterator[Readable]:
    with explained(url):
        opened = open_readable(url)
        try:
            yield opened
        finally:
            opened.close()


def _of(found: StudyRecord | stored.Study, url: str) -> Study:
    return Study(found.name, found.identity, url)


def _is_writable(url: str) -> bool:
    """Return whether this process may write a database: a SQLite file and its folder, or any server."""
    path = sqlite_file(url)
    if path is None:
        return True
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)
