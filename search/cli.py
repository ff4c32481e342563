"""The command line. Each command is a few lines: the work is done by the module it names."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli_data import data_app
from search.cli_run import apply_command, evaluate_command, train_command

app = typer.Typer(
    name="drivebeat",
    help="Search, train and judge neural denoisers that recover heart sounds from a moving car.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("apply")(apply_command)

Storage = Annotated[
    str | None,
    typer.Option(help="Database URL; else DRIVEBEAT_STORAGE, else sqlite:///studies.db.", show_default=False),
]
Artifacts = Annotated[Path, typer.Option(help="Folder of figures, sounds and configs.", envvar="DRIVEBEAT_ARTIFACTS")]
ARTIFACTS = Path("artifacts")


@app.command("init")
def init_command(storage: Storage = None) -> None:
    """Make the database's tables (workers and dashboard make them too, if need be)."""
    from search.storage import masked, open_storage, storage_url

    url = storage_url(storage)
    open_storage(url)
    typer.echo(f"storage {masked(url)} is ready")


@app.command("create")
def create_command(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    storage: Storage = None,
) -> None:
    """Make the studies of a study file: one for each model family it lists."""
    from search.spec import read_spec
    from search.storage import open_engine, open_storage, storage_url
    from search.study import create

    url = storage_url(storage)
    spec = read_spec(file)
    for search in create(spec, open_storage(url), open_engine(url)):
        typer.echo(f"study {search.name}: {len(search.space.sampled)} parameters, {spec.budget.trials} trials")
    typer.echo(f"next: drivebeat launch {spec.name} --workers 2")


@app.command("launch")
def launch_command(
    study: Annotated[str, typer.Argument(help="A study, or a study file's name for all its families.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes; they share this machine's CPU threads.")] = 2,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    logs: Annotated[Path, typer.Option(help="Folder of the workers' logs.")] = Path("runs/logs"),
) -> None:
    """Search with several worker processes on this machine, shown live; Ctrl-C stops them in order."""
    from rich.console import Console

    from search.launch import launch
    from search.launchers import LocalLaunch
    from search.live import plain_line
    from search.storage import open_storage, storage_url
    from search.study import select

    url = storage_url(storage)
    names = tuple(search.name for search in select(study, open_storage(url)))
    local = LocalLaunch(names, url, artifacts, workers, logs)
    for snap in launch(local, Console(stderr=False)):
        typer.echo(plain_line(snap))
    typer.echo(f"next: drivebeat export {study} -o best.yaml; drivebeat dashboard")


@app.command("work")
def work_command(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Studies, one after the other.")],
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
) -> None:
    """Be one worker: run trials until the budget is spent. Start as many as you like, on any machine."""
    from search.storage import open_storage, storage_url
    from search.study import select
    from search.worker import work

    url = storage_url(storage)
    opened = open_storage(url)
    names = [search.name for study in studies for search in select(study, opened)]
    n_trials = work(names, url, artifacts, threads=threads, say=lambda line: typer.echo(line))
    typer.echo(f"worker done: {n_trials} trials")


@app.command("show")
def show_command(
    study: Annotated[str | None, typer.Argument(help="A study; without one, all are listed.")] = None,
    storage: Storage = None,
) -> None:
    """Show studies: space, progress, best trial, importances."""
    from rich.console import Console

    from search.show import show_all, show_study
    from search.storage import open_engine, open_storage, storage_url
    from search.study import all_studies, select

    url = storage_url(storage)
    opened, engine, console = open_storage(url), open_engine(url), Console()
    if study is None:
        show_all(all_studies(opened), engine, console)
    else:
        for search in select(study, opened):
            show_study(search, engine, console)


@app.command("export")
def export_command(
    study: Annotated[str, typer.Argument(help="A study, or a study file's name: the best over its families.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it (.yaml or .json).")] = Path(
        "best.yaml"
    ),
    storage: Storage = None,
) -> None:
    """Write the best feasible trial as one document that rebuilds and trains the model."""
    from search.export import export
    from search.storage import open_storage, storage_url
    from search.study import select

    search, trial = export(select(study, open_storage(storage_url(storage))), output)
    typer.echo(f"{output}: trial {trial.number} of {search.name}, {search.spec.metric} {trial.value:+.3f}")
    typer.echo(f"next: drivebeat train {output} -o runs/{study}")


@app.command("dashboard")
def dashboard_command(
    host: Annotated[
        str, typer.Option(help="Address to listen at. The dashboard has no login of its own.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Browse the studies: optuna-dashboard with figures, sounds and configs of every trial."""
    from search.dashboard import serve
    from search.storage import masked, storage_url

    url = storage_url(storage)
    serve(url, artifacts, host, port, say=lambda at: typer.echo(f"{masked(url)} at {at} (Ctrl-C ends it)"))


def main() -> None:
    """Run the command line: a user's mistake is one line on stderr and exit code 2, never a traceback."""
    from training.decode import ConfigError

    try:
        code: Any = app(standalone_mode=False)
    except typer.Exit as end:
        code = end.exit_code
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if os.environ.get("DRIVEBEAT_DEBUG"):
            raise
        code = _explain(error, ConfigError)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception, known: type[Exception]) -> int:
    from click import ClickException

    from data.recording import DataError

    if isinstance(error, ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, known | DataError | OSError):
        typer.echo(f"drivebeat: {' '.join(str(error).split())}", err=True)
        return 2
    raise error


if __name__ == "__main__":
    main()
