"""Docstrings as Markdown: lines `name: ...` that describe arguments and fields become a list, <e, c> stays text.

mkdocs.yml names this file as an extension of Griffe, which reads the docstrings of the API reference.
"""

import re
from typing import Any

from griffe import Extension, Object

# "rate_hz: of the recording", "low, high: ...", but no sentence that has a colon later on.
ENTRY = re.compile(r"^(\*{0,2}[a-z_][\w.]*(?:, \*{0,2}[a-z_][\w.]*)*): (.*)$")


class Markdown(Extension):
    """Rewrite the docstring of each object that is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_lists(without_tags(obj.docstring.value))


def with_lists(text: str) -> str:
    """Return a docstring with its lines `name: ...` as items of a list. Lines after one belong to it until a blank."""
    lines: list[str] = []
    is_item = False
    for line in text.split("\n"):
        found = ENTRY.match(line)
        if found is not None:
            if not is_item and lines and lines[-1]:
                lines.append("")
            lines.append(f"- `{found[1].replace(', ', '`, `')}`: {found[2]}")
            is_item = True
        else:
            lines.append(f"  {line.strip()}" if is_item and line.strip() else line)
            is_item = is_item and bool(line.strip())
    return "\n".join(lines)


def without_tags(text: str) -> str:
    """Return a docstring in which no "<" outside of code begins a tag of HTML."""
    return "\n".join(line if line.startswith("    ") else _without_tags(line) for line in text.split("\n"))


def _without_tags(line: str) -> str:
    parts = line.split("`")  # every second one is code
    return "`".join(part if i % 2 else re.sub(r"<(?=[A-Za-z/!])", "&lt;", part) for i, part in enumerate(parts))
