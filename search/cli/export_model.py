"""The command `export-model`: the model of a trained run as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from data.errors import printable
from search.cli.options import Json, Quiet


def export_model_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or pretrained.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write: .onnx.")],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Quantise to 8 bits, calibrated on the run's validation windows, and print the loss."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare with PyTorch by onnxruntime, and write test vectors: NAME.check.npz."),
    ] = False,
    fixed: Annotated[bool, typer.Option("--fixed", help="Fix all shapes: one window of training at a time.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Export a trained model to ONNX, which runs without PyTorch.

    Samples go in, the estimate comes out: band-pass, scaling and front end are
    inside. Its metadata say what it takes. Needs the extra `onnx`.
    """
    from search.cli.output import print_document
    from search.documents.runs import ExportedModel
    from training.onnx.run import described, document_of, export_run
    from training.pretrained import run_folder

    done = export_run(run_folder(folder), output, int8=int8, check=check, fixed=fixed)
    if as_json:
        print_document(ExportedModel, document_of(done))
        return
    lines = described(done)
    for line in lines[:1] if quiet else lines:
        typer.echo(printable(line))
