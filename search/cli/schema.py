"""The command `schema`: what stands in the JSON documents of the other commands."""

from typing import Annotated

import typer


def schema_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="DOCUMENT", help="Name of a document; without one, all are listed.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON Schema of a document that commands print with --json, or list the documents."""
    import json

    from data.errors import near
    from search.documents.all import DOCUMENTS, schema
    from search.errors import ConfigError

    if name is None:
        for document, kind in DOCUMENTS.items():
            typer.echo(f"{document} {kind.stamp()['schema_version']}: drivebeat {kind.commands[0]}")
        return
    if name not in DOCUMENTS:
        raise ConfigError(f"no document {name!r}{near(name, DOCUMENTS)}; drivebeat schema lists them")
    typer.echo(json.dumps(schema(name), indent=2))
