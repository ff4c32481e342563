"""Print the JSON document of a command."""

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.documents.base import Document


def print_line(kind: "type[Document]", values: "Mapping[str, Any]") -> None:
    """Print `values` as a document of one kind in one line, as commands do that give one after another."""
    from training.numbers import finite

    typer.echo(json.dumps({**kind.stamp(), **finite(values)}, allow_nan=False))


def print_document(kind: "type[Document]", values: "Mapping[str, Any]") -> None:
    """Print `values` as a document of one kind on standard output, NaN and infinities as null."""
    from training.numbers import finite

    typer.echo(json.dumps({**kind.stamp(), **finite(values)}, indent=2, allow_nan=False))
