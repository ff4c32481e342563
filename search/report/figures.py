"""Figures of a report as SVG that takes the page's ink, as PNG, and as PDF for a paper."""

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

from data.files import atomic
from search.report.page import Drawing

# Drawn in this ink, which nothing else has, and then set to the colour of the page's text, by day and by night.
INK = "#010203"
COMMON = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in a study's name begins no formula
    "svg.fonttype": "none",
    "svg.hashsalt": "drivebeat",
    "pdf.fonttype": 42,  # TrueType, which journals ask for
}
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
PAPER_DPI = 200


def svg_of(drawing: Drawing) -> str:
    """An <svg> element for a page: transparent, its text real text in the page's colour and font, ids its own."""
    style = {**COMMON, **dict.fromkeys(INKED, INK), "figure.facecolor": "none", "axes.facecolor": "none"}
    text = _saved(drawing, {**style, "legend.facecolor": "none"}, "svg", {"Date": None}, transparent=True).decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*(?=[;\"])", r"font: \1sans-serif", text)
    text = re.sub(r"(id=\"|url\(#|href=\"#)", rf"\g<1>{drawing.name}-", text)
    # the figure's own size in points gives way to the page's width
    head, _, rest = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="{drawing.name}-alt"><title id="{drawing.name}-alt">' + (
        f"{_escaped(drawing.alt)}</title>{rest}"
    )


def png_of(drawing: Drawing) -> bytes:
    """A PNG, black on white."""
    return _saved(drawing, COMMON, "png", {"Software": None})


def write_figures(drawings: tuple[Drawing, ...], folder: Path) -> None:
    """Each figure as NAME.pdf and NAME.png in `folder`, black on white."""
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
