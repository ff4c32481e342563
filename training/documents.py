"""Read documents (YAML, TOML, JSON) as plain values, with limits to what they can ask for; write YAML and JSON.

A document may come from somebody else. One of a few bytes can stand for gigabytes (aliases of aliases in YAML) or be
nested deeper than Python's stack. The limits are far above every config.
"""

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from data.files import atomic
from training.decode import MAX_DEPTH, MAX_VALUES, TOO_DEEP, TOO_MANY, walk
from training.errors import ConfigError

MAX_BYTES = 4 * 2**20
MAX_NUMBER = 1000  # characters
# A dotted key of TOML, which tomllib reads in a time that grows with the square of its parts.
DEEP_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++\s*+\.\s*+){{{MAX_DEPTH + 1}}}")


def read_document(path: Path) -> Any:
    """Read the plain values in a .yaml, .yml, .toml or .json file in UTF-8, with a byte order mark or without.

    Raises ConfigError, naming the file and the line, for a file that cannot be read and one beyond the limits.
    """
    too_large = f"larger than {MAX_BYTES // 2**20} MiB, which no config is; is it the right file?"
    text = text_of(path, MAX_BYTES, too_large)
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError(f"{path}: unknown kind of document {path.suffix!r}; .toml, .yaml or .json is needed")
    return _values(parse, text, str(path))


def values_of(text: str, where: str) -> Any:
    """Return the plain values that a text in YAML stands for. Raises ConfigError as read_document does.

    where: begins the error.
    """
    return _values(_yaml, text, where)


def _values(parse: Callable[[str], Any], text: str, where: str) -> Any:
    try:
        values = parse(text)
    except RecursionError:
        raise ConfigError(f"{where}: {TOO_DEEP}") from None
    except Exception as error:  # PyYAML raises errors of many kinds for a tag that does not fit its value
        raise ConfigError(f"{where}: {' '.join(str(error).split()) or type(error).__name__}") from error
    walk(values, where)  # it checks
    return values


def with_base(document: Any, path: Path) -> Any:
    """Return the document at `path` with the folder that its relative paths start from, `base` in section `data`.

    A study file of schema_version 2 has its own folder as the default. A relative base starts from the document's
    folder. A document without a base, and one that is no table of sections, is returned unchanged. A file with nothing
    but a section `data`, for --data, is like a study file. Raises ConfigError for the folder of an unknown user.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("data"), Mapping):
        return document
    is_new_study = "model" not in document and document.get("schema_version") == 2
    base = document["data"].get("base", "." if is_new_study else None)
    if not isinstance(base, str):
        return document  # none, or refused by the decoder
    try:
        start = Path(base).expanduser()
    except RuntimeError as error:  # ~ of an unknown user
        raise ConfigError(f"{path}: data: base is {base!r} ({error}); name a folder") from error
    folder = os.path.normpath(path.absolute().parent / start)
    return {**document, "data": {**document["data"], "base": str(folder)}}


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with keys such as "budget.trials"."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def text_of(path: Path, max_bytes: int, too_large: str, error: type[ConfigError] = ConfigError) -> str:
    """Read a text in UTF-8, with a byte order mark or without.

    Raises `error` if the file cannot be read, is larger than max_bytes (with the words `too_large`), or is in another
    encoding.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file; check the path") from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        raise error(f"{path}: cannot be read ({getattr(cause, 'strerror', cause)}); check the path") from cause
    if len(content) > max_bytes:
        raise error(f"{path}: {too_large}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        found = f"byte 0x{content[cause.start]:02x} at {cause.start}"
        raise error(f"{path}: cannot be read as UTF-8 ({found}); save it in that encoding") from cause
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _Loader(yaml.SafeLoader):
    """The safe loader of YAML 1.1, changed so that 1e-4 is a number, as in YAML 1.2, and repeated keys are an error.

    It counts the values, those of an alias each time it is named: merged keys (<<) copy them.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._n_values = 0
        self._sizes: dict[str, int] = {}  # the values under each anchor

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before, is_alias = self._n_values, isinstance(event, yaml.AliasEvent)
        if is_alias and event.anchor in self.anchors and event.anchor not in self._sizes:
            raise yaml.MarkedYAMLError(problem=f"{event.anchor!r} contains itself", problem_mark=event.start_mark)
        self._n_values += self._sizes.get(event.anchor, 0) if is_alias else 1
        if self._n_values > MAX_VALUES:
            raise yaml.YAMLError(TOO_MANY)
        node = super().compose_node(parent, index)
        if not is_alias and event.anchor is not None:
            self._sizes[event.anchor] = self._n_values - before
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number. Digits to the base 60 (1:30:00) would take a time that grows with the square of theirs."""
        if len(node.value) > MAX_NUMBER:
            raise yaml.YAMLError(f"a number of {len(node.value)} characters; at most {MAX_NUMBER} are allowed")
        is_float = node.tag.endswith(":float")
        number: int | float = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        return number

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused by the base class
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)

for _tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
    _Loader.add_constructor(_tag, _Loader.construct_number)


def _toml(text: str) -> Any:
    if DEEP_KEY.search(text) is not None:
        raise ValueError(TOO_DEEP)
    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # derived from SafeLoader


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict. Raises ValueError for a repeated key."""
    values = dict(pairs)
    if len(values) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {name!r} stands twice")
    return values


PARSERS: dict[str, Callable[[str], Any]] = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml, ".json": _json}


class LongText(str):
    """A text of several lines, which a YAML document holds as a block: one line for each of its lines."""


# Characters that a block of YAML keeps. The others of a source (form feeds, line separators) need escapes.
BLOCK_TEXT = re.compile("[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]+")


class _Dumper(yaml.SafeDumper):
    """The safe dumper of YAML, changed so that a LongText with tabs or blanks at ends of lines is a block too."""

    def analyze_scalar(self, scalar: str) -> Any:
        analysis: Any = super().analyze_scalar(scalar)
        analysis.allow_block = analysis.allow_block or BLOCK_TEXT.fullmatch(scalar) is not None
        return analysis


def _represent_long(dumper: yaml.SafeDumper, text: LongText) -> yaml.ScalarNode:
    style = "|" if BLOCK_TEXT.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style)


_Dumper.add_representer(LongText, _represent_long)


def write_document(values: Any, path: Path) -> None:
    """Write plain values to a .yaml or .json file, atomically and with keys in their order.

    Raises ConfigError for any other suffix.
    """
    if path.suffix in (".yaml", ".yml"):
        text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    elif path.suffix == ".json":
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        raise ConfigError(f"{path}: a config is written as .yaml or .json")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
