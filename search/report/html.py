"""A report as one HTML file that needs nothing else: no network, no script, figures and sounds inside."""

import base64
import re
from html import escape
from pathlib import Path

from search.report.figures import svg_of
from search.report.page import Block, Code, Drawing, Grid, Page, Picture, Section, Sound, Words

STYLE = Path(__file__).with_name("report.css")


def html_of(page: Page) -> str:
    """The whole document. Headings, table scopes and alternative texts are there for screen readers."""
    listed = "".join(
        f'<li><a href="#{_anchor(section)}">{escape(section.title)}</a></li>'
        for section in page.sections
        if section.level == 2
    )
    body = "\n".join(_section(section) for section in page.sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(page.title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n"
        f"<header><h1>{escape(page.title)}</h1><p>{escape(page.lead)}</p></header>\n"
        f'<nav aria-label="Contents"><ol>{listed}</ol></nav>\n<main>\n{body}\n</main>\n</body></html>\n'
    )


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def _section(section: Section) -> str:
    heading = f"h{section.level}"
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{_anchor(section)}"><{heading}>{escape(section.title)}</{heading}>\n{blocks}</section>'


def _block(block: Block) -> str:
    match block:
        case Words(text, warns):
            return f'<p class="warns" role="note">{escape(text)}</p>' if warns else f"<p>{escape(text)}</p>"
        case Grid():
            return _table(block)
        case Drawing():
            return f"<figure>{svg_of(block)}<figcaption>{escape(block.caption)}</figcaption></figure>"
        case Picture(_, caption, alt, png):
            image = f'<img src="{_data("image/png", png)}" alt="{escape(alt)}">'
            return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
        case Sound(_, label, wav):
            player = f'<audio controls preload="none" aria-label="{escape(label)}" src="{_data("audio/wav", wav)}">'
            return f"<p class=sound><span>{escape(label)}</span>{player}</audio></p>"
        case Code(label, _, text):
            inner = f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
            if text.count("\n") < 8:
                return f"<p>{escape(label)}</p>{inner}"
            return f"<details><summary>{escape(label)}</summary>{inner}</details>"


def _table(grid: Grid) -> str:
    def cells(texts: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{' scope=col' if tag == 'th' else ''}{'' if i < grid.n_left else ' class=n'}>{escape(text)}</{tag}>"
            for i, text in enumerate(texts)
        )

    head = cells(grid.head, "th")
    rows = "".join(f"<tr><th scope=row>{escape(row[0])}</th>{_rest(row, grid.n_left)}</tr>" for row in grid.rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(grid.caption)}"><table>'
        f"<caption>{escape(grid.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _rest(row: tuple[str, ...], n_left: int) -> str:
    return "".join(
        f"<td{'' if i < n_left else ' class=n'}>{escape(text)}</td>" for i, text in enumerate(row[1:], start=1)
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
