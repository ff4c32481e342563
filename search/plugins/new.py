"""Write a template of a plug-in."""

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

    Raises PluginError for an unknown kind, for a name that no plug-in can have, and for a file that exists; FileError.
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
    for placeholder, by in ((called, name), (_camel(called), _camel(name)), (called.upper(), name.upper())):
        text = text.replace(placeholder, by)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
