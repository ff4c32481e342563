"""The version of a checkout, which pyproject.toml, CHANGELOG.md and CITATION.cff must state alike."""

import re
import tomllib
from pathlib import Path

import yaml

PROJECT, CHANGELOG, CITATION = "pyproject.toml", "CHANGELOG.md", "CITATION.cff"
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
VERSION = re.compile(r"\d+\.\d+\.\d+[\w.+-]*")


class VersionMismatch(Exception):
    """The files state different versions, or one of them states none. The message is one line."""


def agreed_version(root: Path) -> str:
    """Return the version that all three files in `root` state. Raises VersionMismatch."""
    version = project_version(root)
    for name, found in ((CHANGELOG, changelog_version(root)), (CITATION, citation_version(root))):
        if found != version:
            raise VersionMismatch(f"{PROJECT} has version {version}, {name} {found}; set the right one in both")
    return version


def project_version(root: Path) -> str:
    """Return the version of pyproject.toml."""
    return str(tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["project"]["version"])


def changelog_version(root: Path) -> str:
    """Return the version of the first section of CHANGELOG.md: "## 1.2.0", "## 1.2.0 (unreleased)".

    Raises VersionMismatch where it has none.
    """
    heading = HEADING.search((root / CHANGELOG).read_text(encoding="utf-8"))
    if heading is None:
        raise VersionMismatch(f"{CHANGELOG} has no section; begin it with '## {project_version(root)}'")
    found = VERSION.match(heading[1])
    if found is None:
        raise VersionMismatch(
            f"{CHANGELOG}: its first section is {heading[1]!r}, where a version was expected; "
            f"name it '## {project_version(root)}'"
        )
    return found[0]


def citation_version(root: Path) -> str:
    """Return the version of CITATION.cff. Raises VersionMismatch where it has none."""
    found = yaml.safe_load((root / CITATION).read_text(encoding="utf-8"))
    if "version" not in found:
        raise VersionMismatch(f"{CITATION} has no version; add 'version: {project_version(root)}'")
    return str(found["version"])


def build_requirements(root: Path) -> list[str]:
    """Return what pyproject.toml requires to build the project."""
    return [str(one) for one in tomllib.loads((root / PROJECT).read_text(encoding="utf-8"))["build-system"]["requires"]]
