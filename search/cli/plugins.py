"""Commands for plug-ins: new, check, trust."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Json, Quiet, RateHz, Storage
from search.exit_codes import ExitCode


def new_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="model, loss, metric, reader or sampler.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="File to write; its name becomes the name.")],
) -> None:
    """Write a template of a plug-in: a model, loss, metric, reader or sampler of your own that works."""
    from data.errors import shell_command
    from search.plugins.new import write_template

    write_template(kind, file)
    typer.echo(f"{file}: a {kind} called {file.stem}")
    typer.echo(f"next: {shell_command('check', file)}")


def check_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="A plug-in.")],
    example: Annotated[
        Path | None,
        typer.Option(
            metavar="RECORDING",
            help="A recording for a reader of its suffix. \\[default: the reader's own example]",
            show_default=False,
        ),
    ] = None,
    rate_hz: RateHz = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check everything that a plug-in registers against the contract of its kind, rule by rule.

    Each failure says what to do; the exit code is then 2. The file is executed, and trusted on this machine.
    """
    from data.errors import printable
    from data.readers.contract import Example
    from search.cli.output import print_document
    from search.documents.files import PluginCheck
    from search.plugins.check import check_document, check_line, check_plugin, load_named
    from training.plugins.plugin import read_plugin
    from training.plugins.trust import remember

    plugin = read_plugin(file)
    registered = load_named(plugin, file)
    remember([plugin])
    options = {} if rate_hz is None else {"rate_hz": rate_hz}
    results = []
    for result in check_plugin(registered, None if example is None else Example(example, options)):
        results.append(result)
        if not as_json and not (quiet and result.ok):
            typer.echo(printable(check_line(result)))
    n_failed = sum(not result.ok for result in results)
    if as_json:
        print_document(PluginCheck, check_document(file, plugin, results))
    else:
        failed = f", {n_failed} fail" if n_failed else ""
        typer.echo(f"{file}: {len(results) - n_failed} of {len(results)} rules pass{failed}")
    if n_failed:
        raise typer.Exit(ExitCode.REFUSED)


def trust_command(
    target: Annotated[
        str, typer.Argument(metavar="STUDY|RUN.yaml|FOLDER|FILE.py", help="A study, a run or study file, or a plug-in.")
    ],
    show: Annotated[bool, typer.Option("--show", help="Print the source, and trust nothing.")] = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Trust the plug-ins of a study or a run on this machine, so that their code is executed.

    Code inside a document or a database is somebody's: read it first, with --show.
    """
    from data.errors import printable
    from search.cli.output import print_document
    from search.documents.files import Plugins
    from search.plugins.find import find_plugins
    from search.storage.open import storage_url
    from training.plugins.trust import remember, untrusted

    plugins = find_plugins(target, storage_url(storage))
    new = {plugin.sha256 for plugin in (untrusted(plugins) if show else remember(plugins))}
    if as_json:
        found = [
            {
                "name": plugin.name,
                "sha256": plugin.sha256,
                "lines": plugin.n_lines,
                "trusted": not (show and plugin.sha256 in new),
                "source": plugin.source if show else None,
            }
            for plugin in plugins
        ]
        print_document(Plugins, {"plugins": found})
        return
    for plugin in plugins:
        state = ("not trusted" if show else "trusted now") if plugin.sha256 in new else "trusted before"
        if not (quiet and show):
            typer.echo(f"{plugin.name}: SHA-256 {plugin.sha256}, {plugin.n_lines} lines, {state}")
        if show:
            # a terminal would obey escapes, and show bidirectional text in another order than it is executed
            typer.echo("\n".join(printable(line.replace("\t", "    ")) for line in plugin.source.split("\n")))
