"""Options that several commands share."""

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
ARTIFACTS = "artifacts"
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

Variable = Annotated[str | None, typer.Option(help="Variable of a .mat or .npz file that holds the signal.")]
RateHz = Annotated[float | None, typer.Option(help="Sampling rate in Hz, for a file that does not state it.")]
Layout = Annotated[str, typer.Option(help="Layout of a .mat file: auto, 240219, 240517, 240826 or generic.")]
