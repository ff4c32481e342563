"""Commands for looking on: a search as it goes, and whether all is well here."""

from typing import Annotated

import typer

from search.cli.studies import ARTIFACTS, Artifacts, Storage


def watch_command(
    study: Annotated[str, typer.Argument(help="A study, or a study file's name for all its families.")],
    storage: Storage = None,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: one JSON document, for programs.")] = False,
) -> None:
    """Look on at a search, wherever its workers run: progress, best, running trials, the last ends and why.

    It ends with the search, or at Ctrl-C, which stops no worker. Piped, it tells plain lines.
    """
    import dataclasses
    import json

    from rich.console import Console

    from search.storage.open import explained, open_engine, open_storage, storage_url
    from search.study.record import all_told
    from search.study.status import snapshot
    from search.terminal.watch import watch

    if as_json and not once:
        raise typer.BadParameter("--json goes with --once; ask again for a later look")
    url = storage_url(storage)
    with explained(url):
        searches, engine = all_told(open_storage(url), study), open_engine(url)
        if as_json:
            found = [dataclasses.asdict(snapshot(search, engine)) for search in searches]
            typer.echo(json.dumps(found, indent=2))
        else:
            watch(searches, engine, Console(), every_s=every, once=once)
    engine.dispose()


def doctor_command(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY", help="A study, or a study file: its recordings are read too.", show_default=False
        ),
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    as_json: Annotated[bool, typer.Option("--json", help="All there is to know, for programs.")] = False,
) -> None:
    """Look whether all is well here: packages, device, database, disk, clock, recordings; and how to mend what is not.

    The exit code is 1 where something is broken.
    """
    import json

    from rich.console import Console

    from search.doctor import checks_document, checks_table, examine
    from search.storage.open import storage_url

    checks = examine(storage_url(storage), artifacts, study)
    if as_json:
        typer.echo(json.dumps(checks_document(checks), indent=2))
    else:
        Console().print(checks_table(checks))
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)
