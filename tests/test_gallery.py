"""The gallery: each page has code, a figure and a sound, which exist and can be read, and its code runs."""

import re
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from scripts.gallery import GALLERY, IMAGES, PAGES, blocks, prepare, run
from tests.support.program import ROOT

FIGURE = re.compile(r"!\[([^\]]*)\]\(img/([^)]+\.png)\)")
SOUND = re.compile(r'<audio [^>]*src="img/([^"]+\.wav)" aria-label="([^"]+)"')
LINK = re.compile(r"\]\(img/([^)]+\.wav)\)")
MINUTES = ("recording", "beats", "heart_rate", "failure", "families")


def text_of(page: str) -> str:
    return (GALLERY / f"{page}.md").read_text(encoding="utf-8")


def test_its_pages_are_those_that_are_made_listed_and_in_the_site() -> None:
    assert len(PAGES) >= 8
    assert {path.stem for path in GALLERY.glob("*.md")} == {*PAGES, "index"}
    index, site = text_of("index"), (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in PAGES if f"({page}.md)" not in index or f"gallery/{page}.md" not in site] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_code_a_figure_with_a_text_and_a_sound_or_a_reason(page: str) -> None:
    text = text_of(page)
    (block,) = blocks(page)
    compile(block, page, "exec")
    figures = FIGURE.findall(text)
    assert figures
    assert all(len(alternative) > 30 for alternative, _ in figures)
    sounds = [name for name, _ in SOUND.findall(text)]
    assert sounds or "No sound: " in text
    assert sounds == LINK.findall(text), "a link to each sound, for where players are not shown"
    assert not sounds or "six times" in text, "the sounds are not at the pitch of the heart"
    assert all(name.startswith(page) for name in [*sounds, *(name for _, name in figures)])


def test_every_file_is_used_read_and_small() -> None:
    texts = [text_of(page) for page in PAGES]
    used = {name for text in texts for _, name in FIGURE.findall(text)}
    used |= {name for text in texts for name, _ in SOUND.findall(text)}
    assert used == {path.name for path in IMAGES.iterdir()}
    for path in IMAGES.iterdir():
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
                assert picture.width >= 800
            assert path.stat().st_size < 150_000, path
        else:
            samples, rate_hz = soundfile.read(path)
            assert rate_hz == 8000
            assert 0.5 < abs(samples).max() <= 1
            assert path.stat().st_size < 200_000, path
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 4_000_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["noise", *(pytest.param(page, marks=pytest.mark.slow) for page in MINUTES)])
def test_a_block_writes_the_files_of_its_page(page: str, tmp_path: Path) -> None:
    """Sounds have the length of those in the repository, so that the page describes what the block makes."""
    prepare(tmp_path)
    made = {path.name: path for path in run(page, tmp_path)}
    assert set(made) == {path.name for path in IMAGES.glob(f"{page}*")}
    for name, path in made.items():
        if name.endswith(".wav"):
            assert soundfile.info(path).frames == soundfile.info(IMAGES / name).frames
