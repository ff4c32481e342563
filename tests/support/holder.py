"""A process that holds the lock of an assignment: `python -m tests.support.holder URL FOLDER`.

It makes FOLDER/held once it has the lock, releases it when there is a file FOLDER/go, and then makes FOLDER/left.
"""

import subprocess
import sys
from pathlib import Path

from search.storage.locks import exclusive
from search.storage.open import open_engine
from tests.support.program import environment
from tests.support.waiting import wait_for


def start_holder(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start this module in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "tests.support.holder", url, str(folder)], env=environment())


def main() -> None:
    url, place = sys.argv[1:]
    folder = Path(place)
    with exclusive(open_engine(url), "turn", expires_s=60.0):
        (folder / "held").touch()
        wait_for((folder / "go").exists, 600.0, 0.01)
    (folder / "left").touch()


if __name__ == "__main__":
    main()
