"""Commands about studies. Each is a few lines: the work is done by the module it names."""

from pathlib import Path
from typing import Annotated

import typer

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database: sqlite:///FILE or postgresql://USER@HOST/NAME. \\[default: $DRIVEBEAT_STORAGE, "
        "else sqlite:///studies.db]",
        show_default=False,
    ),
]
Artifacts = Annotated[
    str,
    typer.Option(
        metavar="FOLDER|s3://...",
        help="Checkpoints, figures, sounds and configs of trials: a folder that all workers see, or s3://BUCKET/PREFIX.",
        envvar="DRIVEBEAT_ARTIFACTS",
    ),
]
ARTIFACTS = "artifacts"
Lease = Annotated[
    float | None,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="A worker that is not heard of for so long has lost its trial. \\[default: 30]",
        show_default=False,
    ),
]


def init_command(storage: Storage = None) -> None:
    """Make the database's tables (workers and dashboard make them too, if need be)."""
    from search.storage.open import masked, open_storage, storage_url

    url = storage_url(storage)
    open_storage(url)
    typer.echo(f"storage {masked(url)} is ready")


def create_command(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    storage: Storage = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Equal trials and export however many workers run; slower.")
    ] = False,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Try this first: a config (best.yaml), or the best trials of an earlier study. May be repeated.",
        ),
    ] = None,
    warm_trials: Annotated[int, typer.Option(min=1, help="How many trials of an earlier study.")] = 5,
) -> None:
    """Make the studies of a study file: one for each model family it lists.

    Made again, a study takes over a changed budget and new enqueued points; anything else that differs is refused.
    """
    from data.corpus import load
    from search.storage.open import explained, open_engine, open_storage, storage_url
    from search.study.spec import read_spec
    from search.study.study import create, enqueue
    from search.study.warm import runs_from, warm_points

    url = storage_url(storage)
    spec = read_spec(file, deterministic=deterministic)
    fingerprint = load(spec.data).fingerprint  # first: recordings that do not work leave no database behind
    with explained(url):
        backend = open_storage(url)
        # first: a source that will not do leaves no study behind
        warm = [warm_points(spec, runs_from(one, backend, warm_trials), one) for one in warm_start or []]
        for study in create(spec, backend, open_engine(url), fingerprint):
            n_first = enqueue(study.optuna, [point for points in warm for point in points[study.name]])
            told = f"; {n_first} known point{'s' if n_first > 1 else ''} to be tried first" if n_first else ""
            typer.echo(f"study {study.name}: {len(study.space.sampled)} parameters, {spec.budget.trials} trials{told}")
    typer.echo(f"next: drivebeat launch {spec.name} --workers 2")


def launch_command(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="A study, or a study file's name for all its families.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many. \\[default: one for each GPU, 2 where there is none]", show_default=False),
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    logs: Annotated[Path, typer.Option(metavar="FOLDER", help="The workers' logs.")] = Path("runs/logs"),
    lease: Lease = None,
    launcher: Annotated[
        str, typer.Option(metavar="NAME", help="local: processes here; ray: a Ray cluster; slurm: an array of jobs.")
    ] = "local",
    per_gpu: Annotated[int | None, typer.Option(min=1, help="Workers packed on each GPU (local, ray).")] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A running Ray cluster. \\[default: $RAY_ADDRESS, else a new one here]",
            show_default=False,
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Told to SLURM: partition=gpu, gpus_per_node=1, timeout_min=600 ..."),
    ] = None,
) -> None:
    """Search with several workers, shown live, until the budget is spent.

    Workers on one machine share its CPU threads fairly; one that dies is started again.

    Ctrl-C stops them in order (exit code 130); the same command goes on where it stopped.
    """
    from rich.console import Console

    from search.errors import LaunchError
    from search.launch.base import Launch, pairs
    from search.launch.launch import Interrupted, launch
    from search.messages import stalled
    from search.queue.slots import LEASE_S
    from search.storage.open import explained, open_storage, storage_url
    from search.study.study import load_studies
    from search.terminal.status import plain_line
    from training.switches import read_switches

    url, switches = storage_url(storage), read_switches()
    with explained(url):
        names = tuple(study.name for study in load_studies(name, open_storage(url)))
    try:
        wanted = Launch(
            names, url, artifacts, workers, logs, lease or LEASE_S, per_gpu, ray_address, pairs(slurm or [])
        )
        snaps = launch(wanted, Console(), launcher)
    except Interrupted as end:
        typer.echo(f"{end}", err=True)
        raise typer.Exit(end.exit_code) from end
    except LaunchError as error:
        stalled(name, str(error), switches, lambda line: typer.echo(line, err=True))
        raise
    for snap in snaps:
        typer.echo(plain_line(snap))
    typer.echo(f"next: drivebeat export {name} -o best.yaml; drivebeat dashboard")


def work_command(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY", help="Studies, one after the other.")],
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
    lease: Lease = None,
) -> None:
    """Be one worker: run trials until the budget is spent. Start as many as you like, on any machine.

    SIGTERM or Ctrl-C ends it within seconds, its trial's slot given back.
    """
    from search.queue.slots import LEASE_S
    from search.signals import stop_event
    from search.storage.open import storage_url
    from search.worker.worker import work
    from training.switches import masking, read_switches
    from training.trackers.base import tracking_of

    url, lease_s = storage_url(storage), lease or LEASE_S
    switches = read_switches()
    tracking = tracking_of(switches, url, missing=lambda line: typer.echo(line, err=True))
    if switches.only_first_batch:
        typer.echo("warning: ONLY_FIRST_BATCH is on: one training step an epoch, for trying things out only", err=True)
    n_trials = work(
        studies,
        url,
        artifacts,
        threads=threads,
        lease_s=lease_s,
        log=masking(lambda line: typer.echo(line) if switches.stdout is not False else None, switches.secrets),
        tracking=tracking,
        stop=stop_event(),
    )
    typer.echo(f"worker done: {n_trials} trials")


def show_command(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="Studies; without one all are listed, several are compared."),
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="List the model families: what each costs, what can be searched.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The same of one family.", show_default=False)
    ] = None,
    across: Annotated[
        bool, typer.Option("--across", help="One table over all families of a study file (or over all studies).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: models, or a comparison.")] = False,
    rate_hz: Annotated[float, typer.Option(help="Of the signal (models).", metavar="HZ")] = 250.0,
    window_samples: Annotated[int, typer.Option(min=1, help="Of a window (models).", metavar="N")] = 1280,
    channels: Annotated[int, typer.Option(min=1, help="That go in (models).", metavar="N")] = 1,
    storage: Storage = None,
) -> None:
    """Show studies: space with type, range, default and fixed value; progress, best trial, importances.

    Several studies, or --across, give one table of what each came to on the same validation mixture.
    """
    import json

    from rich.console import Console

    from search.storage.open import explained, open_engine, open_storage, storage_url
    from search.study.record import load_records
    from search.terminal.status import show_all

    console = Console()
    if models or model is not None:
        if studies or across:
            raise typer.BadParameter("--models and --model stand without studies; ask for one of the two")
        from search.study.costs import At
        from search.terminal.models import models_document, show_model, show_models

        at = At(rate_hz, window_samples, channels)
        if as_json:
            typer.echo(json.dumps(models_document(at, (model,) if model is not None else ()), indent=2))
        elif model is not None:
            show_model(model, console, at)
        else:
            show_models(console, at)
        return
    url = storage_url(storage)
    with explained(url):
        opened, engine = open_storage(url), open_engine(url)
        told = [study for name in studies for study in load_records(opened, name)] if studies else load_records(opened)
        chosen = list({study.name: study for study in told}.values())
        if across or len(studies or ()) > 1:
            from search.study.comparison import compare_studies as compare
            from search.study.study import decode_study
            from search.terminal.comparison import comparison_document_of_studies, show_comparison

            found = compare([decode_study(study) for study in chosen], engine)
            if as_json:
                typer.echo(json.dumps(comparison_document_of_studies(found), indent=2))
            else:
                show_comparison(found, console)
        elif as_json:
            raise typer.BadParameter("--json goes with --models, --model, --across or several studies; add one of them")
        elif not studies:
            show_all(chosen, engine, console)
        else:
            from search.study.study import decode_study
            from search.terminal.tables import show_study

            for study in chosen:
                show_study(decode_study(study), engine, console)


def export_command(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study, or a study file's name: the best over its families.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write it (.yaml or .json).")
    ] = Path("best.yaml"),
    storage: Storage = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Train the best K again under three other seeds; the best mean is written."
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="FOLDER", help="Where --confirm trains.")] = Path("runs/confirm"),
) -> None:
    """Write the best feasible trial as one document that rebuilds and trains the model.

    --confirm goes on where it was interrupted; given several times at once, the trainings are shared out.
    """
    from search.storage.open import explained, open_storage, storage_url
    from search.study.export import check_ending, export
    from search.study.study import load_studies

    check_ending(output)
    url = storage_url(storage)
    with explained(url):
        studies = load_studies(name, open_storage(url))
        if confirm is None:
            study, trial = export(studies, output)
            typer.echo(f"{output}: trial {trial.number} of {study.name}, {study.spec.metric} {trial.value:+.3f}")
        else:
            from search.study.confirm import confirm as confirmed
            from search.study.confirm import export_confirmed, in_words

            best = export_confirmed(confirmed(studies, confirm, runs, typer.echo), output)
            typer.echo(f"{output}: {in_words(best)}")
    typer.echo(f"next: drivebeat train {output} -o runs/{output.stem}")
