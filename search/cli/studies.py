"""Commands that create, run and export studies."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from data.errors import shell_command
from search.cli.options import Artifacts, Lease, Storage
from search.defaults import ARTIFACTS, LOGS


def init_command(storage: Storage = None) -> None:
    """Create the tables of the database. Other commands create them too if they are missing."""
    from search.storage.open import masked, open_storage, storage_url

    url = storage_url(storage)
    open_storage(url)
    typer.echo(f"storage {masked(url)} is ready")


def create_command(
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    storage: Storage = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same trials and export with any number of workers; slower.")
    ] = False,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Config (best.yaml), run's folder or pretrained model to try first, or a study whose best trials to "
            "try first; may be repeated.",
        ),
    ] = None,
    warm_trials: Annotated[int, typer.Option(min=1, help="Number of trials to take from a study.")] = 5,
) -> None:
    """Create the studies of a study file, one for each model family in it.

    An existing study takes over changed sections budget, artifacts and final, and new enqueued points. Any other
    difference is an error.
    """
    from search.commands.create import create
    from search.storage.open import places, storage_url
    from search.study.spec import prepare
    from search.terminal.console import PlainConsole
    from training.documents import read_document

    url = storage_url(storage)
    given = prepare(read_document(file), file, deterministic=deterministic, executing_named=True)
    made = create(given, url, PlainConsole(), warm_start=warm_start or (), warm_trials=warm_trials)
    for study, n_first in made:
        enqueued = f"; {n_first} known point{'s' if n_first > 1 else ''} enqueued" if n_first else ""
        typer.echo(
            f"study {study.name}: {len(study.space.sampled)} parameters, {given.spec.budget.trials} trials{enqueued}"
        )
    typer.echo(places(url))
    typer.echo(f"next: {shell_command('launch', given.spec.name, '--workers', 2)}")


def launch_command(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study, or the name of a study file for all its studies.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of workers. \\[default: one for each GPU, 2 without a GPU]", show_default=False
        ),
    ] = None,
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    logs: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the logs of the workers.")] = LOGS,
    lease: Lease = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of each worker. \\[default: an equal share of this machine's]", show_default=False
        ),
    ] = None,
    launcher: Annotated[
        str,
        typer.Option(metavar="NAME", help="local: processes on this machine; ray: a Ray cluster; slurm: a job array."),
    ] = "local",
    per_gpu: Annotated[int | None, typer.Option(min=1, help="Workers on each GPU (local, ray).")] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a running Ray cluster. \\[default: $RAY_ADDRESS, else a new cluster on this machine]",
            show_default=False,
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of SLURM: partition=gpu, gpus_per_node=1, timeout_min=600 ..."),
    ] = None,
) -> None:
    """Run a search with several workers until its budget is spent, and show it live.

    Workers on one machine share its CPU threads equally, unless --threads is given. A worker that crashes is restarted.

    Ctrl-C stops all workers (exit code 130). The same command continues the search.
    """
    from search.errors import LaunchError
    from search.launch.base import Launch, pairs
    from search.launch.launch import launch
    from search.messages import stalled
    from search.queue.slots import LEASE_S
    from search.storage.open import explained, places, storage_url
    from search.storage.readable import open_readable
    from search.study.record import load_records
    from search.terminal.console import PlainConsole
    from search.terminal.status import plain_line
    from training.switches import read_switches

    url, switches = storage_url(storage), read_switches()
    with explained(url):
        opened = open_readable(url)
        identities = tuple(study.identity for study in load_records(opened.storage, name))
        opened.close()
    try:
        request = Launch(
            identities,
            url,
            artifacts,
            workers,
            logs,
            lease or LEASE_S,
            per_gpu,
            ray_address,
            pairs(slurm or []),
            threads,
        )
        typer.echo(places(url, artifacts, logs))
        snaps = launch(request, PlainConsole(), launcher)
    except LaunchError as error:
        stalled(name, str(error), switches, lambda line: typer.echo(line, err=True))
        raise
    for snap in snaps:
        typer.echo(plain_line(snap))
    if snaps:  # else the study was deleted
        shown = snaps[0].name if len(snaps) == 1 else name
        typer.echo(f"next: {shell_command('export', shown, '-o', 'best.yaml')}; drivebeat dashboard")


def work_command(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY", help="Studies to work on, one after the other.")],
    storage: Storage = None,
    artifacts: Artifacts = ARTIFACTS,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's default.")] = None,
    lease: Lease = None,
) -> None:
    """Run one worker: run trials until the budget is spent. Start any number of workers, on any machine.

    Ctrl-C (exit code 130) or SIGTERM (exit code 0) ends it within seconds; another worker continues its trial.
    """
    from search.artifacts.open import open_artifacts
    from search.queue.slots import LEASE_S
    from search.queue.workers import LAUNCHER_PID
    from search.signals import Interrupted, stop_event
    from search.storage.open import require_file, storage_url
    from search.worker.worker import work
    from training.switches import masking, read_switches
    from training.trackers.build import tracking_of

    url, lease_s = storage_url(storage), lease or LEASE_S
    require_file(url)
    switches = read_switches()
    tracking = tracking_of(switches, url, missing=lambda line: typer.echo(line, err=True))
    if switches.only_first_batch:
        typer.echo("warning: ONLY_FIRST_BATCH is on: one training step per epoch, only for tests", err=True)
    stop, received = stop_event()
    n_trials = work(
        studies,
        url,
        open_artifacts(artifacts),
        threads=threads,
        lease_s=lease_s,
        log=masking(lambda line: typer.echo(line) if switches.stdout is not False else None, switches.secrets),
        tracking=tracking,
        stop=stop,
        parent=int(parent) if (parent := os.environ.get(LAUNCHER_PID, "")).isdecimal() else None,
    )
    if signal.SIGINT in received:
        raise Interrupted(signal.SIGINT)
    typer.echo(f"worker done: {n_trials} trials")


def export_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study, or the name of a study file for the best trial of all its studies."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="File to write (.yaml or .json).")
    ] = Path("best.yaml"),
    storage: Storage = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Train the best K trials again with three other seeds each, and write the one with the best mean.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the trainings of --confirm.")] = Path(
        "runs/confirm"
    ),
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write the trial's own weights, as a run's folder for evaluate and apply.",
            show_default=False,
        ),
    ] = None,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Write the best feasible trial as a run file, from which the model can be built and trained.

    An interrupted --confirm continues when it is run again. Run several times at once, it shares the trainings.
    """
    from search.errors import ConfigError
    from search.storage.open import explained, storage_url
    from search.storage.readable import open_readable
    from search.study.export import best_of, check_ending, export_trial
    from search.study.study import load_studies

    check_ending(output)
    if weights is not None and confirm is not None:
        raise ConfigError("--weights are of the search, and --confirm trains new ones; give one of the two")
    url = storage_url(storage)
    with explained(url):
        opened = open_readable(url)
        studies = load_studies(name, opened.storage)
        if confirm is None:
            study, trial = best_of(studies)
            if weights is not None:  # first: where they cannot be had, nothing is written
                from search.artifacts.open import open_artifacts
                from search.pages.weights import extract_weights

                store = open_artifacts(artifacts, create=False).artifacts
                extract_weights(study, trial.number, opened.engine, store, weights)
                typer.echo(f"{weights}: the trial's run.yaml and weights")
            export_trial(study, trial, output)
            typer.echo(f"{output}: trial {trial.number} of {study.name}, {study.spec.metric} {trial.value:+.3f}")
        else:
            from search.study.confirm import confirm as confirmed
            from search.study.confirm import export_confirmed, in_words

            best = export_confirmed(confirmed(studies, confirm, runs, typer.echo), output)
            typer.echo(f"{output}: {in_words(best)}")
    typer.echo(f"next: {shell_command('train', output, '-o', Path('runs') / output.stem)}")
