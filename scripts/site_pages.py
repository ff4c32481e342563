"""The pages of the documentation site that are not in docs/, and the links between the pages.

mkdocs.yml names this file as a hook of MkDocs. README, CHANGELOG and CONTRIBUTING become pages, each package a page of
the API reference, and each folder of pages without an index gets one that lists them.
"""

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import drivebeat

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Address in the site -> file outside docs/. Pages, and files that pages link to.
OUTSIDE = {
    "index.md": "README.md",
    "ja.md": "README.ja.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "pretrained.md": "models/pretrained/drive/README.md",
    "LICENSE.txt": "LICENSE",
    "CITATION.cff": "CITATION.cff",
    "env.example.txt": ".env.example",
}
ADDRESSES = {source: address for address, source in OUTSIDE.items()}
JAPANESE = "ja.md"
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
# A list item of one link to a sound; text and address.
SOUND = re.compile(r"^- \[([^\]]+)\]\(([^)\s]+\.wav)\)$", re.MULTILINE)
# Folder -> title of its index.
FOLDERS = {"measurements": "Measurements", "adr": "Decisions"}
API = "api"
PYTHON = "search.python"  # the package of `import drivebeat`, whose names are on the first page of the reference


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the folders in `nav` by the pages in them."""
    config.nav = [_expanded(item) for item in config.nav or ()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that are not in docs/."""
    for address, source in OUTSIDE.items():
        files.append(File.generated(config, address, content=(ROOT / source).read_text(encoding="utf-8")))
    for folder, title in FOLDERS.items():
        files.append(File.generated(config, f"{folder}/index.md", content=_index(folder, title)))
    for address, text in api_pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links from files in the repository to the same files in the site, and let sounds be played.

    A page that is alone in its tab gets the width of the list of pages.
    """
    if page.file.src_uri in ("index.md", JAPANESE, "example/index.md"):
        page.meta.setdefault("hide", ["navigation"])
    return with_players(relinked(markdown, page.file.src_uri))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark the Japanese page as such, for screen readers, fonts and hyphenation."""
    return f'<div lang="ja">{html}</div>' if page.file.src_uri == JAPANESE else html


def with_players(markdown: str) -> str:
    """Return the text with a player below each link to a .wav that is a list item of its own."""
    return SOUND.sub(r'- [\1](\2)<br><audio controls preload="none" src="\2" aria-label="\1"></audio>', markdown)


def relinked(markdown: str, address: str) -> str:
    """Return the text of the page at `address` with its links to files of the repository as addresses in the site.

    A link to a file that is not in the site stays as it is: a strict build refuses it.
    """
    source = OUTSIDE.get(address, f"docs/{address}")

    def lead(found: re.Match[str]) -> str:
        target = found[2]
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        named = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if named in ADDRESSES:
            there = ADDRESSES[named]
        elif named.startswith("docs/"):
            there = named.removeprefix("docs/")
            there = f"{there}/index.md" if there in FOLDERS else there
        else:
            return found[0]
        return f"{found[1]}{posixpath.relpath(there, posixpath.dirname(address) or '.')}{found[3]}"

    return LINK.sub(lead, markdown)


def api_pages() -> dict[str, str]:
    """Return address -> text of the pages of the API reference: the functions of `import drivebeat`, each package."""
    lines = [
        "# API reference",
        "",
        "From the docstrings. [Python](../guide/python.md) explains the functions of `import drivebeat` with examples. "
        "The packages below are for those who write [plug-ins](../guide/plugins.md) or change Drivebeat; their names "
        "may change from version to version.",
        "",
        *_interface(),
        "## Packages",
        "",
        *(f"- [`{package}`]({package}.md): {first_line(package)}" for package in packages()),
    ]
    pages = {f"{API}/index.md": "\n".join(lines) + "\n"}
    return pages | {f"{API}/{package}.md": _package_page(package) for package in packages()}


def packages() -> list[str]:
    """Return the dotted names of all packages, in the order of the layers."""
    inits = (init for top in drivebeat.PACKAGES for init in sorted((ROOT / top).rglob("__init__.py")))
    return [name for init in inits if (name := ".".join(init.parent.relative_to(ROOT).parts)) != PYTHON]


def first_line(module: str) -> str:
    """Return the first line of a module's docstring."""
    path = ROOT.joinpath(*module.split("."))
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _interface() -> Iterator[str]:
    """Yield the lines that show the names of `import drivebeat`, in the order of their modules."""
    for module, names in drivebeat.INTERFACE.items():
        for name in names:
            if f"search.{name}" == module:  # a module, which has its place among the packages
                yield from (f"## drivebeat.{name}", "", f"The module [{module}](search.md#{module}).", "")
            elif module.startswith(PYTHON):
                yield from _object(f"{module}.{name}", heading=f"drivebeat.{name}")
            else:
                page = module.rpartition(".")[0]
                yield from (f"## drivebeat.{name}", "", f"[{module}.{name}]({page}.md#{module}.{name})", "")


def _package_page(package: str) -> str:
    """Return the page of a package: its docstring, and each of its public modules."""
    modules = sorted(path.stem for path in ROOT.joinpath(*package.split(".")).glob("*.py"))
    lines = [f"# {package}", "", *_object(package, "members: []", "show_root_heading: false")]
    for module in modules:
        if not module.startswith("_"):
            lines += _object(f"{package}.{module}")
    return "\n".join(lines) + "\n"


def _object(name: str, *options: str, heading: str = "") -> list[str]:
    """Return the lines by which mkdocstrings shows the object `name`. heading: instead of its name."""
    options = (*options, *((f"heading: {heading}", f"toc_label: {heading}") if heading else ()))
    return [f"::: {name}", *(["    options:", *(f"        {option}" for option in options)] if options else []), ""]


def _index(folder: str, title: str) -> str:
    """Return a page that lists the pages of a folder."""
    pages = sorted((DOCS / folder).glob("*.md"))
    return "\n".join([f"# {title}", "", *(f"- [{_title(page)}]({page.name})" for page in pages)]) + "\n"


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _expanded(item: Any) -> Any:
    """Return an item of `nav`, with the pages in its folder if it names one."""
    if not isinstance(item, dict):
        return item
    return {title: [*_pages_of(value)] if _is_folder(value) else _all(value) for title, value in item.items()}


def _all(value: Any) -> Any:
    return [_expanded(item) for item in value] if isinstance(value, list) else value


def _is_folder(value: Any) -> bool:
    return isinstance(value, str) and value.endswith("/")


def _pages_of(folder: str) -> Iterator[Any]:
    yield f"{folder}index.md"
    if folder == f"{API}/":
        yield from ({package: f"{API}/{package}.md"} for package in packages())
    else:
        yield from (f"{folder}{page.name}" for page in sorted((DOCS / folder).glob("*.md")))
