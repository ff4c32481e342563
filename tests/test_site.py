"""The documentation site: it builds without a warning, and is read, searched and looked at without a network.

All of it is slow: MkDocs builds the whole site, once.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import drivebeat
from scripts.chromium import headless_chromium
from tests.support.asked import IN_STYLES, asked
from tests.support.program import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TAGS = frozenset(
    re.findall(
        r"\w+",
        """a abbr article aside audio body br button code del details div em figure figcaption footer form h1 h2 h3 h4
        h5 h6 head header hr html img input kbd label li link main meta nav ol p path pre script section small
        source span strong style sub summary sup svg table tbody td th thead title tr ul""",
    )
)


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder, as `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder), *options],
        cwd=ROOT,
        env=environment(NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. A warning, as of a link that leads nowhere, ends a strict build."""
    folder = tmp_path_factory.mktemp("built") / "site"
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_make_docs_is_as_strict_as_this_build() -> None:
    """With --quiet MkDocs counts no warnings, and a broken link passes a strict build."""
    recipe = re.search(r"^docs:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    assert "-m mkdocs build --strict" in recipe[1]
    assert not re.search(r"mkdocs.* (-q|--quiet)\b", recipe[1])


def test_each_page_of_docs_and_each_package_has_a_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 20
    packages = [init.parent for name in drivebeat.PACKAGES for init in (ROOT / name).rglob("__init__.py")]
    names = {".".join(package.relative_to(ROOT).parts) for package in packages} - {"search.python"}
    pages |= {Path("api", f"{name}.html") for name in names}
    pages |= {Path(name) for name in ("index.html", "changelog.html", "contributing.html", "api/index.html")}
    assert {str(page) for page in pages if not (site / page).is_file()} == set()


def test_the_reference_has_the_whole_interface(site: Path) -> None:
    """Every name of `import drivebeat` has a heading, and its docstring is on the page."""
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    names = {name for names in drivebeat.INTERFACE.values() for name in names}
    assert {name for name in names if f"drivebeat.{name}" not in page} == set()
    assert "A table with a row for each trial, by number." in page, "Study.trials"


def test_links_to_files_beside_docs_lead_to_them(site: Path) -> None:
    """The README's links are those of the repository; in the site they lead to its pages and to copies of files."""
    home = (site / "index.html").read_text(encoding="utf-8")
    for address in (
        "guide/studies.html",
        "adr/index.html",
        "contributing.html",
        "LICENSE.txt",
        "notebooks/listen.ipynb",
    ):
        assert f'href="{address}"' in home
        assert (site / address).is_file()
    assert 'href="../env.example.txt"' in (site / "guide" / "running.html").read_text(encoding="utf-8")
    assert (site / "env.example.txt").read_bytes() == (ROOT / ".env.example").read_bytes()


def test_no_text_is_taken_for_a_tag(site: Path) -> None:
    """<e,c> in a sentence would vanish from the page."""
    pages = [page for page in site.rglob("*.html") if page.name != "report.html"]  # a report is no page of MkDocs
    found = {page.name: set(re.findall(r"<([A-Za-z][^\s/>]*)", page.read_text("utf-8"))) for page in pages}
    assert {name: tags - TAGS for name, tags in found.items() if tags - TAGS} == {}


def test_no_page_asks_anything_of_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert {page.name: found for page in pages if (found := asked(page.read_text(encoding="utf-8")))} == {}
    styles = list(site.rglob("*.css"))
    assert {style.name: found for style in styles if (found := IN_STYLES.findall(style.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://unpkg.com/iframe-worker/shim"></script>',
        '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
        '<img src="http://example.org/badge.svg">',
        "<style>@import 'https://example.org/a.css'</style>",
        '<p style="background: url(https://example.org/a.png)">',
    ],
)
def test_what_would_ask_the_network_is_found(text: str) -> None:
    assert asked(text) != []
    assert asked('<a href="https://example.org">a link</a> <img src="img/a.png">') == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with headless_chromium() as browser:
        yield browser


@pytest.mark.parametrize("width_px", [390, 1280])
def test_pages_open_from_a_folder_and_are_searched(site: Path, chromium: Any, width_px: int) -> None:
    """Without a server: nothing but files of the site is asked for, no script fails, and the search finds a word."""
    page = chromium.new_page(viewport={"width": width_px, "height": 900})
    page.set_default_timeout(120_000)
    urls, failures = [], []
    page.on("request", lambda request: urls.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto((site / "index.html").as_uri())
    if width_px < 600:
        page.locator("label.md-header__button[for=__search]").click()
    page.locator("[data-md-component=search-query]").press_sequentially("fencing token")
    page.locator(".md-search-result__link[href*='glossary.html']").first.wait_for()
    page.goto((site / "guide" / "results.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "no page scrolls sideways"
    assert [url for url in urls if not url.startswith((site.as_uri(), "data:", "blob:", "about:"))] == []
    assert failures == []
    page.close()


def test_docstrings_become_markdown() -> None:
    """Lines that describe arguments become a list; "<" stays a sign."""
    from scripts.site_docstrings import with_lists, without_tags

    text = "Read it.\n\nlow, high: ends,\nin Hz.\nname: of it\n\nRaises: nothing. A sentence: with a colon."
    assert with_lists(text) == (
        "Read it.\n\n- `low`, `high`: ends,\n  in Hz.\n- `name`: of it\n\nRaises: nothing. A sentence: with a colon."
    )
    assert without_tags("<e, c> of `<e>`, 1 < 2\n\n    a<b>") == "&lt;e, c> of `<e>`, 1 < 2\n\n    a<b>"
