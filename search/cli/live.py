"""The command `live`: a signal through a causal model as it arrives."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import printable
from search.cli.options import ModelChannels, RateHz, split_names

if TYPE_CHECKING:  # slow to import
    from training.live.heart import Second


def live_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained causal run.")],
    source: Annotated[
        str,
        typer.Option(help="- for standard input, tcp:PORT to listen on 127.0.0.1, a named pipe, or a recording."),
    ] = "-",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File of the estimate: .csv or .wav; beats and heart rate are written beside it."
        ),
    ] = None,
    rate_hz: RateHz = None,
    format: Annotated[
        str, typer.Option(help="Of samples that arrive: csv (lines of numbers) or f32 (frames of float32).")
    ] = "csv",
    channels: ModelChannels = None,
    speed: Annotated[
        float | None, typer.Option(help="Play a recording so many times as fast; as fast as can be by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document in a line for each second.")] = False,
) -> None:
    """Denoise a signal as it arrives, and tell the heart rate each second.

    Gaps, values that are no numbers and sensors that are unplugged are said on
    standard error, and it goes on. Ctrl-C ends it and completes its files.
    """
    from search.cli.output import print_line
    from search.documents.runs import LiveSecond
    from search.signals import Interrupted, stop_signals
    from training.denoising.denoise import load_denoiser
    from training.errors import ConfigError
    from training.live.intake import Intake
    from training.live.outputs import check_outputs
    from training.live.rows import Notes
    from training.live.session import (
        Session,
        channels_of,
        channels_with_missing,
        check_causal,
        of_bytes,
        of_recording,
        reader_of,
        recording_of,
    )
    from training.live.sources import arriving, kind_of, open_file_of
    from training.pretrained import run_folder

    if format not in ("csv", "f32"):
        raise ConfigError(f"--format {format}: csv or f32 is needed")
    if speed is not None and not 0 < speed < float("inf"):
        raise ConfigError(f"--speed {speed:g}: a positive number is needed; leave it out for as fast as can be")
    denoiser = load_denoiser(run_folder(folder), device)
    check_causal(denoiser, folder)
    kind, notes, given = kind_of(source), Notes(), split_names(channels)
    if output is not None:
        check_outputs(output, open_file_of(source, kind))
    recording = recording_of(denoiser, Path(source), given, rate_hz) if kind == "recording" else None
    names = channels_of(denoiser, given) if recording is None else channels_with_missing(denoiser, recording)
    if recording is not None:
        for note in recording.notes:
            notes.say(note)
    intake = Intake(names, rate_hz if recording is None else recording.rate_hz, notes)

    early: list[str] = []  # notes that were printed before their second came

    def show(second: "Second") -> None:
        for note in second.notes:
            typer.echo(printable(f"note: {note}"), err=True)
        if as_json:
            print_line(LiveSecond, second.document | {"notes": [*early, *second.notes]})
            early.clear()
        else:
            typer.echo(second.line)

    with stop_signals() as (stop, received), Session(denoiser, intake, output) as session:
        if recording is not None:
            arrived = of_recording(recording, len(names))
        else:
            reader = reader_of(denoiser, format, names, notes)
            arrived = of_bytes(arriving(source, kind, notes, stop.is_set), reader, stop.is_set)
        began_s = time.monotonic()
        for rows in arrived:
            for second in session.feed(rows):
                show(second)
            for note in () if rows.values.shape[1] else notes.taken():
                early.append(note)
                typer.echo(printable(f"note: {note}"), err=True)
            if speed is not None and recording is not None:
                stop.wait(max(0.0, began_s + intake.n_samples / (speed * recording.rate_hz) - time.monotonic()))
            if stop.is_set():
                break
        for second in session.end():
            show(second)
        if not intake.n_samples:
            raise ConfigError(f"--source {source}: no sample came; csv lines of numbers are expected, see --format")
    for line in notes.summary:
        typer.echo(printable(f"note: {line}"), err=True)
    if received:
        raise Interrupted(received[0])
