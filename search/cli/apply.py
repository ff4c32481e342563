"""The command `apply`: recordings through the model of a trained run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import printable
from search.cli.options import Gaps, Json, Layout, ModelChannels, Quiet, RateHz, Variable, Variables, split_names
from search.exit_codes import ExitCode

if TYPE_CHECKING:  # slow to import
    from data.recording import Recording
    from training.denoising.batch import Failure
    from training.denoising.process import Applied
    from training.denoising.recordings import Plan


def apply_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or pretrained.")],
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="RECORDING...", help="Recordings of any length and rate, folders, or globs."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .wav, .csv, .mat or .npz; for several recordings or a folder, the folder to write to.",
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of the estimates in a folder: wav, csv, mat or npz. \\[default: wav]",
            show_default=False,
        ),
    ] = None,
    channels: ModelChannels = None,
    variable: Variable = None,
    variables: Variables = None,
    rate_hz: RateHz = None,
    layout: Layout = "auto",
    gaps: Gaps = "fill",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    window_s: Annotated[
        float | None, typer.Option(help="Length of the windows in seconds; as in training or longer.")
    ] = None,
    adapt: Annotated[
        int,
        typer.Option(
            metavar="STEPS",
            help="Train the model on each recording for so many steps before it is denoised; 0 leaves it as it is.",
        ),
    ] = 0,
    no_beats: Annotated[
        bool, typer.Option("--no-beats", help="Leave out NAME.beats.csv and NAME.heart_rate.csv.")
    ] = False,
    picture: Annotated[
        bool, typer.Option("--picture", help="Draw signals, beats, heart rate and spectrogram: NAME.png.")
    ] = False,
    audible: Annotated[
        bool, typer.Option("--audible", help="Write the estimate at a pitch that can be heard: NAME.audible.wav.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Denoise whole recordings, and find the beats in the estimates.

    An estimate has the length and rate of its recording, unless gaps are cut out.

    A recording that fails is named with the reason; the others are denoised, and
    the exit code is 2.
    """
    from functools import partial

    from models.parts.streaming import CausalDenoiser
    from search.terminal.console import PlainConsole
    from training.calibration import EVIDENCE, without_fit
    from training.channels import described
    from training.delay import delay_of
    from training.denoising.batch import Failure, denoise_each
    from training.denoising.denoise import load_denoiser, read_recording
    from training.denoising.recordings import Extras, plan
    from training.evaluation.whole import evidence_of
    from training.pretrained import run_folder

    denoiser = load_denoiser(run_folder(folder), device)
    extras = Extras(beats=not no_beats, picture=picture, audible=audible)
    planned = plan(recordings, output, format, extras, denoiser.run.data)
    _print_notes(planned.notes)
    read = partial(
        read_recording,
        denoiser.run.data,
        channels=split_names(channels),
        variable=variable,
        variables=split_names(variables),
        rate_hz=rate_hz,
        layout=layout,
        gaps=gaps,
    )
    console = PlainConsole(quiet=quiet or as_json)
    if extras.beats or extras.picture:
        calibration = denoiser.calibration if adapt == 0 else without_fit(denoiser.calibration)
        evidence = EVIDENCE[evidence_of(denoiser.model, calibration)]
        console.print(f"beats by {evidence}; {calibration.described}", soft_wrap=True, highlight=False)
    if isinstance(denoiser.model, CausalDenoiser):
        console.print(f"causal, {delay_of(denoiser.model, denoiser.run.data).described}", soft_wrap=True)
    is_single, shown = planned.folder is None, ""

    def show_read(recording: "Recording") -> None:
        nonlocal shown
        _print_notes(recording.notes, "" if is_single else f"{recording.source}: ")
        if shown != (shown := described(recording.channels)):
            console.print(shown, soft_wrap=True, highlight=False)

    done: list[Applied] = []
    failures: list[Failure] = []
    for result in denoise_each(denoiser, planned.jobs, read, window_s, adapt, console, show_read):
        if isinstance(result, Failure):
            if is_single:
                raise result.error
            failures.append(result)
            typer.echo(printable(f"drivebeat: {result.reason}"), err=True)
        else:
            done.append(result)
            if not (is_single or quiet or as_json):
                typer.echo(printable("; ".join(result.lines)))
    if is_single:
        _print_one(done[0], quiet, as_json)
        return
    _print_all(folder, planned, done, failures, as_json)
    if failures:
        raise typer.Exit(ExitCode.REFUSED)


def _print_notes(notes: tuple[str, ...], where: str = "") -> None:
    for note in notes:
        typer.echo(printable(f"note: {where}{note}"), err=True)


def _print_one(applied: "Applied", quiet: bool, as_json: bool) -> None:
    """Print the result of a single recording. Only its file is the result of a quiet command."""
    from search.cli.output import print_document
    from search.documents.runs import Denoised

    if as_json:
        print_document(Denoised, applied.document)
        return
    for line in applied.lines[: 1 if quiet else None]:
        typer.echo(printable(line))


def _print_all(run: Path, planned: "Plan", done: "list[Applied]", failures: "list[Failure]", as_json: bool) -> None:
    """Print how many recordings were denoised, or all results as one JSON document."""
    from search.cli.output import print_document
    from search.documents.runs import DenoisedRecordings

    if as_json:
        document = {
            "run": str(run),
            "folder": str(planned.folder),
            "recordings": [applied.document for applied in done],
            "problems": [{"recording": str(failure.recording), "reason": failure.reason} for failure in failures],
        }
        print_document(DenoisedRecordings, document)
        return
    failed = f", {len(failures)} failed" if failures else ""
    typer.echo(printable(f"{planned.folder}: {len(done)} of {len(planned.jobs)} recordings denoised{failed}"))
