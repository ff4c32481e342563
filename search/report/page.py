"""A report as plain values: sections of words, tables, figures, sounds and code. Other modules write it."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph; `warns` sets it apart."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. rows: texts, the first of each heads its row; columns from `n_left` on hold numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that is drawn where it is needed, in the style of that place. alt: what it shows, for who cannot see."""

    name: str
    caption: str
    alt: str
    build: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG that exists already."""

    name: str
    caption: str
    alt: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """A WAV."""

    name: str
    label: str
    wav: bytes


@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy; `language` is YAML's or the shell's."""

    label: str
    language: str
    text: str


Block = Words | Grid | Drawing | Picture | Sound | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of level 2 or 3 with what stands under it."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All figures, in their order."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Drawing))
