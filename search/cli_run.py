"""Commands about one run: train, evaluate, apply."""

from pathlib import Path
from typing import Annotated

import typer


def train_command(
    config: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="An exported or hand-written run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the run's own; ramps stretch with it.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of the run's own; results then differ in the last bits."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, instead of the run's own.")] = None,
    tracker: Annotated[list[str] | None, typer.Option(help="jsonl, neptune; may be repeated.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Folder of a run, or a weights file, whose weights to start from."),
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="With --from: take the tensors that fit.")] = False,
) -> None:
    """Train a run to the end; started again on the same folder it goes on where it stopped."""
    from rich.console import Console

    from training.config import read_run_with_provenance
    from training.decode import ConfigError
    from training.lineage import start_from
    from training.runs import override, train_to_folder

    run, provenance = read_run_with_provenance(config)
    run = override(run, epochs=epochs, threads=threads, device=device)
    if source is not None:
        run = start_from(run, source, partial=partial)
    elif partial:
        raise ConfigError("--partial goes with --from; name the run whose weights to start from")
    summary = train_to_folder(run, output, provenance, tracker or ["jsonl"], Console())
    typer.echo(f"{output}: {run.fit.score} {summary:+.3f}")
    typer.echo(f"next: drivebeat evaluate {output}")


def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    data: Annotated[Path | None, typer.Option(help="A document with another data section (a study or a run).")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder of the results.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
) -> None:
    """Judge a run on its held-out mixture: table, CSV, pictures, sounds."""
    from rich.console import Console

    from training.runs import evaluate_folder

    evaluate_folder(folder, data, output or folder / "evaluation", split, threads, Console())


def apply_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    recording: Annotated[Path, typer.Argument(help="A recording of any length and rate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="estimate.wav, .mat or .npz")],
    channels: Annotated[
        str | None, typer.Option(help="Names, comma-separated: the one to clean, then references.")
    ] = None,
    variable: Annotated[str | None, typer.Option(help="Variable of a .mat or .npz that holds the signal.")] = None,
    rate_hz: Annotated[float | None, typer.Option(help="Where the file does not say its rate.")] = None,
    layout: Annotated[str, typer.Option(help="Of a .mat: auto, 240219, 240517, 240826 or generic.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
) -> None:
    """Clean a whole recording; the estimate has the recording's own length and rate."""
    from data.read import read
    from training.runs import apply_folder

    names = tuple(channels.split(",")) if channels else None
    source = read(recording, variable=variable, rate_hz=rate_hz, layout=layout, channels=names)
    n_samples = apply_folder(folder, source, output, device)
    typer.echo(f"{output}: {n_samples} samples at {source.rate_hz:g} Hz ({source.duration_s:.1f} s)")
