"""Write a report as one HTML file without scripts or network access, with figures and sounds embedded.

The template is report.html.j2. Its headings, table scopes and alternative texts are for screen readers.
"""

import base64
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from search.report.figures import svg_of
from search.report.page import Drawing, Page, Section

FOLDER = Path(__file__).parent


def html_of(page: Page) -> str:
    """Return the HTML document of a report."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"anchor": _anchor, "data": _data, "kind": lambda block: type(block).__name__, "svg": _svg}
    style = Markup((FOLDER / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2").render(page=page, style=style)


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def _svg(drawing: Drawing) -> Markup:
    return Markup(svg_of(drawing))


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
