"""Commands that change stored studies: enqueue, cancel, rename, copy, adopt, delete."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Artifacts, Storage
from search.defaults import ARTIFACTS

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Engine

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def enqueue_command(
    name: StudyName,
    values: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", help="Value of a searched parameter; others are sampled.")
    ],
    storage: Storage = None,
) -> None:
    """Enqueue a trial with given values. The next free worker runs it, as one trial of the budget."""
    from search.study.finished import stop_reason
    from search.study.study import enqueue, load_study, parse_point

    with _opened(storage) as (opened, engine):
        study = load_study(name, opened)
        point = parse_point(values, study)
        n_new = enqueue(study.optuna, [point])
        reason = stop_reason(study, engine)
    shown = ", ".join(f"{key} {value}" for key, value in point.items())
    typer.echo(f"study {study.name}: enqueued {shown}" if n_new else f"study {study.name}: {shown} has a trial already")
    if n_new and reason:
        typer.echo(
            f"warning: {reason}; raise [budget] in the study file and create it again, or the trial waits", err=True
        )


def cancel_command(
    name: StudyName,
    trial: Annotated[int, typer.Argument(min=0, metavar="TRIAL", help="Number of a waiting or running trial.")],
    storage: Storage = None,
    yes: Yes = False,
) -> None:
    """Cancel a waiting or running trial. It fails, and the budget gives another trial for it."""
    from search.study.lifecycle import cancel, cancellable

    with _opened(storage) as (opened, _):
        cancellable(name, trial, opened)
        _ask(f"Cancel trial {trial} of study {name}?", yes)
        before = cancel(name, trial, opened)
    typer.echo(f"study {name}: trial {trial}, which was {before.name.lower()}, is cancelled")


def rename_command(
    name: StudyName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    storage: Storage = None,
) -> None:
    """Rename a study. Its workers go on under the new name."""
    from search.study.lifecycle import rename

    with _opened(storage) as (opened, engine):
        rename(name, new, opened, engine)
    typer.echo(f"study {name} is now called {new}")


def copy_command(
    name: StudyName,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Database to copy to.", show_default=False)],
    new: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the copy.", show_default="the same")
    ] = None,
    storage: Storage = None,
) -> None:
    """Copy a study into another database, with its trials, notes and the rest of its budget.

    The artifacts are not copied: give the copy's workers the same --artifacts. The original owns them, and deletes them
    when it is deleted. Stop the workers of the study first, or both databases run the rest of its budget.
    """
    from search.storage.open import explained, masked, open_engine, open_storage
    from search.study.lifecycle import copy, find

    with _opened(storage) as (source, engine):
        find(source, name)  # first: a misspelt name must leave no database behind
        with explained(to):
            copy(name, source, engine, open_storage(to), open_engine(to), new or name)
    typer.echo(f"study {name} is copied to {masked(to)} as {new or name}")


def adopt_command(name: StudyName, storage: Storage = None) -> None:
    """Give a budget to a study that another program has copied into this database.

    The budget is that of its study file. The trials of it that Drivebeat ran count.
    """
    from search.study.adopt import adopt

    with _opened(storage) as (opened, engine):
        state = adopt(name, opened, engine).progress
    left = f"; {state.open} to start again" if state.open else ""
    typer.echo(f"study {name}: {state.finished} of {state.budget} trials of its budget have finished{left}")


def delete_command(
    name: StudyName,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    yes: Yes = False,
) -> None:
    """Delete a study with its trials, artifacts and checkpoints. A worker that trains for it ends the trial."""
    from search.artifacts.open import open_artifacts
    from search.study.lifecycle import delete, find

    with _opened(storage) as (opened, engine):
        n_trials = opened.get_n_trials(find(opened, name)._study_id)
        _ask(f"Delete study {name} with {n_trials} trials?", yes)
        store = open_artifacts(artifacts)
        n_trials = delete(name, opened, engine, store, lambda line: typer.echo(line, err=True))
    typer.echo(f"study {name} with {n_trials} trials is deleted")


@contextmanager
def _opened(storage: str | None) -> "Iterator[tuple[BaseStorage, Engine]]":
    """Open the database of the option, which must exist, and explain its errors in the block."""
    from search.storage.open import explained, open_engine, open_storage, require_file, storage_url

    url = storage_url(storage)
    require_file(url)
    with explained(url):
        yield open_storage(url), open_engine(url)


def _ask(question: str, yes: bool) -> None:
    """Ask the user unless `yes`. Raises ConfigError where nobody can answer, and typer.Abort for the answer no."""
    import sys

    from search.errors import ConfigError

    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody can answer here; add --yes")
    typer.confirm(question, abort=True)
