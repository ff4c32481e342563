"""Commands for recordings: describe a file, generate synthetic recordings, convert public collections."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import Gaps, Json, Layout, Plugins, Quiet, RateHz, Variable, Variables, split_names

data_app = typer.Typer(
    help="Describe recordings, generate synthetic ones, or convert public ones.", no_args_is_help=True
)


@data_app.command("info")
def info_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings of any format.")],
    variable: Variable = None,
    variables: Variables = None,
    rate_hz: RateHz = None,
    layout: Layout = "auto",
    gaps: Gaps = "cut",
    png: Annotated[Path | None, typer.Option(help="Plot the recording, of one FILE, to this file.")] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Print what is in recordings: variables, rate, channels, levels, heart rate, defects, and what is assumed.

    A file that cannot be read is named with the reason, and the others are shown; the exit code is then 2.
    """
    from data.errors import DataError, UserError, printable
    from data.files import file_errors
    from data.info import check_picture, describe, document, draw
    from data.readers.read import read
    from search.cli.output import print_document
    from search.documents.files import Recordings
    from search.terminal.console import PlainConsole
    from search.terminal.tables import show_info
    from training.hearts import contrasts_db

    if plugin:
        from search.plugins.find import load_files

        load_files(plugin)
    if png is not None and len(files) > 1:
        raise DataError(f"--png is {png} for {len(files)} recordings; name one recording")
    if png is not None:
        check_picture(png)
    found: list[dict[str, object]] = []
    problems: list[UserError] = []
    for file in files:
        try:
            with file_errors(file, "read"):
                recording = read(
                    file,
                    variable=variable,
                    variables=split_names(variables),
                    rate_hz=rate_hz,
                    layout=layout,
                    gaps=gaps,
                )
                info = describe(file, recording, contrasts_db(recording))
        except UserError as error:
            problems.append(error)
            continue
        if as_json:
            found.append(document(info))
        else:
            show_info(info, PlainConsole())
        if png is not None:
            try:
                draw(recording, png)
            except UserError as error:
                problems.append(error)
                continue
            typer.echo(f"{png}: written", err=as_json)
    if as_json:
        print_document(Recordings, {"recordings": found, "problems": [str(problem) for problem in problems]})
    for problem in problems[:-1]:
        typer.echo(f"drivebeat: {printable(str(problem))}", err=True)
    if problems:
        raise problems[-1]


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
    from data.errors import DataError
    from data.synthetic.recordings import SynthConfig, synthesise
    from search.cli.output import print_document
    from search.documents.files import SyntheticRecordings
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
        print_document(SyntheticRecordings, document)
        return
    typer.echo(f"{out}: {len(paths)} files, {sessions} session(s), layout {layout}, seed {seed}")


@data_app.command("get")
def get_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Collection: mscardio, cinc2016, senssmarttech, ephnogram, realdata2.")
    ],
    source: Annotated[Path, typer.Option("--from", metavar="DIR", help="Folder of the collection, as published.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write to. \\[default: data/recordings/NAME]", show_default=False),
    ] = None,
    grade: Annotated[str, typer.Option(metavar="A|B", help="Lowest grade of hearts to write.")] = "B",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Convert a public collection of hearts or vehicles that is on this machine to recordings for studies.

    Hearts are graded A or B; those that are clipped, have dropouts or no steady rhythm are refused, with the reason in
    recordings.csv. The same command continues an interrupted one.
    """
    from data.errors import DataError, near
    from data.public.table import collection
    from search.cli.output import print_document
    from search.documents.files import Collection
    from search.terminal.collected import show_collected
    from search.terminal.console import PlainConsole
    from training.bars import bar
    from training.collect import collect
    from training.hearts import GRADES

    found = collection(name)
    if grade not in GRADES:
        raise DataError(f"--grade is {grade!r}{near(grade, GRADES)}; {' or '.join(GRADES)} is needed")
    folder = Path("data/recordings", name) if out is None else out
    console = PlainConsole(quiet=quiet or as_json)
    with bar(console, name, None) as advance:
        done = collect(
            found, source, folder, grade, progress=lambda i, n, item: advance(i, f"{name}: {i + 1} of {n}, {item}")
        )
    if as_json:
        document = {
            "collection": name,
            "source": str(source),
            "folder": str(folder),
            "table": str(done.table),
            "recordings": len(done.rows),
            "written": done.n_written,
            "existing": done.n_existing,
            "counts": done.counts,
            "refused": done.refused,
        }
        print_document(Collection, document)
        return
    show_collected(done, console)
    n_refused = sum(done.refused.values())
    typer.echo(f"{folder}: {done.n_written} written, {done.n_existing} there before, {n_refused} refused")
