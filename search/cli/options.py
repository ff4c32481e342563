"""Options that several commands share."""

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
        help="Artifacts of trials: checkpoints, figures, sounds, configs. A folder that all workers share, or "
        "s3://BUCKET/PREFIX.",
        envvar="DRIVEBEAT_ARTIFACTS",
    ),
]
Lease = Annotated[
    float | None,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="Seconds without a heartbeat after which a worker loses its trial. \\[default: 30]",
        show_default=False,
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and the result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

Variable = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Variable of a .mat, .npz or .h5 file that holds the signal: acc, rec.sig ..."),
]
Variables = Annotated[
    str | None,
    typer.Option(metavar="NAME,NAME", help="Variables of such a file that are one channel each, comma-separated."),
]
Gaps = Annotated[
    str,
    typer.Option(
        metavar="RULE", help="Samples that are NaN, at most a tenth: cut them out, fill them, or refuse them."
    ),
]
RateHz = Annotated[float | None, typer.Option(help="Sampling rate in Hz, for a file that does not state it.")]
ModelChannels = Annotated[
    str | None,
    typer.Option(
        help="Channel names, comma-separated: the channel to denoise, then the references. \\[default: those "
        "in the model's run.yaml]",
        show_default=False,
    ),
]
Layout = Annotated[str, typer.Option(help="Layout of a .mat file: auto, 240219, 240517, 240826 or generic.")]


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="A plug-in (my_model.py), or a run or study file with plug-ins, to load first; may be repeated.",
    ),
]


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated option; none for None."""
    return tuple(name.strip() for name in text.split(",")) if text else ()
