"""Command line and environment of the program in a process of its own, run from this checkout."""

import os
import sys
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).parents[2]
NOBODY = 65534


class User(TypedDict, total=False):
    """Keywords of subprocess.run and Popen for the user that the process runs as."""

    user: int
    group: int
    extra_groups: list[int]


def command(*arguments: str) -> list[str]:
    """Build the command line of `drivebeat ARGUMENTS`."""
    return [sys.executable, "-P", "-m", "drivebeat", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Copy this process's environment, with the checkout first on PYTHONPATH, and add `more`."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, **more}


def unprivileged() -> User:
    """Return the keywords by which root runs a server as nobody; none for other users.

    PostgreSQL and MariaDB refuse to run as root.
    """
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
