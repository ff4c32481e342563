"""Decode plain values into frozen dataclasses, and encode them again.

Every document (training.documents) becomes a config through `decode`. It accepts no unknown keys, wrong types or NaN,
and its errors name the document, the section and the key.
"""

import functools
import json
import math
import re
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from data.config import ADDED
from data.entry_points import load_installed
from data.errors import near
from training.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")
MAX_VALUES = 100_000  # keys included, and what an alias stands for as often as it is named
MAX_DEPTH = 50
MAX_BITS = 64  # of an integer
MAX_KEY = 200  # characters
NO_TEXT = re.compile("[\0\\ud800-\\udfff]")  # no path, and no column of a database, takes them
TOO_MANY = f"more than {MAX_VALUES:,} values with its aliases, which no config has; is it the right file?"
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep, which no config is; is it the right file?"
MAY_BE_INFINITE = re.compile(r"\b(validation|test)\.snrs_db\[\d+\]$")  # data.config.HeldOutConfig
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")  # pydantic's error types for an unknown key


def decode(cls: type[T], values: object, where: str) -> T:
    """Return `values` as an instance of the dataclass `cls`.

    where: the document or section; every error message begins with it.

    Raises ConfigError for unknown keys, wrong types, NaN, infinities (but in MAY_BE_INFINITE), values that `cls`
    refuses, and values beyond the limits above.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: a table of keys is needed, got {_show(values)}")
    for name, value in walk(values, where):
        if isinstance(value, float) and not math.isfinite(value):
            if value == math.inf and MAY_BE_INFINITE.search(name):
                continue
            raise ConfigError(f"{name}: {value} is not a number a config may hold")
    try:
        text = json.dumps(values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
    try:
        validated: T = _adapter(typing.cast(Hashable, cls)).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(cls, error)}") from None
    return validated


def walk(values: object, where: str) -> list[tuple[str, object]]:
    """Return the name and the content of `values` and of all values in it, in their order.

    where: the name of `values`; that of an inner value has its keys and positions after it ("best.yaml.fit.epochs").

    Raises ConfigError for more than MAX_VALUES values and keys, more than MAX_DEPTH levels, and for keys, integers and
    texts that a library, an operating system or a database cannot take.
    """
    # Not recursive, for Python's stack may be too small for the values; they may even contain themselves.
    found: list[tuple[str, object]] = []
    n_values, left = 0, [(where, values, 0)]
    while left:
        name, value, depth = left.pop()
        n_values += 1 + (len(value) if isinstance(value, Mapping) else 0)
        if n_values > MAX_VALUES:
            raise ConfigError(f"{where}: {TOO_MANY}")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: {TOO_DEEP}")
        _check_scalar(value, name)
        found.append((name, value))
        if isinstance(value, Mapping):
            for key in value:
                _check_key(key, name)
            left += [(f"{name}.{key}", inner, depth + 1) for key, inner in reversed(list(value.items()))]
        elif isinstance(value, list | tuple):
            left += [(f"{name}[{i}]", inner, depth + 1) for i, inner in reversed(list(enumerate(value)))]
    return found


def _check_key(key: object, where: str) -> None:
    """Raise ConfigError for a key that is too long, or that `_check_scalar` refuses. where: the name of its table."""
    if isinstance(key, str) and len(key) > MAX_KEY:
        raise ConfigError(f"{where}: a key of {len(key)} characters; at most {MAX_KEY} are allowed")
    _check_scalar(key, where)


def _check_scalar(value: object, where: str) -> None:
    """Raise ConfigError for a long integer, and for a text with a NUL or half a surrogate pair."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ConfigError(f"{where}: an integer of {value.bit_length()} bits; at most {MAX_BITS} are allowed")
    if isinstance(value, str) and NO_TEXT.search(value) is not None:
        raise ConfigError(f"{where}: a text with a NUL character or half a surrogate pair; remove it")


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
    """Return table[name], after a look at the entry points for a name that is not in it.

    what: the kind of entry (data.entry_points), also for the error message.

    Raises ConfigError that lists the known names for any other name.
    """
    if not (isinstance(name, str) and name in table):
        load_installed(what)
    if isinstance(name, str) and name in table:
        return table[name]
    known = ", ".join(sorted(table))
    raise ConfigError(f"{where}: unknown {what} {_show(name)}{near(str(name), table)}; known: {known}")


def changed(config: D, where: str, **fields: Any) -> D:
    """Return `config` with fields replaced. Raises ConfigError, beginning with `where`, for values that it refuses."""
    try:
        return replace(config, **fields)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def encode(value: object) -> Any:
    """Return a config as plain dicts, lists and scalars; the inverse of `decode`.

    A field whose metadata has data.config.ADDED is left out while it has its default: documents of versions without
    the field stay equal.
    """
    if is_dataclass(value):
        return {f.name: encode(held) for f in fields(value) if not _is_left_out(f, held := getattr(value, f.name))}
    if isinstance(value, Mapping):
        return {str(key): encode(held) for key, held in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(held) for held in value]
    return value


def _is_left_out(field: Field[Any], held: object) -> bool:
    """Return whether a field of a later version has its default."""
    if not field.metadata.get(ADDED):
        return False
    return bool(
        held
        == (field.default if field.default_factory is MISSING else _made(typing.cast(Hashable, field.default_factory)))
    )


@functools.cache
def _made(factory: Any) -> Any:
    """Return what a field's default factory makes: a frozen config."""
    return factory()


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """Return the pydantic adapter of a class. Cached: building it takes longer than decoding a sampled point."""
    return TypeAdapter(cls)


def _explain(cls: type, error: ValidationError) -> str:
    """Return a one-line message for the first error that pydantic found in the fields of `cls`."""
    # A misspelt required key is reported as unknown and as missing; the unknown key is the more helpful message.
    found = error.errors(include_url=False)
    # For a field that takes a text or a table, a wrong table is no text either; what is wrong in the table is better.
    found = [e for e in found if not (e["type"] == "string_type" and isinstance(e["input"], dict))] or found
    first = next((e for e in found if e["type"] in UNKNOWN_KEY), found[0])
    path = _keys(cls, first["loc"])
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


def _keys(cls: type, location: tuple[int | str, ...]) -> list[int | str]:
    """Return the keys and positions of a location, without the names that pydantic gives to the members of a union."""
    keys: list[int | str] = []
    members: list[Any] = []
    holder: Any = cls
    for part in location:
        if isinstance(part, int):
            keys.append(part)
            continue
        if "[" in part or part.endswith(")") or part in [getattr(m, "__name__", None) for m in members]:
            continue
        keys.append(part)
        members = _leaves(typing.get_type_hints(holder).get(part))
        holder = next((member for member in members if is_dataclass(member)), holder)
    return keys


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
