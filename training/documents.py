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
    """YAML 1.1's safe loader, but 1e-4 is a number, as in YAML 1.2, not a text."""


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
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    try:
        match path.suffix:
            case ".toml":
                return tomllib.loads(text)
            case ".yaml" | ".yml":
                return yaml.load(text, Loader=_Loader)  # a SafeLoader
            case ".json":
                return json.loads(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    raise ConfigError(f"{path}: unknown kind of document {path.suffix!r}; .toml, .yaml or .json is needed")


def write_document(values: Any, path: Path) -> None:
    """Write .yaml or .json atomically, keys in the order given."""
    if path.suffix in (".yaml", ".yml"):
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    elif path.suffix == ".json":
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        raise ConfigError(f"{path}: a config is written as .yaml or .json")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
