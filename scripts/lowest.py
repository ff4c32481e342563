"""Print constraints for the lowest versions that pyproject.toml allows; `make lowest` runs the tests with them.

Each direct dependency is pinned to its lower bound, torch to the installed version. Every other package is at most as
new as in constraints.txt: a lowest version may need an older one.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = (
    "train",
    "postgres",
    "ray",
    "slurm",
    "tensorboard",
    "mysql",
    "s3",
    "tdms",
    "onnx",
)  # without mlflow: its test is slow


def lowest(requirements: Iterable[str]) -> dict[str, str]:
    """Return the lower bound of each requirement by canonical name. Raises ValueError for one without it."""
    found: dict[str, str] = {}
    for text in requirements:
        requirement = Requirement(text)
        bounds = [clause.version for clause in requirement.specifier if clause.operator in (">=", "==", "~=")]
        if len(bounds) != 1:
            raise ValueError(f"{text} has no single lower bound")
        found[canonicalize_name(requirement.name)] = bounds[0]
    return found


def constraints(project: dict[str, Any], rows: Iterable[str], torch: str) -> Iterator[str]:
    """Yield the lines of the constraints file, from pyproject's [project] and the lines of constraints.txt."""
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *(text for extra in EXTRAS for text in extras[extra])]
    pins = lowest(direct) | {"torch": torch}
    yield from (f"{name}=={pin}" for name, pin in sorted(pins.items()))
    for row in rows:
        name, _, newest = row.partition("==")
        if canonicalize_name(name) not in pins:
            yield f"{name}<={newest}"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    sys.stdout.writelines(f"{line}\n" for line in constraints(project, rows, version("torch")))


if __name__ == "__main__":
    main()
