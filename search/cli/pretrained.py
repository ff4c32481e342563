"""The command `pretrained`: the trained models that come with Drivebeat."""

import typer

from search.cli.options import Json


def pretrained_command(as_json: Json = False) -> None:
    """List the trained models that come with Drivebeat, and where their cards are.

    apply, evaluate, compare, train --from and create --warm-start take their names.
    """
    from search.cli.output import print_document
    from search.documents.runs import Pretrained
    from training.pretrained import CARD, pretrained
    from training.runs import read_folder

    listed = [(model, read_folder(model.folder)) for model in pretrained()]
    if as_json:
        rows = [
            {
                "name": model.reference,
                "summary": model.summary,
                "family": run.model.name,
                "rate_hz": run.data.rate_hz,
                "n_channels": run.data.n_channels,
                "delay_s": None if (delay := run.delay) is None else delay.total_s,
                "folder": str(model.folder),
                "card": str(model.folder / CARD),
            }
            for model, run in listed
        ]
        print_document(Pretrained, {"models": rows})
        return
    for model, run in listed:
        typer.echo(f"{model.reference}: {model.summary}")
        typer.echo(
            f"  {run.model.name}, {run.data.n_channels} channels at {run.data.rate_hz:g} Hz; {model.folder / CARD}"
        )
        if (delay := run.delay) is not None:
            typer.echo(f"  causal, {delay.described}")
    typer.echo("next: drivebeat apply pretrained RECORDING -o estimate.wav")
