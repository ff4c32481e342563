"""Plain values (from YAML, TOML or JSON) to frozen dataclasses, strictly: the one door every document passes."""

import functools
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
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")  # pydantic's words for it


def decode(cls: type[T], values: object, where: str) -> T:
    """`values` as a `cls`; unknown keys, wrong types, NaN and impossible values are refused by name.

    where: the document or the section, first thing in every message. Raises ConfigError.
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


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Kept, as building one takes longer than everything else that is done with a point of a search."""
    return TypeAdapter(cls)


def changed(config: D, where: str, **fields: Any) -> D:
    """`config` with some fields replaced. Raises ConfigError for values that cannot be."""
    try:
        return replace(config, **fields)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def decode_named(table: Mapping[str, type[T]], values: object, where: str, what: str) -> T:
    """A section whose key `name` picks the class from `table`, the rest being its fields."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ConfigError(f"{where}: a table with a key 'name' is needed, one of {', '.join(sorted(table))}")
    rest = {key: value for key, value in values.items() if key != "name"}
    name = values["name"]
    return decode(pick(table, name, where, what), rest, f"{where} ({name})")


def pick(table: Mapping[str, T], name: object, where: str, what: str) -> T:
    """table[name], or a ConfigError that says what there is."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise ConfigError(f"{where}: unknown {what} {name!r}{near(str(name), table)}; known: {', '.join(sorted(table))}")


def encode(value: object) -> Any:
    """A config as plain dicts, lists and scalars; the inverse of decode."""
    return json.loads(json.dumps(asdict(value)))  # type: ignore[call-overload]  # tuples become lists


def refuse_nan(values: object, where: str) -> None:
    """Raise ConfigError for a NaN or an infinity anywhere inside."""
    if isinstance(values, float) and not math.isfinite(values):
        raise ConfigError(f"{where}: {values} is not a number a config may hold")
    if isinstance(values, Mapping):
        for key, value in values.items():
            refuse_nan(value, f"{where}.{key}")
    elif isinstance(values, list | tuple):
        for i, value in enumerate(values):
            refuse_nan(value, f"{where}[{i}]")


def _explain(cls: type, error: ValidationError) -> str:
    # A misspelt key that is needed counts as missing too; the key as it stands tells more.
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
    meant = (
        near(got, re.findall(r"'([^']*)'", first["msg"])) if kind == "literal_error" and isinstance(got, str) else ""
    )
    return f"{name!r}: {rule}, got {_show(got)}{meant}"


def _field_names(cls: type, path: list[Any]) -> list[str]:
    """Field names of the dataclass that `path` leads to, or of the last one on the way."""
    here: Any = cls
    for part in path:
        if isinstance(part, int):
            continue
        hint = typing.get_type_hints(here).get(part)  # None: a key of a table, whose values are `here` already
        here = next((c for c in _leaves(hint) if is_dataclass(c)), here)
    return [f.name for f in fields(here) if f.init]


def _leaves(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (tuple, list, typing.Union, types.UnionType, Mapping):
        return [leaf for argument in typing.get_args(hint) for leaf in _leaves(argument)]
    return [hint]


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Loader(yaml.SafeLoader):
    """YAML 1.1's safe loader, but 1e-4 is a number, as in YAML 1.2, not a text, and a key may stand once."""

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


def read_document(path: Path) -> Any:
    """What a .yaml, .yml, .toml or .json file holds. Raises ConfigError, naming the file and the line."""
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
                return yaml.load(text, Loader=_Loader)  # a SafeLoader
            case ".json":
                return json.loads(text, object_pairs_hook=_each_once)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    raise ConfigError(f"{path}: unknown kind of document {path.suffix!r}; .toml, .yaml or .json is needed")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def write_document(values: Any, path: Path) -> None:
    """Write .yaml or .json atomically, keys in the order given. Raises ConfigError for another ending."""
    if path.suffix in (".yaml", ".yml"):
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    elif path.suffix == ".json":
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        raise ConfigError(f"{path}: a config is written as .yaml or .json")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
