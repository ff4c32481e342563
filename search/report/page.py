"""A report as values: sections of text, tables, figures, sounds and code. html.py and markdown.py write it."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph. warns: show it as a warning."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    caption: above the table.
    head: the headings of the columns.
    rows: the cells; the first of each row is its heading.
    n_left: number of columns aligned to the left; the others hold numbers.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, drawn when the report is written.

    name: unique in the report.
    caption: below the figure.
    alt: its content in words, for screen readers.
    build: returns the figure.
    """

    name: str
    caption: str
    alt: str
    build: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure that exists as PNG. Its fields are those of Drawing."""

    name: str
    caption: str
    alt: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound. name: unique in the report. wav: the content of the file."""

    name: str
    label: str
    wav: bytes


@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy. language: "yaml" or "sh"."""

    label: str
    language: str
    text: str


Block = Paragraph | Grid | Drawing | Picture | Sound | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of level 2 or 3 and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True, slots=True)
class Page:
    """A report. lead: the summary below the title."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All drawings, in their order."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Drawing))
