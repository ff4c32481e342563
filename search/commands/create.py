"""Create the studies of a study file."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from data.corpus import Corpus, load
from data.errors import NoRecording
from data.leaks import find_leaks
from search.storage.open import explained, open_engine, open_storage
from search.study.spec import GivenSpec
from search.study.study import Study, enqueue
from search.study.study import create as create_studies
from search.study.warm import runs_from, warm_points
from search.terminal.tables import show_splits
from training.plugins.trust import remember


def create(
    given: GivenSpec,
    url: str,
    console: Console,
    *,
    quiet: bool = False,
    warm_start: Sequence[str] = (),
    warm_trials: int = 5,
) -> list[tuple[Study, int]]:
    """Create the studies of `given` in the database at `url`, and trust the plug-ins that it names.

    console: gets the split of the recordings, notes and warnings. quiet: print the warnings only.
    warm_start, warm_trials: see search.study.warm.runs_from.

    Returns each study and the number of points that `warm_start` enqueued in it. The studies cannot be used to read or
    write the database. Raises DataError, NoRecording, StudyError, StorageError, ConfigError, PluginError.
    """
    corpus = _load(given)  # first: unreadable recordings must leave no database behind
    leaks = find_leaks(corpus)
    if not quiet:
        show_splits(corpus, console)
    notes = () if quiet else (*corpus.notes, *leaks.notes)
    plugins = () if quiet else given.spec.plugins
    for line in (
        *(f"note: {note}" for note in notes),
        *(f"warning: {warning}" for warning in leaks.warnings),
        *(f"plug-in {plugin.label} is stored with the study" for plugin in plugins),
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    remember(given.named)
    with explained(url):
        backend, engine = open_storage(url), open_engine(url)
        try:
            # first: an unusable source must leave no study behind
            warm = [warm_points(given.spec, runs_from(source, backend, warm_trials), source) for source in warm_start]
            return [
                (study, enqueue(study.optuna, [point for points in warm for point in points[study.name]]))
                for study in create_studies(given.spec, backend, engine, corpus.fingerprint)
            ]
        finally:
            backend.remove_session()
            engine.dispose()


def _load(given: GivenSpec) -> Corpus:
    """Load the recordings. Raises DataError, and NoRecording with a hint where the folder of the file may be meant."""
    try:
        return load(given.spec.data)
    except NoRecording as error:
        if given.spec.schema_version == 1 and given.path.absolute().parent.resolve() != Path.cwd():
            hint = f"with schema_version = 2 in {given.path}, paths start from its folder"
            raise NoRecording(f"{error}; {hint}") from error
        raise
