"""Commands for operation: workers, live view, dashboard, checks, and maintenance of the database."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Artifacts, Json, Storage
from search.defaults import ARTIFACTS
from search.exit_codes import ExitCode

storage_app = typer.Typer(
    help="Maintain the database.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def workers_command(
    as_json: Json = False,
    storage: Storage = None,
) -> None:
    """List the workers of the last week: state, host, device, trial and epoch."""
    from search.cli.output import print_document
    from search.documents.studies import Workers
    from search.queue.workers import workers
    from search.storage.open import explained, masked, storage_url
    from search.storage.readable import open_readable
    from search.study.record import names_by_identity
    from search.terminal.console import PlainConsole
    from search.terminal.status import workers_document, workers_table

    url = storage_url(storage)
    with explained(url):
        opened = open_readable(url)
        rows = workers(opened.engine, names_by_identity(opened.engine))
        opened.close()
    if as_json:
        print_document(Workers, {"workers": workers_document(rows)})
    elif not rows:
        typer.echo(f"no worker in {masked(url)} in the last week; start some: drivebeat launch STUDY --workers 2")
    else:
        PlainConsole().print(workers_table(rows))


@storage_app.command("upgrade")
def upgrade_command(
    storage: Storage = None,
    backup: Annotated[Path, typer.Option("--backup", metavar="FOLDER", help="Folder for the backup.")] = Path(),
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Make no backup.")] = False,
) -> None:
    """Upgrade the database of an older Drivebeat or Optuna, after a backup. Stop all workers first."""
    from search.storage.open import storage_url
    from search.storage.upgrade import upgrade

    upgrade(storage_url(storage), None if no_backup else backup, typer.echo)


def dashboard_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback address needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free port.")] = 8080,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="File with lines 'full: PASSWORD' and 'read: PASSWORD' (read only). \\[default: "
            "$DRIVEBEAT_DASHBOARD_PASSWORD and $DRIVEBEAT_DASHBOARD_READ_PASSWORD]",
            show_default=False,
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="ADDRESS",
            help="Address or network of a reverse proxy, whose X-Forwarded-For names the client; may be repeated. This "
            "machine is trusted.",
            show_default=False,
        ),
    ] = None,
    max_upload: Annotated[
        int, typer.Option(min=1, max=128, metavar="MIB", help="MiB that an upload of an artifact may have.")
    ] = 64,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Serve the dashboard: optuna-dashboard with figures, sounds and configurations of every trial."""
    from search.dashboard.auth import find_passwords
    from search.dashboard.server import serve
    from search.signals import Interrupted
    from search.storage.open import places, storage_url

    url, passwords = storage_url(storage), find_passwords(password_file)
    serve(
        url,
        artifacts,
        host,
        port,
        passwords=passwords,
        trusted_proxies=trusted_proxy or (),
        max_upload_mib=max_upload,
        log=lambda address, place: typer.echo(f"{places(url, place)} at {address} (Ctrl-C stops it)"),
        note=lambda text: typer.echo(f"note: {text}", err=True),
    )
    raise Interrupted(signal.SIGINT)  # nothing else ends the server


def watch_command(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study, or the name of a study file for all its studies.")
    ],
    storage: Storage = None,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Seconds between two updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the state once and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print one JSON document.")] = False,
) -> None:
    """Watch a search, wherever its workers run: progress, best trial, running and recently ended trials.

    It exits when the search is finished, or at Ctrl-C, which stops no worker.

    In a pipe or a file it prints plain lines: one for each trial that ends, and one for each study every 10 s if
    something has changed, else every minute.
    """
    from search.cli.output import print_document
    from search.documents.studies import Studies
    from search.storage.open import explained, storage_url
    from search.storage.readable import open_readable
    from search.study.record import load_records
    from search.study.status import snapshot, states_document
    from search.terminal.console import PlainConsole
    from search.terminal.status import watch

    if as_json and not once:
        raise typer.BadParameter("--json needs --once; add --once")
    url = storage_url(storage)
    with explained(url):
        opened = open_readable(url)
        studies, engine = load_records(opened.storage, name), opened.engine
        if as_json:
            print_document(Studies, states_document(snapshot(study, engine) for study in studies))
        else:
            watch(studies, engine, PlainConsole(), every_s=every, once=once)
        opened.close()


def doctor_command(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY", help="A study or a study file, to check its recordings too.", show_default=False
        ),
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    as_json: Json = False,
    fix: Annotated[bool, typer.Option("--fix", help="Fix what Optuna's tables and Drivebeat's disagree on.")] = False,
) -> None:
    """Check packages, device, database, disk, clock and recordings, and print a fix for each problem.

    The exit code is 1 if something is broken.
    """
    from search.cli.output import print_document
    from search.doctor import checks_document, checks_table, examine
    from search.documents.files import Checks
    from search.storage.open import storage_url
    from search.terminal.console import PlainConsole

    checks = examine(storage_url(storage), artifacts, study, fixing=fix)
    if as_json:
        print_document(Checks, checks_document(checks))
    else:
        PlainConsole().print(checks_table(checks))
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(ExitCode.BROKEN)
