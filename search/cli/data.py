"""Commands for recordings: describe a file, generate synthetic recordings."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Json, Layout, Quiet, RateHz, Variable

data_app = typer.Typer(help="Describe recordings, or generate synthetic ones.", no_args_is_help=True)


@data_app.command("info")
def info_command(
    file: Annotated[Path, typer.Argument(help="A recording: .mat, .wav, .npz, .csv or WFDB.")],
    variable: Variable = None,
    rate_hz: RateHz = None,
    layout: Layout = "auto",
    png: Annotated[Path | None, typer.Option(help="Plot the recording to this file.")] = None,
) -> None:
    """Print variables, shape, rate, duration, channels, in-band level and ECG heart rate of a recording."""
    from data.info import describe, draw
    from data.readers.read import read
    from search.terminal.console import PlainConsole
    from search.terminal.tables import show_info

    recording = read(file, variable=variable, rate_hz=rate_hz, layout=layout)
    show_info(describe(file, recording), PlainConsole())
    if png is not None:
        draw(recording, png)
        typer.echo(f"{png}: written")


@data_app.command("synth")
def synth_command(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same files.")] = 0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of each recording in minutes.")] = 3.0,
    speeds: Annotated[str, typer.Option(help="Speeds in km/h, comma-separated.")] = "30,50,60,100",
    layout: Annotated[str, typer.Option(help="Layout of the files: 240219, 240517, 240826 or wav.")] = "wav",
    sessions: Annotated[
        int, typer.Option(min=1, help="Number of sessions, each with another driver, sensor and car.")
    ] = 1,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Generate synthetic in-car recordings in a layout that Drivebeat reads."""
    import json

    from data.errors import DataError
    from data.synthetic.recordings import SynthConfig, synthesise
    from search.terminal.console import PlainConsole
    from training.bars import bar

    try:
        numbers = tuple(int(speed) for speed in speeds.split(","))
    except ValueError as error:
        raise DataError(f"--speeds is {speeds!r}; whole numbers with commas are needed, like 30,50,100") from error
    config = SynthConfig(seed=seed, minutes=minutes, speeds_kmh=numbers, layout=layout, sessions=sessions)
    with bar(PlainConsole(quiet=quiet or as_json), "generating", None) as advance:
        written: list[str] = []

        def report(path: str) -> None:
            written.append(path)
            advance(len(written), f"written: {path}")

        paths = synthesise(config, out, progress=report)
    if as_json:
        document = {
            "folder": str(out),
            "seed": seed,
            "layout": layout,
            "sessions": sessions,
            "files": [*map(str, paths)],
        }
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{out}: {len(paths)} files, {sessions} session(s), layout {layout}, seed {seed}")
