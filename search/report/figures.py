"""Render the figures of a report: SVG in the text colour of the page, PNG, and PDF for a paper."""

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

from data.files import atomic
from search.report.page import Drawing

# A colour that nothing else has. It is replaced by currentColor, so that figures follow the page's light or dark mode.
INK = "#010203"
COMMON = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in the name of a study must not start a formula
    "svg.fonttype": "none",
    "svg.hashsalt": "drivebeat",
    "pdf.fonttype": 42,  # TrueType, as journals require
}
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
PAPER_DPI = 200


def svg_of(drawing: Drawing) -> str:
    """Return an <svg> element for a page: transparent, with text in the page's colour and font, and unique ids."""
    style = {**COMMON, **dict.fromkeys(INKED, INK), "figure.facecolor": "none", "axes.facecolor": "none"}
    text = _saved(drawing, {**style, "legend.facecolor": "none"}, "svg", {"Date": None}, transparent=True).decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*(?=[;\"])", r"font: \1sans-serif", text)
    text = re.sub(r"(id=\"|url\(#|href=\"#)", rf"\g<1>{drawing.name}-", text)
    # without width and height, the figure takes the width of the page
    head, _, rest = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="{drawing.name}-alt"><title id="{drawing.name}-alt">' + (
        f"{_escaped(drawing.alt)}</title>{rest}"
    )


def png_of(drawing: Drawing) -> bytes:
    """Return a PNG, black on white."""
    return _saved(drawing, COMMON, "png", {"Software": None})


def write_figures(drawings: tuple[Drawing, ...], folder: Path) -> None:
    """Write each figure to `folder` as NAME.pdf and NAME.png, black on white."""
    for drawing in drawings:
        for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            with atomic(folder / f"{drawing.name}.{kind}") as temporary:
                temporary.write_bytes(_saved(drawing, COMMON, kind, metadata))


def _saved(drawing: Drawing, style: Any, kind: str, metadata: dict[str, None], *, transparent: bool = False) -> bytes:
    with mpl.rc_context(style):
        figure = drawing.build()
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=PAPER_DPI, transparent=transparent)
    return buffer.getvalue()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
