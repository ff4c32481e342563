"""Commands for one run: train, evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from data.errors import shell_command
from search.cli.options import Json, Quiet


def train_command(
    config: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="A run file, exported or hand-written.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs, instead of those in the run file; schedules are scaled.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads, instead of those in the run file; results then differ in the last bits."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, instead of the device in the run file.")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="Tracker: jsonl, stdout, tensorboard, mlflow or neptune; may be repeated. \\[default: "
            "$DRIVEBEAT_TRACKERS, else jsonl]",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Folder of a run, pretrained, or a weights file, to take the initial weights from.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A value instead of that in the run file: learning_rate=0.001, schedule.gain=0.5; may be repeated.",
        ),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="With --from: take only the tensors that fit.")] = False,
    trial: Annotated[
        bool,
        typer.Option("--as-trial", help="Repeat the trial that was exported, without the section final of its study."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a run: an exported trial as its study's section final says, a hand-written run as it is.

    With the folder of an interrupted training, continue it. With the folder of the same run and more --epochs, lengthen
    it.
    """
    import dataclasses

    from search.cli.output import print_document
    from search.commands.train import train
    from search.documents.runs import Training
    from search.storage.open import storage_url
    from search.terminal.console import PlainConsole
    from training.config import read_run_with_provenance, with_values
    from training.errors import ConfigError
    from training.lineage import start_from
    from training.switches import read_switches
    from training.trackers.build import tracking_of

    switches = read_switches()
    tracking = tracking_of(switches, storage_url(None), tracker or (), default=("jsonl",))
    run, provenance = read_run_with_provenance(config)
    run = with_values(run, values or ())
    if source is not None:
        run = start_from(run, source, partial=partial)
    elif partial:
        raise ConfigError("--partial needs --from; name the run to take the weights from")
    silent = quiet or as_json or switches.stdout is not None
    # standard output must hold the JSON document only
    names = [name for name in tracking.names if not (as_json and name == "stdout")]
    last = train(
        run,
        output,
        provenance,
        names,
        PlainConsole(quiet=silent),
        switches,
        lambda line: typer.echo(line, err=True),
        as_trial=trial,
        epochs=epochs,
        threads=threads,
        device=device,
    )
    if as_json:
        print_document(Training, {"folder": str(output), "metric": run.fit.score, **dataclasses.asdict(last)})
        return
    typer.echo(f"{output}: {run.fit.score} {last.best_score:+.3f}")
    if not silent:
        typer.echo(f"next: {shell_command('evaluate', output)}")


def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or pretrained.")],
    data: Annotated[Path | None, typer.Option(help="Study or run file with another data section.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder of the results. \\[default: evaluation in the run's folder, with --data evaluation-FILE]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split: test or validation.")] = "test",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's default.")] = None,
    window_s: Annotated[
        float | None, typer.Option(help="Length of a window in seconds; default: as in training.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Evaluate each part by itself instead: speed, vehicle, recording or channel.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run on its held-out mixture: table, CSV, figures, sounds."""
    from search.cli.output import print_document
    from search.documents.runs import Evaluation, EvaluationByPart
    from search.terminal.console import PlainConsole
    from training.evaluation.by import part_document
    from training.pretrained import run_folder
    from training.runs import evaluate_folder, evaluate_parts, evaluation_folder, rows_document

    folder = run_folder(folder)
    out = output or evaluation_folder(folder, data)
    if by is not None:
        console = PlainConsole(quiet=quiet or as_json)
        lines = evaluate_parts(folder, by, data, out, split, threads, console, window_s)
        if as_json:
            parts = [part_document(line) for line in lines]
            about = {"run": str(folder), "folder": str(out), "split": split, "by": by}
            print_document(EvaluationByPart, {**about, "lines": parts})
        elif quiet:
            typer.echo(f"{out}: by_{by}.csv")
        return
    rows = evaluate_folder(folder, data, out, split, threads, PlainConsole(quiet=quiet or as_json), window_s)
    if as_json:
        about = {"run": str(folder), "folder": str(out), "split": split}
        print_document(Evaluation, {**about, "rows": rows_document(rows)})
    elif quiet:
        typer.echo(f"{out}: table.csv")
