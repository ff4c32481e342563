"""Write a report as Markdown, with its figures and sounds in a folder next to it."""

from pathlib import Path
from urllib.parse import quote

from data.files import atomic
from search.report.figures import png_of
from search.report.page import Block, Code, Drawing, Grid, Page, Paragraph, Picture, Sound


def write_md(page: Page, path: Path) -> None:
    """Write the document to `path`, after its figures and sounds in the folder NAME_files next to it."""
    folder = path.with_name(f"{path.stem}_files")
    parts = [f"# {page.title}", page.lead]
    for section in page.sections:
        parts.append(f"{'#' * section.level} {section.title}")
        parts += [_block(block, folder) for block in section.blocks]
    with atomic(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8", errors="backslashreplace")


def _block(block: Block, folder: Path) -> str:
    match block:
        case Paragraph(text, warns):
            return f"> {text}" if warns else text
        case Grid():
            return _table(block)
        case Drawing(name, caption, alt, _):
            return _image(folder, f"{name}.png", png_of(block), caption, alt)
        case Picture(name, caption, alt, png):
            return _image(folder, f"{name}.png", png, caption, alt)
        case Sound(name, label, wav):
            return f"[{label}]({_save(folder, f'{name}.wav', wav)})"
        case Code(label, language, text):
            return f"{label}\n\n```{language}\n{text.rstrip()}\n```"


def _image(folder: Path, name: str, png: bytes, caption: str, alt: str) -> str:
    plain = alt.replace("[", "(").replace("]", ")")
    return f"![{plain}]({_save(folder, name, png)})\n\n*{caption}*"


def _save(folder: Path, name: str, content: bytes) -> str:
    """Write `content` to the folder and return its relative URL."""
    with atomic(folder / name) as temporary:
        temporary.write_bytes(content)
    return quote(f"{folder.name}/{name}", errors="surrogateescape")


def _table(grid: Grid) -> str:
    marks = ["---" if i < grid.n_left else "---:" for i in range(len(grid.head))]
    rows = [grid.head, tuple(marks), *grid.rows]
    lines = [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]
    return "\n".join([f"*{grid.caption}*", "", *lines])


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
