"""README and guide cannot rot: the tree is the tree, commands parse, links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.support.pages import blocks, commands, mentioned, misnamed, refused

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAYERS = ("search", "training", "models", "data", "objectives")


def tree() -> dict[str, str]:
    """The folders of the annotated tree, with what is said of each."""
    found: dict[str, str] = {}
    steps: list[str] = []
    for line in blocks(README, "text")[0].splitlines():
        name, _, said = line.strip().partition(" ")
        steps = [*steps[: (len(line) - len(line.lstrip())) // 2], name]
        found["".join(steps)] = said.strip()
    return found


def shown(program: str) -> list[tuple[str, list[str]]]:
    """The page and the words of each command of `program`."""
    pages = {"README.md": README, **{path.name: path.read_text(encoding="utf-8") for path in GUIDE}}
    return [(name, words) for name, text in pages.items() for words in commands(text, program)]


def named(command: tuple[str, list[str]]) -> str:
    """The name of a command's test."""
    page, words = command
    return f"{page}: {' '.join(words)}"


def test_the_tree_is_the_tree() -> None:
    """It names folders that exist, every package among them, and says something of each."""
    named = tree()
    assert [path for path in named if not (ROOT / path).is_dir()] == []
    packages = {f"{init.parent.relative_to(ROOT)}/" for layer in LAYERS for init in (ROOT / layer).rglob("__init__.py")}
    assert packages - set(named) == set()
    assert all(named.values())
    assert len(named) <= 46


@pytest.mark.parametrize("command", shown("drivebeat"), ids=named)
def test_every_drivebeat_command_parses(command: tuple[str, list[str]]) -> None:
    assert refused(command[1]) == ""


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "design.md", *GUIDE], ids=lambda path: path.name)
def test_every_command_in_a_sentence_names_a_command_and_options_that_exist(page: Path) -> None:
    """`drivebeat work STUDY` in a sentence may leave arguments out."""
    wrong = {" ".join(words): misnamed(words) for words in mentioned(page.read_text(encoding="utf-8"))}
    assert {words: found for words, found in wrong.items() if found} == {}


def test_there_are_commands_to_check() -> None:
    """A page that is not read, or a block that is not found, would be checked by nothing."""
    pages = [page for page, _ in shown("drivebeat")]
    assert pages.count("README.md") >= 8
    assert {"README.md", "running.md", "results.md", "deploying.md"} <= set(pages)
    assert ["show", "demo"] in [words for page, words in shown("drivebeat") if page == "deploying.md"], "compose run"
    assert len([words for path in GUIDE for words in mentioned(path.read_text(encoding="utf-8"))]) >= 40


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("lunch demo", "no command lunch"),
        ("launch demo --worker 2", "--worker"),
        ("launch", "Missing argument"),
        ("launch demo --workers many", "valid integer"),
    ],
)
def test_a_command_that_does_not_exist_is_found(words: str, why: str) -> None:
    assert why in refused(words.split())


def test_an_option_that_does_not_exist_is_found_in_a_sentence() -> None:
    text = "See `drivebeat launch STUDY --worker 2`, `drivebeat lunch` and\n`drivebeat launch`."
    assert [misnamed(words) for words in mentioned(text)] == ["no option --worker", "no command lunch", ""]


@pytest.mark.parametrize("command", shown("make"), ids=named)
def test_every_make_target_exists(command: tuple[str, list[str]]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command[1][0]}:", makefile, flags=re.MULTILINE)


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ["test"] in commands(README, "make")
