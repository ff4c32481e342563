"""Write a template of a plug-in."""

import ast
import keyword
import re
from pathlib import Path

from data.errors import near
from data.files import atomic, file_errors
from search.errors import PluginError
from training.plugins.plugin import MAX_NAME, SUFFIX

TEMPLATES = Path(__file__).parent / "templates"  # a template's file is called as its kind
NAME = re.compile(r"[a-z][a-z0-9_]*")
KINDS = ("model", "loss", "metric", "reader", "sampler")


def write_template(kind: str, path: Path) -> None:
    """Write the template of a kind to `path`. What it registers is named after the file.

    Raises PluginError for an unknown kind, for a name that no plug-in can have or that the template uses, and for a
    file that exists; FileError.
    """
    if kind not in KINDS:
        raise PluginError(f"no template {kind!r}{near(kind, KINDS)}; known: {', '.join(KINDS)}")
    name, called = path.stem, f"my_{kind}"
    if path.suffix != SUFFIX or NAME.fullmatch(name) is None or len(path.name) > MAX_NAME:
        raise PluginError(
            f"{path}: a plug-in's name has small letters, digits and _, begins with a letter and ends in {SUFFIX}, "
            f"like {called}{SUFFIX}"
        )
    with file_errors(path, "read"):
        exists = path.exists() or path.is_symlink()
    if exists:
        raise PluginError(f"{path}: exists already and is not replaced; choose another name")
    text = (TEMPLATES / f"{kind}{SUFFIX}").read_text(encoding="utf-8")
    replaced = {called: name, _camel(called): _camel(name), called.upper(): name.upper()}
    if taken := sorted(_taken(text).intersection(replaced.values()) - replaced.keys()):
        raise PluginError(f"{path}: {taken[0]!r} has a meaning in the template already; choose another name")
    for placeholder, by in replaced.items():
        text = text.replace(placeholder, by)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _taken(source: str) -> set[str]:
    """Return Python's keywords, and the names that a source imports or uses."""
    names: set[str] = set(keyword.kwlist)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names
