"""YAML, TOML and JSON files in and out. Reading is safe, writing atomic, floats keep every bit."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from data.files import atomic
from training.decode import ConfigError


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
