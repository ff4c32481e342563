"""The list of all documents, and their tables for docs/guide/machines.md."""

from collections.abc import Iterator
from typing import Any

from search.documents.base import Document
from search.documents.files import Checks, Collection, PluginCheck, Plugins, Recordings, SyntheticRecordings
from search.documents.runs import (
    Denoised,
    DenoisedRecordings,
    Evaluation,
    EvaluationByPart,
    ExportedModel,
    LiveSecond,
    Pretrained,
    RunComparison,
    Training,
)
from search.documents.studies import Models, Studies, StudyComparison, Trials, Workers

DOCUMENTS: dict[str, type[Document]] = {
    str(document.stamp()["document"]): document
    for document in (
        Trials,
        Studies,
        StudyComparison,
        Models,
        Workers,
        Training,
        Evaluation,
        EvaluationByPart,
        RunComparison,
        Denoised,
        DenoisedRecordings,
        LiveSecond,
        ExportedModel,
        Pretrained,
        Recordings,
        SyntheticRecordings,
        Collection,
        Checks,
        PluginCheck,
        Plugins,
    )
}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document. Raises KeyError for an unknown name."""
    found = DOCUMENTS[name].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def markdown() -> str:
    """Return a section for each document: its commands, and a table of its keys and of those of its objects."""
    return "\n".join(line for name in DOCUMENTS for line in _section(name))


def _section(name: str) -> Iterator[str]:
    kind, found = DOCUMENTS[name], schema(name)
    examples = ", ".join(f"`drivebeat {command}`" for command in kind.commands)
    yield from (f"### {name}", "", _sentence(found), f"From {examples}. Version {kind.stamp()['schema_version']}.", "")
    yield from _table(found)
    for title, part in found.get("$defs", {}).items():
        yield from (f"**{title}**: {_sentence(part)}", "")
        yield from _table(part)


def _sentence(found: dict[str, Any]) -> str:
    return " ".join(found["description"].split())


def _table(found: dict[str, Any]) -> Iterator[str]:
    yield from ("| key | type | meaning |", "|---|---|---|")
    for key, value in found["properties"].items():
        meaning = " ".join(value.get("description", "").split()).replace("|", "\\|")
        yield f"| `{key}` | {type_text(value)} | {meaning} |"
    yield ""


def type_text(value: dict[str, Any]) -> str:
    """Return the type of a value in a JSON Schema in words: "list of Trial", "number or null"."""
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "anyOf" in value:
        return " or ".join(type_text(choice) for choice in value["anyOf"])
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2]
    if value["type"] == "array":
        return f"list of {type_text(value['items'])}"
    if value["type"] == "object":
        return f"object of {type_text(value['additionalProperties'])} by name"
    return str(value["type"])
