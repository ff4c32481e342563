"""What all documents have: a name, the version of their keys, and a schema."""

from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict

Snr = float | Literal["inf"]
"""An SNR in dB; "inf" for windows without noise, because JSON has no infinity."""


class Part(BaseModel):
    """An object in a document. All keys are always there. A program should ignore keys that it does not know."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Document(Part):
    """A document. `document` and `schema_version` stand in it, and are the only values of their types.

    The version rises when a key is removed, renamed or gets another meaning or type. A new key changes no version.
    """

    commands: ClassVar[tuple[str, ...]]
    """The commands that print it, as examples."""

    @classmethod
    def stamp(cls) -> dict[str, Any]:
        """Return the two keys that every document begins with: its name and version."""
        return {name: get_args(cls.model_fields[name].annotation)[0] for name in ("document", "schema_version")}
