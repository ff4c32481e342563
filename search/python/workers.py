"""Search with worker processes on this machine."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from search.defaults import ARTIFACTS, LOGS
from search.errors import ConfigError, LaunchError
from search.launch.base import Launch
from search.launch.launch import launch
from search.messages import stalled
from search.python.studies import Study, url_of
from search.python.studies import study as study_called
from search.signals import Interrupted
from search.terminal.console import PlainConsole
from search.terminal.status import plain_line
from training.switches import read_switches

# Not Sequence[str], which a text is too.
Studies = Sequence[Study] | list[str] | tuple[str, ...]


@overload
def search(
    study: Study | str,
    *,
    workers: int | None = 1,
    storage: str | Path | None = None,
    artifacts: str | Path | None = None,
    threads: int | None = None,
    logs: str | Path = LOGS,
    quiet: bool = False,
) -> Study: ...


@overload
def search(
    study: Studies,
    *,
    workers: int | None = 1,
    storage: str | Path | None = None,
    artifacts: str | Path | None = None,
    threads: int | None = None,
    logs: str | Path = LOGS,
    quiet: bool = False,
) -> list[Study]: ...


def search(
    study: Study | str | Studies,
    *,
    workers: int | None = 1,
    storage: str | Path | None = None,
    artifacts: str | Path | None = None,
    threads: int | None = None,
    logs: str | Path = LOGS,
    quiet: bool = False,
) -> Study | list[Study]:
    """Run a search with worker processes on this machine until its budget is spent, and print its progress.

    A line is printed for each trial that ends, and the progress every ten seconds. Ctrl-C, or a notebook's stop button,
    stops the workers; the same call continues the search. A worker that crashes is restarted.

    study: a study or its name, or a list of them, such as `drivebeat.create` returns.
    workers: how many processes; None: one for each GPU, 2 without a GPU.
    storage: of studies that are given by name, see `drivebeat.study`.
    artifacts: folder or s3://BUCKET/PREFIX; None for DRIVEBEAT_ARTIFACTS, else the folder "artifacts".
    threads: CPU threads of each worker; None: an equal share of this machine's.
    logs: folder for the workers' logs.
    quiet: print nothing.

    Returns a study, or a list of studies where a list was given.

    Raises LaunchError where the workers ended before the budget was spent, KeyboardInterrupt once the workers have
    stopped, StudyError, StorageError.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise LaunchError(f"{name} is {value}; at least 1 is needed")
    given: Sequence[Study | str] = [study] if isinstance(study, Study | str) else list(study)
    found = [study_called(one, storage=storage) if isinstance(one, str) else one for one in given]
    urls = {one.url for one in found} | ({url_of(storage)} if storage is not None else set())
    if not found:
        raise ConfigError("no study is given; give a study, its name, or a list of studies")
    if len(urls) != 1:
        raise ConfigError(f"the studies are in {len(urls)} databases; search those of one database in one call")
    switches, console = read_switches(), PlainConsole(lines=True, quiet=quiet)
    request = Launch(
        studies=tuple(one.identity for one in found),
        url=urls.pop(),
        artifacts=str(artifacts or os.environ.get("DRIVEBEAT_ARTIFACTS") or ARTIFACTS),
        n_workers=workers,
        logs=Path(logs),
        threads=threads,
    )
    called = ", ".join(one.name for one in found)
    try:
        snaps = launch(request, console)
    except Interrupted as end:
        if end.number != signal.SIGINT:
            signal.raise_signal(end.number)  # now that the workers have stopped, it ends this process or is handled
        raise KeyboardInterrupt(f"the workers have stopped; the same call continues the search of {called}") from None
    except LaunchError as error:
        stalled(called, str(error), switches, print)
        raise
    for snap in snaps:
        console.print(plain_line(snap), soft_wrap=True, highlight=False, markup=False)
    return found[0] if isinstance(study, Study | str) else found
