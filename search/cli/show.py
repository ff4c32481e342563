"""The command `show`: studies, their trials, comparisons, model families."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import Json, Plugins, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from search.study.record import StudyRecord


def show_command(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="Studies to show. Without any, all are listed; several are compared."),
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="List the model families with their costs and parameters.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="Show the costs and parameters of one model family.", show_default=False
        ),
    ] = None,
    across: Annotated[
        bool, typer.Option("--across", help="Compare all studies of a study file, or all studies in the database.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all trials of the studies as CSV.")] = False,
    as_json: Json = False,
    rate_hz: Annotated[float, typer.Option(help="Sampling rate (with --models).", metavar="HZ")] = 250.0,
    window_samples: Annotated[int, typer.Option(min=1, help="Length of a window (with --models).", metavar="N")] = 1280,
    channels: Annotated[int, typer.Option(min=1, help="Input channels (with --models).", metavar="N")] = 1,
    plugin: Plugins = None,
    storage: Storage = None,
) -> None:
    """Show studies: progress, space with defaults and fixed values, best trial, importances.

    Several studies, or --across, give a table that compares their results on the same validation mixture.

    With --json or --csv a STUDY gives all its trials. `show --json` gives the states of all studies.
    """
    from search.cli.output import print_document
    from search.storage.open import explained, storage_url
    from search.storage.readable import open_readable
    from search.study.record import load_records, readable_records
    from search.terminal.console import PlainConsole
    from search.terminal.status import show_all, states_of

    if models or model is not None:
        if studies or across:
            raise typer.BadParameter("--models and --model take no studies; leave out one of the two")
        if as_csv:
            raise typer.BadParameter("--csv prints trials; --models and --model have --json")
        if plugin:
            from search.plugins.find import load_files

            load_files(plugin)
        _show_models(model, rate_hz, window_samples, channels, as_json=as_json)
        return
    if plugin:
        raise typer.BadParameter("--plugin goes with --models or --model; a study has its own plug-ins")
    if as_csv and (as_json or across or not studies):
        raise typer.BadParameter("--csv needs a STUDY, and takes no --json and no --across")
    console = PlainConsole()
    url = storage_url(storage)
    with explained(url):
        opened = open_readable(url)
        engine = opened.engine
        if studies:
            problems: dict[str, str] = {}
            loaded = [study for name in studies for study in load_records(opened.storage, name)]
        else:
            loaded, problems = readable_records(opened.storage)
        chosen = list({study.name: study for study in loaded}.values())
        if as_csv:
            from search.terminal.trials import trials_csv

            typer.echo(trials_csv(chosen), nl=False)
        elif across or len(studies or ()) > 1:
            _compare(chosen, engine, as_json=as_json)
        elif as_json:
            from search.documents.studies import Studies, Trials
            from search.study.status import states_document

            if studies:
                from search.terminal.trials import trials_document

                print_document(Trials, trials_document(chosen))
            else:
                print_document(Studies, states_document(*states_of(chosen, problems, engine)))
        elif not studies:
            show_all(chosen, problems, engine, console)
        else:
            from training.extras import absent_packages

            if absent_packages():
                from search.terminal.stored import show_stored as show_study
            else:
                from search.terminal.tables import show_study
            for study in chosen:
                show_study(study, engine, console)


def _compare(records: "Sequence[StudyRecord]", engine: "Engine", *, as_json: bool) -> None:
    """Print a comparison. A study whose plug-in cannot be executed is left out; PluginError if none is left."""
    from search.cli.output import print_document
    from search.documents.studies import StudyComparison
    from search.errors import PluginError
    from search.study.comparison import compare_studies
    from search.study.study import decode_study
    from search.terminal.comparison import comparison_document_of_studies, show_comparison
    from search.terminal.console import PlainConsole

    decoded, refused = [], None
    for record in records:
        try:
            decoded.append(decode_study(record))
        except PluginError as error:
            typer.echo(f"not shown: {error}", err=True)
            refused = error
    if refused is not None and not decoded:
        raise refused
    found = compare_studies(decoded, engine)
    if as_json:
        print_document(StudyComparison, comparison_document_of_studies(found))
    else:
        show_comparison(found, PlainConsole())


def _show_models(model: str | None, rate_hz: float, window_samples: int, channels: int, *, as_json: bool) -> None:
    """Print one model family, or all of them if `model` is None."""
    from search.cli.output import print_document
    from search.documents.studies import Models
    from search.study.costs import At
    from search.terminal.console import PlainConsole
    from search.terminal.models import models_document, show_model, show_models

    at = At(rate_hz, window_samples, channels)
    if as_json:
        print_document(Models, models_document(at, (model,) if model is not None else ()))
    elif model is not None:
        show_model(model, PlainConsole(), at)
    else:
        show_models(PlainConsole(), at)
