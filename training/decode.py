"""Decode plain values into frozen dataclasses, encode them again, and read and write documents.

Every document (YAML, TOML, JSON) becomes a config through `decode`. It accepts no unknown keys, wrong types or NaN, and
its errors name the document, the section and the key.
"""

import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from data.errors import near
from data.files import atomic
from training.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")  # pydantic's error types for an unknown key


def decode(cls: type[T], values: object, where: str) -> T:
    """Return `values` as an instance of the dataclass `cls`.

    where: the document or section; every error message begins with it.

    Raises ConfigError for unknown keys, wrong types, NaN, infinities and values that `cls` refuses.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: a table of keys is needed, got {_show(values)}")
    refuse_nan(values, where)
    try:
        text = json.dumps(values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
    try:
        validated: T = _adapter(typing.cast(Hashable, cls)).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(cls, error)}") from None
    return validated


def decode_named(table: Mapping[str, type[T]], values: object, where: str, what: str) -> T:
    """Decode a section whose key `name` selects the class from `table`; the other keys are the fields of that class.

    what: the kind of class ("model", "loss"), for error messages. Raises ConfigError.
    """
    if not isinstance(values, Mapping) or "name" not in values:
        raise ConfigError(f"{where}: a table with a key 'name' is needed, one of {', '.join(sorted(table))}")
    rest = {key: value for key, value in values.items() if key != "name"}
    name = values["name"]
    return decode(pick(table, name, where, what), rest, f"{where} ({name})")


def pick(table: Mapping[str, T], name: object, where: str, what: str) -> T:
    """Return table[name]. Raises ConfigError that lists the known names for any other name.

    what: the kind of entry, for the error message.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise ConfigError(f"{where}: unknown {what} {name!r}{near(str(name), table)}; known: {', '.join(sorted(table))}")


def changed(config: D, where: str, **fields: Any) -> D:
    """Return `config` with fields replaced. Raises ConfigError, beginning with `where`, for values that it refuses."""
    try:
        return replace(config, **fields)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def encode(value: object) -> Any:
    """Return a config as plain dicts, lists and scalars; the inverse of `decode`."""
    return json.loads(json.dumps(asdict(value)))  # type: ignore[call-overload]  # tuples become lists


def refuse_nan(values: object, where: str) -> None:
    """Raise ConfigError for a NaN or an infinity anywhere in `values`."""
    if isinstance(values, float) and not math.isfinite(values):
        raise ConfigError(f"{where}: {values} is not a number a config may hold")
    if isinstance(values, Mapping):
        for key, value in values.items():
            refuse_nan(value, f"{where}.{key}")
    elif isinstance(values, list | tuple):
        for i, value in enumerate(values):
            refuse_nan(value, f"{where}[{i}]")


def read_document(path: Path) -> Any:
    """Read the plain values in a .yaml, .yml, .toml or .json file. Raises ConfigError naming the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    try:
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".yaml" | ".yml":
                return yaml.load(text, Loader=_Loader)  # derived from SafeLoader
            case ".json":
                return json.loads(text, object_pairs_hook=_each_once)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    raise ConfigError(f"{path}: unknown kind of document {path.suffix!r}; .toml, .yaml or .json is needed")


def write_document(values: Any, path: Path) -> None:
    """Write plain values to a .yaml or .json file, atomically and with keys in their order.

    Raises ConfigError for any other suffix.
    """
    if path.suffix in (".yaml", ".yml"):
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    elif path.suffix == ".json":
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        raise ConfigError(f"{path}: a config is written as .yaml or .json")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Return the pydantic adapter of a class. Cached: building it takes longer than decoding a sampled point."""
    return TypeAdapter(cls)


def _explain(cls: type, error: ValidationError) -> str:
    """Return a one-line message for the first error that pydantic found in the fields of `cls`."""
    # A misspelt required key is reported as unknown and as missing; the unknown key is the more helpful message.
    found = error.errors(include_url=False)
    first = next((e for e in found if e["type"] in UNKNOWN_KEY), found[0])
    path = [part for part in first["loc"] if not (isinstance(part, str) and ("[" in part or part.endswith(")")))]
    name = ".".join(str(part) for part in path)
    kind, got = first["type"], first["input"]
    if kind in UNKNOWN_KEY:
        known = _field_names(cls, path[:-1])
        return f"unknown key {name!r}{near(str(path[-1]), known)}; known: {', '.join(sorted(known))}"
    if kind in ("missing", "missing_argument"):
        return f"{name!r} is missing"
    if kind == "value_error":
        return f"{name + ': ' if name else ''}{first['ctx']['error']}"
    rule = first["msg"].replace("Input should be", "should be")
    suggestion = (
        near(got, re.findall(r"'([^']*)'", first["msg"])) if kind == "literal_error" and isinstance(got, str) else ""
    )
    return f"{name!r}: {rule}, got {_show(got)}{suggestion}"


def _field_names(cls: type, path: list[Any]) -> list[str]:
    """Return the field names of the dataclass at `path`, or of the last dataclass on the way to it."""
    found: Any = cls
    for part in path:
        if isinstance(part, int):
            continue
        # No hint for a key of a mapping, whose values have the class found before.
        hint = typing.get_type_hints(found).get(part)
        found = next((c for c in _leaves(hint) if is_dataclass(c)), found)
    return [f.name for f in fields(found) if f.init]


def _leaves(hint: Any) -> list[Any]:
    """Return the types inside the containers and unions of a type hint."""
    if typing.get_origin(hint) in (tuple, list, typing.Union, types.UnionType, Mapping):
        return [leaf for argument in typing.get_args(hint) for leaf in _leaves(argument)]
    return [hint]


def _show(value: object) -> str:
    """Return the repr of a value, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Loader(yaml.SafeLoader):
    """The safe loader of YAML 1.1, changed so that 1e-4 is a number, as in YAML 1.2, and repeated keys are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in nodes]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict. Raises ValueError for a repeated key."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values
