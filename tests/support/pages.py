"""The commands that README and the guide show, and whether the program has them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from search.cli.app import app

ENDS = {"|", "&&", "||", ";", ">", "&"}  # of a command in a line of a shell


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language in a Markdown page."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str, program: str) -> list[list[str]]:
    """Return the words after `program` in each command of the blocks `sh`, with what Compose's service `cli` runs."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [found for line in lines for words in _split(line) if (found := _of(program, words)) is not None]


def _split(line: str) -> Iterator[list[str]]:
    """Yield the commands of a line, without the settings of variables in front of them."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), ";"]:
        if word not in ENDS:
            words.append(word)
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words:
            yield words
        words = []


def _of(program: str, words: list[str]) -> list[str] | None:
    if Path(words[0]).name == program:
        return words[1:]
    if program == "drivebeat" and words[:3] == ["docker", "compose", "run"] and "cli" in words:
        return words[words.index("cli") + 1 :]
    return None


def mentioned(text: str) -> list[list[str]]:
    """Return the words after `drivebeat` in each code span, and each line of an indented block, that begins with it."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`drivebeat\s([^`]*)`", prose)
    lines = re.findall(r"^ {4,}drivebeat ((?![^ ]*:)[^\n]*)", prose, flags=re.MULTILINE)
    return [words for found in (*spans, *lines) for words in (*_split(found.replace("\\|", "|")), [])[:1]]


def refused(words: list[str]) -> str:
    """Return why the program does not take the command `drivebeat WORDS`; "" if it does."""
    group, rest = _found(words)
    if hasattr(group, "commands"):
        return f"no command {rest[0]}" if rest and not rest[0].startswith("-") else _unknown_option(group, rest)
    try:
        group.make_context("drivebeat", list(rest))
    except Exception as error:
        if hasattr(error, "format_message"):  # an error of the option parser
            return str(error.format_message())
        raise
    return ""


def misnamed(words: list[str]) -> str:
    """Return which command or option in `drivebeat WORDS` does not exist; "" if all do. Arguments may be missing."""
    group, rest = _found(words)
    if hasattr(group, "commands") and rest and not rest[0].startswith("-"):
        return f"no command {rest[0]}"
    return _unknown_option(group, rest)


def _found(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that `words` begin with, and the words after it."""
    group: Any = typer.main.get_command(app)
    while words and hasattr(group, "commands") and words[0] in group.commands:
        group, words = group.commands[words[0]], words[1:]
    return group, words


def _unknown_option(command: Any, words: list[str]) -> str:
    known = {"--help", "-h"} | {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""
