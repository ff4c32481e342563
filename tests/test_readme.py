"""The README cannot rot: its tree is the tree, its commands parse, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from search.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAYERS = ("search", "training", "models", "data", "objectives")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def tree() -> dict[str, str]:
    """The folders of the annotated tree, with what is said of each."""
    found: dict[str, str] = {}
    steps: list[str] = []
    for line in blocks("text")[0].splitlines():
        name, _, said = line.strip().partition(" ")
        steps = [*steps[: (len(line) - len(line.lstrip())) // 2], name]
        found["".join(steps)] = said.strip()
    return found


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [w[1:] for w in words if w and Path(w[0]).name == program]


def test_the_tree_is_the_tree() -> None:
    """It names folders that exist, every package among them, and says something of each."""
    named = tree()
    assert [path for path in named if not (ROOT / path).is_dir()] == []
    packages = {f"{init.parent.relative_to(ROOT)}/" for layer in LAYERS for init in (ROOT / layer).rglob("__init__.py")}
    assert packages - set(named) == set()
    assert all(named.values())
    assert len(named) <= 40


@pytest.mark.parametrize("words", commands("drivebeat"), ids=" ".join)
def test_every_drivebeat_command_parses(words: list[str]) -> None:
    group = typer.main.get_command(app)
    while words and hasattr(group, "commands"):
        assert words[0] in group.commands, f"no command {words[0]}"
        group, words = group.commands[words[0]], words[1:]
    group.make_context("drivebeat", list(words))  # raises for an option or an argument that does not exist


def test_there_are_commands_to_check() -> None:
    assert len(commands("drivebeat")) >= 8


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_every_make_target_exists(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[0]}:", makefile, flags=re.MULTILINE)


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ["test"] in commands("make")
