"""README.ja.md says what README.md says: commands, code, files, numbers, links and headings are equal.

The prose is compared by its numbers, links and code only; that it is good Japanese no test can say.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, JAPANESE = "README.md", "README.ja.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)|<(https?://[^>]+)>")
NUMBER = re.compile(r"(?<![A-Za-z0-9.])\d+(?:[.,]\d+)*")
SPAN = re.compile(r"`([^`]+)`")
COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections(text: str) -> list[str]:
    """Return the parts of a page between its headings, code left out."""
    return re.split(r"^#+ .*$", FENCE.sub("", text), flags=re.MULTILINE)


def headings(text: str) -> list[int]:
    """Return the level of each heading."""
    return [len(found) for found in re.findall(r"^(#+) ", FENCE.sub("", text), flags=re.MULTILINE)]


def code(text: str) -> list[tuple[str, list[str]]]:
    """Return language and lines of each block: without comments, of a tree of folders the names alone."""
    found = []
    for language, block in FENCE.findall(text):
        bare = re.sub(r"(?<=/) .*$", "", block, flags=re.MULTILINE) if language == "text" else COMMENT.sub("", block)
        found.append((language, [line.rstrip() for line in bare.splitlines()]))
    return found


def links(text: str) -> list[Counter[tuple[str, str]]]:
    """Return how often each section has each link (and picture, marked "!"), without those to the other README."""
    counted = [Counter((mark, link or plain) for mark, link, plain in LINK.findall(part)) for part in sections(text)]
    return [Counter({key: n for key, n in part.items() if key[1] not in (ENGLISH, JAPANESE)}) for part in counted]


def numbers(text: str) -> list[Counter[str]]:
    """Return how often each section's prose has each number; those in links and code are compared there."""
    return [Counter(NUMBER.findall(SPAN.sub("", LINK.sub(_label, part)))) for part in sections(text)]


def spans(text: str) -> list[Counter[str]]:
    """Return how often each section has each code span."""
    return [Counter(" ".join(found.split()) for found in SPAN.findall(part)) for part in sections(text)]


def rows(text: str) -> list[int]:
    """Return the number of table rows of each section."""
    return [len(re.findall(r"^\|", part, flags=re.MULTILINE)) for part in sections(text)]


def paragraphs(text: str) -> list[int]:
    """Return the number of paragraphs of each section."""
    return [len([one for one in part.split("\n\n") if one.strip()]) for part in sections(text)]


def _label(link: re.Match[str]) -> str:
    return link[0].partition("](")[0]


FACTS: dict[str, Callable[[str], Sequence[object]]] = {
    "headings": headings,
    "code": code,
    "links": links,
    "numbers": numbers,
    "spans": spans,
    "rows": rows,
    "paragraphs": paragraphs,
}


@pytest.mark.parametrize("fact", FACTS)
def test_both_languages_say_the_same(fact: str) -> None:
    of = FACTS[fact]
    assert of(text_of(JAPANESE)) == of(text_of(ENGLISH))


@pytest.mark.parametrize("fact", FACTS)
def test_there_is_something_to_compare(fact: str) -> None:
    assert any(FACTS[fact](text_of(ENGLISH)))


@pytest.mark.parametrize(
    ("fact", "old", "new"),
    [
        ("headings", "\n## はじめに", "\n### はじめに"),
        ("code", "--workers 2", "--workers 3"),
        ("code", "  cli/ ", "  commandline/ "),
        ("links", "docs/guide/data.md", "docs/guide/studies.md"),
        ("numbers", "ピッチを6倍", "ピッチを5倍"),
        ("spans", "`drivebeat doctor`", "`drivebeat show`"),
        ("rows", "| `estimate.png` |", "`estimate.png`"),
    ],
)
def test_a_difference_is_found(fact: str, old: str, new: str) -> None:
    page = text_of(JAPANESE)
    assert old in page
    assert FACTS[fact](page.replace(old, new)) != FACTS[fact](text_of(ENGLISH))


def test_each_names_the_other_at_its_top() -> None:
    assert f"[日本語]({JAPANESE})" in text_of(ENGLISH).splitlines()[:4]
    assert f"[English]({ENGLISH})" in text_of(JAPANESE).splitlines()[:4]


def test_the_japanese_page_is_in_japanese() -> None:
    """Every paragraph, row and comment has Japanese letters: none was left in English."""
    prose = [line for part in sections(text_of(JAPANESE)) for line in part.splitlines() if line.strip()]
    prose = [line for line in prose if line not in (f"[English]({ENGLISH})", "|---|---|")]
    comments = [found[0] for _, block in FENCE.findall(text_of(JAPANESE)) for found in COMMENT.finditer(block)]
    assert len(prose) > 20 and len(comments) > 10
    assert [line for line in (*prose, *comments) if not re.search(r"[ぁ-んァ-ヶ一-龠]", line)] == []
